"""Documents of the engine: mutable mappings with an address."""

import pytest

from couchmodel import BadRequestError, ConfigurationError, ConflictError, DocumentError, NotFoundError
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
