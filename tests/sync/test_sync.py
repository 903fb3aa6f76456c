"""Replication by ``couchmodel.sync``, from each backend and to each."""

import asyncio
import random
from contextlib import suppress
from typing import Any

import pytest

from couchmodel import BadRequestError, ConfigurationError, NotFoundError, sync
from couchmodel._retry import Backoff
from couchmodel._wire.messages import Request, encode
from couchmodel.engine import Database, Document
from couchmodel.sync import follow, replicate, synchronize
from tests.engine.requests import call

BIG = random.Random(3).randbytes(3_000_000)
TEXT = b"butter, flour, apples\r\n" * 5000


async def leaves(database: Database) -> dict[str, list[Any]]:
    """All leaves of all documents, as they are."""
    path = (*database.path, "_changes")
    answer = await database.session.get(path, {"style": "all_docs"})
    wanted = [{"id": row["id"], "rev": each["rev"]} for row in answer["results"] for each in row["changes"]]
    found: dict[str, list[Any]] = {}
    for row in await database.bulk_get(wanted, revs=True):
        found.setdefault(row["id"], []).extend(each["ok"] for each in row["docs"])
    return {id: sorted(revs, key=lambda each: str(each["_rev"])) for id, revs in found.items()}


async def store(database: Database, *documents: dict[str, Any], new_edits: bool = True) -> None:
    body = encode({"docs": documents, "new_edits": new_edits})
    await database.session.json(Request("POST", (*database.path, "_bulk_docs"), body=body))


async def make_anew(database: Database) -> None:
    await database.delete()
    await database.session.send(Request("PUT", database.path))


async def fill(database: Database) -> None:
    """Documents of every kind: changed, in conflict, deleted, a design document, and with attachments."""
    await store(database, *({"_id": f"d{number:04}", "n": number} for number in range(250)))
    pie = await database["d0001"]
    pie["n"] = "changed"
    await pie.save()
    await (await database["d0002"]).delete()
    await store(database, {"_id": "two", "_rev": "1-aa", "of": 1}, {"_id": "two", "_rev": "1-bb"}, new_edits=False)
    await store(database, {"_id": "_design/d", "views": {}}, {"_id": "größe/ä?", "ü": "☃"})
    for name, content, kind in (("big/ü.bin", BIG, "image/png"), ("text", TEXT, "text/plain"), ("s", b"s", "x/y")):
        await (await database["d0003"]).attachment(name).save(content, kind)


@pytest.mark.parametrize("towards", ["memory", "backend"])
async def test_what_arrives_is_what_was_there(database: Database, elsewhere: Database, towards: str) -> None:
    source, target = (database, elsewhere) if towards == "memory" else (elsewhere, database)
    await fill(source)
    first = await replicate(source, target)
    assert (first.docs_read, first.docs_written, first.doc_write_failures) == (254, 254, 0)
    assert await leaves(target) == await leaves(source)
    assert await (await target["d0003"]).attachment("big/ü.bin").fetch() == BIG
    again = await replicate(source, target)
    assert (again.missing_checked, again.docs_read) == (0, 0)


async def test_only_what_is_new_of_the_attachments_travels(database: Database, elsewhere: Database) -> None:
    pie = await database.create("pie")
    await pie.save()
    await pie.attachment("photo").save(BIG, "image/png")
    await replicate(database, elsewhere)
    pie = await database["pie"]
    pie["rating"] = 5
    await pie.save()
    await pie.attachment("note").save(b"hot", "text/plain")
    assert (await replicate(database, elsewhere)).docs_written == 1
    assert await leaves(database) == await leaves(elsewhere)


async def test_both_ways_bring_both_to_the_same(database: Database, elsewhere: Database) -> None:
    await store(database, {"_id": "pie", "from": "here"}, {"_id": "here"})
    await store(elsewhere, {"_id": "pie", "from": "there"}, {"_id": "there"})
    there, here = await synchronize(database, elsewhere)
    assert (there.docs_written, here.docs_written) == (2, 2)
    assert await leaves(database) == await leaves(elsewhere)
    assert len((await leaves(database))["pie"]) == 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"doc_ids": ["b", "none"]}, ["b"]),
        ({"selector": {"n": {"$gt": 1}}}, ["b", "c"]),
        ({"filter": "_design"}, ["_design/d"]),
        ({"selector": {"n": 1}, "use_checkpoints": False}, ["a"]),
    ],
)
async def test_the_source_says_what_travels(
    database: Database, elsewhere: Database, options: dict[str, Any], expected: list[str]
) -> None:
    await store(database, {"_id": "a", "n": 1}, {"_id": "b", "n": 2}, {"_id": "c", "n": 3}, {"_id": "_design/d"})
    await replicate(database, elsewhere, **options)
    assert [id async for id in elsewhere.akeys()] == expected


async def test_a_filter_function_hears_what_the_replication_says(database: Database, elsewhere: Database) -> None:
    large = "function (doc, req) { return doc.n >= Number(req.query.least) }"
    await store(
        database, {"_id": "_design/d", "filters": {"large": large}}, *({"_id": f"{n}", "n": n} for n in range(5))
    )
    await replicate(database, elsewhere, filter="d/large", query_params={"least": "3"})
    await replicate(database, elsewhere, filter="d/large", query_params={"least": "2"})
    assert [id async for id in elsewhere.akeys()] == ["2", "3", "4"]


async def set_filter(database: Database, expression: str) -> None:
    design = await database.create("_design/d", exists_ok=True)
    design["filters"] = {"wanted": f"function (doc) {{ return {expression} }}"}
    await design.save()


async def test_another_filter_function_begins_anew(database: Database, elsewhere: Database) -> None:
    await set_filter(database, "doc.n > 2")
    await store(database, *({"_id": f"{n}", "n": n} for n in range(4)))
    await replicate(database, elsewhere, filter="d/wanted")
    await replicate(database, elsewhere, filter="d/wanted")
    assert [id async for id in elsewhere.akeys()] == ["3"]
    await set_filter(database, "doc.n > 1")
    await replicate(database, elsewhere, filter="d/wanted")
    assert [id async for id in elsewhere.akeys()] == ["2", "3"]


async def test_a_continuous_one_hears_of_another_filter_function(
    database: Database, elsewhere: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("couchmodel.sync._BACKOFF", Backoff(0.001))
    await set_filter(database, "doc.n > 2")
    await store(database, *({"_id": f"{n}", "n": n} for n in range(4)))
    options: dict[str, Any] = {"filter": "d/wanted", "checkpoint_interval": 0.05}
    async with asyncio.timeout(30), follow(database, elsewhere, **options) as following:
        await following.wait_until_caught_up()
        await set_filter(database, "doc.n > 1")
        async for progress in following:
            if progress.docs_written == 2:
                break
    assert [id async for id in elsewhere.akeys()] == ["2", "3"]


@pytest.mark.parametrize(
    ("name", "error"), [("d/none", NotFoundError), ("none/d", NotFoundError), ("d", BadRequestError)]
)
async def test_a_filter_function_that_is_not_there_is_told(
    database: Database, elsewhere: Database, name: str, error: type[Exception]
) -> None:
    await set_filter(database, "true")
    with pytest.raises(error, match=r"filter|none"):
        await replicate(database, elsewhere, filter=name)


async def test_a_sequence_to_begin_at_counts_whatever_was_done(database: Database, elsewhere: Database) -> None:
    await store(database, {"_id": "first"})
    since = (await database.info())["update_seq"]
    await store(database, {"_id": "second"})
    assert (await replicate(database, elsewhere, since_seq=since)).docs_written == 1
    assert (await replicate(database, elsewhere, since_seq=since)).missing_checked == 1
    assert [id async for id in elsewhere.akeys()] == ["second"]


async def test_only_winners_travel_where_that_is_asked(database: Database, elsewhere: Database) -> None:
    await store(database, {"_id": "two", "_rev": "1-aa"}, {"_id": "two", "_rev": "1-bb"}, new_edits=False)
    await replicate(database, elsewhere, winning_revs_only=True)
    assert [each["_rev"] for each in (await leaves(elsewhere))["two"]] == ["1-bb"]


async def test_a_target_is_created_where_that_is_asked(database: Database, neighbour: Database) -> None:
    await store(database, {"_id": "pie"})
    with pytest.raises(NotFoundError):
        await replicate(database, neighbour)
    assert (await replicate(database, neighbour, create_target=True)).docs_written == 1
    assert await leaves(neighbour) == await leaves(database)


async def test_one_selection_is_enough(database: Database, elsewhere: Database) -> None:
    with pytest.raises(BadRequestError, match="mutually exclusive"):
        await replicate(database, elsewhere, doc_ids=["a"], filter="d/f")


async def test_a_target_made_anew_gets_everything_again(database: Database, neighbour: Database) -> None:
    await store(database, {"_id": "pie"})
    await replicate(database, neighbour, create_target=True)
    await replicate(database, neighbour)
    await neighbour.delete()
    await asyncio.sleep(0.2)
    assert (await replicate(database, neighbour, create_target=True)).docs_written == 1


async def test_a_target_that_is_made_anew_meanwhile_gets_everything(
    database: Database, elsewhere: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("couchmodel.sync._BACKOFF", Backoff(0.001))
    await store(database, {"_id": "first"})
    async with asyncio.timeout(30), follow(database, elsewhere, checkpoint_interval=0.05) as following:
        await following.wait_until_caught_up()
        await make_anew(elsewhere)
        await store(database, {"_id": "second"})
        with suppress(NotFoundError):  # it was looked for between its deletion and its creation
            async for _ in following:
                if {id async for id in elsewhere.akeys()} == {"first", "second"}:
                    break
    await replicate(database, elsewhere)
    assert {id async for id in elsewhere.akeys()} == {"first", "second"}


async def test_an_end_that_was_set_back_is_brought_forward(database: Database, elsewhere: Database) -> None:
    async with asyncio.timeout(30), follow(database, elsewhere, checkpoint_interval=0.001) as following:
        await store(database, {"_id": "first"})
        await following.wait_until_caught_up()
        await until_checkpoint(elsewhere)
        logs = (await call(elsewhere, "GET", "_local_docs?include_docs=true"))["rows"]
        await store(database, {"_id": "second"})
        await following.wait_until_caught_up()
    await make_anew(elsewhere)
    for row in logs:  # as a copy from before has them, in the middle of the session
        await call(elsewhere, "PUT", row["id"], {**row["doc"], "_rev": "0-1"})
    await replicate(database, elsewhere)
    assert "second" in {id async for id in elsewhere.akeys()}


async def until_checkpoint(target: Database) -> None:
    for _ in range(500):
        if (await call(target, "GET", "_local_docs"))["rows"]:
            return
        await asyncio.sleep(0.02)
    raise TimeoutError


async def test_a_continuous_one_brings_what_comes(database: Database, elsewhere: Database) -> None:
    await store(database, {"_id": "first"})
    async with asyncio.timeout(20), follow(database, elsewhere) as following:
        assert (await following.wait_until_caught_up()).docs_written == 1
        await store(database, {"_id": "second"})
        async for progress in following:
            if progress.docs_written == 2:
                break
        assert await (await elsewhere["second"]).info()
    assert (await replicate(database, elsewhere)).docs_written == 0
    assert isinstance(await elsewhere["first"], Document)


async def test_a_continuous_one_tells_what_has_ended_it(database: Database, neighbour: Database) -> None:
    async with asyncio.timeout(20), follow(database, neighbour) as following:
        with pytest.raises(NotFoundError, match="could not open"):
            await following.wait_until_caught_up()


@pytest.mark.parametrize(
    ("former", "present"), [("Following", sync.ContinuousReplication), ("Replicated", sync.ReplicationStats)]
)
def test_a_class_has_its_former_name_with_a_warning(former: str, present: type) -> None:
    with pytest.warns(DeprecationWarning, match=f"{former} is now {present.__name__}") as warned:
        assert getattr(sync, former) is present
    assert warned[0].filename == __file__
    assert not hasattr(sync, former.lower())


async def test_a_continuous_replication_has_caught_up_with_a_warning(database: Database, elsewhere: Database) -> None:
    await store(database, {"_id": "a"})
    async with follow(database, elsewhere) as push:
        with pytest.warns(DeprecationWarning, match="caught_up is now ContinuousReplication.wait_until_caught_up"):
            assert await push.caught_up() == push.progress


@pytest.mark.parametrize("documents", [(), ({"_id": "a"},)], ids=["empty", "copied before"])
async def test_a_continuous_replication_without_new_changes_has_caught_up(
    database: Database, elsewhere: Database, documents: tuple[dict[str, Any], ...]
) -> None:
    if documents:
        await store(database, *documents)
        await replicate(database, elsewhere)
    async with follow(database, elsewhere) as push, asyncio.timeout(10):
        assert (await push.wait_until_caught_up()).docs_written == 0


async def test_one_text_in_place_of_several_ids_is_refused(database: Database) -> None:
    with pytest.raises(ConfigurationError, match=r"\['apple_pie'\]"):
        await sync.replicate(database, database, doc_ids="abc")
