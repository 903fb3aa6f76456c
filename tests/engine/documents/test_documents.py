"""Documents of the engine: mutable mappings with an address."""

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import pytest

from couchmodel import (
    BadRequestError,
    ConfigurationError,
    ConflictError,
    DocumentError,
    NotFoundError,
    ProtocolError,
    RequestTimeoutError,
)
from couchmodel.engine import Database, Document


@pytest.fixture
async def pie(database: Database) -> Document:
    """A stored document."""
    pie = await database.create("pie", data={"title": "Apple pie"})
    await pie.save()
    return pie


async def test_a_new_document_is_stored_by_save(database: Database) -> None:
    pie = await database.create("pie")
    assert not pie.exists
    pie["title"] = "Apple pie"
    answer = await pie.save()
    assert answer is not None
    assert (await database["pie"])["_rev"] == answer["rev"] == pie.rev


async def test_it_is_a_mutable_mapping(pie: Document) -> None:
    assert len(pie) == 3
    assert sorted(pie) == ["_id", "_rev", "title"]
    assert pie.json == {"title": "Apple pie"}
    assert pie.pop("title") == "Apple pie"
    pie.update(rating=5)
    assert dict(pie) == {"_id": "pie", "_rev": pie.rev, "rating": 5}


async def test_an_unchanged_document_sends_nothing(pie: Document) -> None:
    assert await pie.save() is None
    pie["title"] = "Pie"
    assert await pie.save() is not None
    assert await pie.save() is None


async def test_fetching_never_loses_changes_unasked(pie: Document) -> None:
    pie["title"] = "changed"
    with pytest.raises(ConflictError, match="unsaved changes"):
        await pie.fetch()
    await pie.fetch(discard_changes=True)
    assert pie["title"] == "Apple pie"


async def test_a_deleted_document_can_be_filled_and_saved_again(pie: Document, database: Database) -> None:
    await pie.delete()
    assert (pie.exists, dict(pie)) == (False, {"_id": "pie"})
    pie["title"] = "again"
    await pie.save()
    assert (await database.get("pie")).json == {"title": "again"}


async def test_deleting_what_was_changed_elsewhere_is_a_conflict(pie: Document, database: Database) -> None:
    other = await database.get("pie")
    other["title"] = "theirs"
    await other.save()
    with pytest.raises(ConflictError):
        await pie.delete()


async def test_the_id_cannot_change(pie: Document) -> None:
    with pytest.raises(ConfigurationError, match="copy"):
        pie["_id"] = "other"
    with pytest.raises(ConfigurationError):
        del pie["_id"]


async def test_creating_over_an_existing_document_is_a_conflict_unless_it_is_welcome(
    pie: Document, database: Database
) -> None:
    with pytest.raises(ConflictError, match="already"):
        await database.create("pie")
    assert (await database.create("pie", exists_ok=True))["title"] == "Apple pie"


async def test_a_missing_document_may_start_from_a_default(database: Database) -> None:
    default = {"title": "default"}
    pie = await database.get("nobody", default=default)
    assert (pie["title"], pie.exists, default) == ("default", False, {"title": "default"})
    with pytest.raises(NotFoundError):
        await database.get("nobody")


async def test_an_old_revision_can_be_read(pie: Document, database: Database) -> None:
    first = pie.rev
    pie["title"] = "second"
    await pie.save()
    assert (await database.get("pie", rev=first))["title"] == "Apple pie"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
async def test_what_json_cannot_carry_is_refused(pie: Document, value: float) -> None:
    pie["rating"] = value
    with pytest.raises(DocumentError, match="JSON"):
        await pie.save()


async def test_the_reason_of_couchdb_is_in_the_message(database: Database) -> None:
    pie = await database.create("pie", data={"_odd": 1})
    with pytest.raises(BadRequestError, match=r"400 doc_validation: .*_odd.* \(PUT /.*/pie\)"):
        await pie.save()


async def test_an_attachment_may_be_saved_while_the_document_has_changes(pie: Document, database: Database) -> None:
    pie["title"] = "changed"
    notes = pie.attachment("notes.txt")
    assert not await notes.exists()
    await notes.save(b"butter", "text/plain")
    assert (await notes.fetch(), notes.content_type) == (b"butter", "text/plain")
    await pie.save()
    again = await database.get("pie")
    assert (again["title"], await again.attachment("notes.txt").fetch()) == ("changed", b"butter")
    await again.attachment("notes.txt").delete()
    assert not await notes.exists()


@pytest.mark.parametrize("name", ["", ".", "..", "_x"])
async def test_an_attachment_name_never_escapes(pie: Document, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be named"):
        pie.attachment(name)


async def test_the_answer_to_a_write_has_status_and_headers(pie: Document) -> None:
    pie["title"] = "changed"
    answer = await pie.save()
    assert answer is not None
    assert dict(answer) == {"ok": True, "id": "pie", "rev": pie.rev}
    assert (answer.status, answer.etag, answer.headers["ETag"]) == (201, pie.rev, answer.headers["etag"])
    assert "Etag" in answer.headers


async def test_a_context_loads_and_saves(database: Database) -> None:
    for n in (1, 2):
        async with Document(database, "pie", data={"n": 0}) as pie:
            pie["n"] += 1
        assert (await database["pie"])["n"] == n
    with pytest.raises(ZeroDivisionError):
        async with Document(database, "pie") as pie:
            pie["n"] = 1 // 0
    assert (await database["pie"])["n"] == 2


@pytest.mark.parametrize(("old", "new"), [(1, True), (0, False), (1, 1.5), ([1], [True]), ({"a": 1}, {"b": 1})])
async def test_every_change_is_seen(pie: Document, database: Database, old: Any, new: Any) -> None:
    pie["value"] = old
    await pie.save()
    pie["value"] = copy.deepcopy(old)
    assert not pie.changed
    pie["value"] = new
    await pie.save()
    assert repr((await database["pie"])["value"]) == repr(new)


async def test_the_order_of_members_is_no_change(pie: Document, database: Database) -> None:
    pie["rating"] = 1
    await pie.save()
    again = await database["pie"]
    again["title"] = again.pop("title")
    assert await again.save() is None


async def test_a_conflict_is_overridden_by_its_revision(pie: Document, database: Database) -> None:
    other = Document(database, "pie", data={"title": "mine"})
    with pytest.raises(ConflictError):
        await other.save()
    other.rev = pie.rev or ""
    await other.save()
    assert (await database["pie"])["title"] == "mine"
    with pytest.raises(TypeError, match="42"):
        other.rev = 42  # type: ignore[assignment]


async def test_the_id_in_its_live_data_cannot_change_either(pie: Document) -> None:
    assert pie.data is not None
    pie.data["_id"] = "other"
    with pytest.raises(ConfigurationError, match="copy"):
        await pie.save()


@pytest.mark.parametrize("new_id", ["copy", "a/b c+d%41?rev=ü#", "_design/copy"])
async def test_a_document_is_copied(pie: Document, database: Database, new_id: str) -> None:
    answer = await pie.copy(new_id)
    assert (await database.get(new_id)).json == pie.json
    with pytest.raises(ConflictError):
        await pie.copy(new_id)
    await pie.copy(new_id, rev=answer["rev"])
    with pytest.raises(BadRequestError):
        await pie.copy("..")


async def test_what_is_stored_is_told_without_loading_it(pie: Document) -> None:
    assert await pie.info() == await pie.fetch_info() == {"ok": True, "id": "pie", "rev": pie.rev}
    await pie.delete()
    with pytest.raises(NotFoundError):
        await pie.info()


async def test_its_revisions_are_listed(pie: Document) -> None:
    first = pie.rev
    pie["title"] = "second"
    await pie.save()
    assert await pie.revs() == [pie.rev, first]
    assert [each["status"] for each in await pie.revs_info()] == ["available", "available"]


async def test_conflicts_are_listed_read_and_resolved(pie: Document, database: Database) -> None:
    winner, absent = pie.rev, "9-" + 32 * "b"
    loser = "1-" + 32 * "0"
    twin = Document(database, "pie", data={"title": "theirs", "_rev": loser})
    await twin.save(new_edits=False)
    assert await pie.conflicts() == [loser]
    leaves = await pie.open_revs()
    assert {rev: leaf and leaf["title"] for rev, leaf in leaves.items()} == {winner: "Apple pie", loser: "theirs"}
    some = await pie.open_revs([loser, absent])
    assert (some[absent], some[loser]) == (None, leaves[loser])
    await (await database.get("pie", rev=loser)).delete()
    assert await pie.conflicts() == []


async def test_a_local_document_is_a_document(database: Database) -> None:
    checkpoint = await database.create("_local/checkpoint", data={"seq": 1})
    await checkpoint.save()
    with pytest.raises(ConflictError):
        await database.create("_local/checkpoint")
    checkpoint["seq"] = 2
    await checkpoint.save()
    assert (await database["_local/checkpoint"])["seq"] == 2
    assert (await checkpoint.info())["rev"] == checkpoint.rev
    await checkpoint.delete()
    with pytest.raises(NotFoundError):
        await database["_local/checkpoint"]


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy])
async def test_a_copy_in_memory_has_members_of_its_own(pie: Document, twin: Any) -> None:
    other = twin(pie)
    other["title"] = "other"
    assert (pie["title"], other.session is pie.session, pie.changed) == ("Apple pie", True, False)
    assert await other.save() is not None


@pytest.mark.parametrize("data", [42, [("a", 1)], "text"])
async def test_data_that_is_no_dictionary_is_refused(pie: Document, database: Database, data: Any) -> None:
    with pytest.raises(TypeError, match=type(data).__name__):
        Document(database, "x", data=data)
    with pytest.raises(TypeError, match="json"):
        Document(database, "x", data=pie)


async def test_what_is_no_json_is_refused(pie: Document) -> None:
    pie["value"] = object()
    with pytest.raises(DocumentError, match="object"):
        await pie.save()


@pytest.mark.parametrize("id", ["", ".", "..", "_x", None, 5, "_local/.."])
async def test_an_id_never_escapes(database: Database, id: Any) -> None:
    with pytest.raises(BadRequestError):
        await database.get(id)
    with pytest.raises(BadRequestError):
        await database.create(id)


async def test_what_is_changed_while_a_save_is_under_way_is_a_change(database: Database) -> None:
    pie = await database.create("pie", data={"n": 1})
    await pie.save()
    pie["n"] = 2
    saving = asyncio.ensure_future(pie.save())
    await asyncio.sleep(0)
    pie["n"] = 3
    await saving
    assert pie.changed
    await pie.save()
    assert (await database.get("pie"))["n"] == 3


async def test_a_large_document_is_sent_without_a_warning(database: Database) -> None:
    pie = await database.create("pie", data={"text": "x" * 2_000_000})
    await pie.save()
    assert len((await database.get("pie"))["text"]) == 2_000_000


async def test_a_save_without_an_answer_is_no_conflict_with_the_next_one(
    database: Database, lost: Callable[[BaseException], None]
) -> None:
    pie = await database.create("pie", data={"n": 1})
    for n, error in enumerate((asyncio.CancelledError(), ProtocolError("cut off"), RequestTimeoutError("late")), 2):
        lost(error)
        with pytest.raises(type(error)):
            await pie.save()
        answer = await pie.save()
        assert answer is not None
        assert answer["rev"] == pie.rev
        assert not pie.changed
        lost(error)
        pie["n"] = n
        with pytest.raises(type(error)):
            await pie.save()
        pie["more"] = n
        await pie.save()
        stored = await database.get("pie")
        assert (stored["n"], stored["more"], stored.rev) == (n, n, pie.rev)
        pie["n"] = -n


async def test_a_conflict_with_another_is_one_behind_a_save_without_an_answer(
    database: Database, lost: Callable[[BaseException], None]
) -> None:
    pie = await database.create("pie", data={"n": 1})
    lost(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await pie.save()
    theirs = await database.get("pie")
    theirs["n"] = 2
    await theirs.save()
    with pytest.raises(ConflictError):
        await pie.save()
    theirs["n"] = 1
    await theirs.save()
    with pytest.raises(ConflictError):
        await pie.save()


async def test_a_save_without_an_answer_may_follow_a_deletion(
    database: Database, lost: Callable[[BaseException], None]
) -> None:
    pie = await database.create("pie", data={"n": 1})
    await pie.save()
    await pie.delete()
    pie["n"] = 2
    lost(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await pie.save()
    pie["n"] = 3
    await pie.save()
    assert str(pie.rev).startswith("4-")


async def test_a_save_may_be_cancelled_anywhere(database: Database) -> None:
    for turns in range(30):
        pie = await database.create(f"pie-{turns}", data={"n": 1})
        saving = asyncio.create_task(pie.save())
        for _ in range(turns):
            await asyncio.sleep(0)
        saving.cancel()
        await asyncio.wait([saving])
        pie["n"] = 2
        await pie.save()
        assert (await database.get(pie.id)).data == pie.data


async def test_an_id_that_is_taken_is_told_by_the_first_save(pie: Document, database: Database) -> None:
    with pytest.raises(ConflictError, match="a document 'pie' exists already: fetch it and change it"):
        await Document(database, "pie", data={"title": "another"}).save()
