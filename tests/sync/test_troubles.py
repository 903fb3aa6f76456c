"""One document, one revision or one compaction does not stop a replication."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from couchmodel._retry import Backoff
from couchmodel._wire.messages import Request, Response, encode
from couchmodel.engine import CouchDB, Database, Document
from couchmodel.sync import follow, replicate
from tests.engine.requests import call
from tests.sync.test_interruptions import Unreliable
from tests.sync.test_sync import leaves, store

SMALL = "aGVsbG8="
LARGE = "aGVs" * 60_000


async def compact(database: Database) -> None:
    """Compact a database, and wait until that is done."""
    await database.compact()
    for _ in range(500):
        if not (await database.info())["compact_running"]:
            return
        await asyncio.sleep(0.02)


def attached(id: str, data: str, content_type: str = "image/png", **more: Any) -> dict[str, Any]:
    return {"_id": id, "_attachments": {"a": {"content_type": content_type, "data": data, **more}}}


async def change(database: Database, id: str) -> None:
    document = await database[id]
    document["changed"] = True
    await document.save()


async def delete(database: Database, id: str) -> None:
    await (await database[id]).delete()


async def remove_attachment(database: Database, id: str) -> None:
    await (await database[id]).attachment("a").delete()


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("happens", [change, delete, remove_attachment])
async def test_a_revision_that_is_compacted_away_meanwhile_is_followed_by_its_successor(
    database: Database, elsewhere: Database, data: str, happens: Callable[[Database, str], Awaitable[None]]
) -> None:
    line = Unreliable(database.session.transport)
    await store(database, attached("pie", data), {"_id": "later"})

    async def answer(request: Request) -> Response | None:
        if request.path[-1:] == ("a",):
            line.answer = None
            await happens(database, "pie")
            await compact(database)
        return None

    line.answer = answer
    async with asyncio.timeout(30), follow(CouchDB(line).database(database.id), elsewhere) as following:
        await following.wait_until_caught_up()
        await store(database, {"_id": "latest"})
        done = await following.wait_until_caught_up()
    assert await leaves(elsewhere) == await leaves(database)
    assert done.doc_write_failures == 0


@pytest.mark.parametrize("towards", ["memory", "backend"])
async def test_a_content_type_that_is_no_header_arrives(database: Database, elsewhere: Database, towards: str) -> None:
    source, target = (database, elsewhere) if towards == "memory" else (elsewhere, database)
    types = ["text/plain\nx: y", "text/plain\r\n", "text/plä☃in", "", "\x00"]
    for number, content_type in enumerate(types):
        await call(source, "PUT", f"small-{number}", attached(f"small-{number}", SMALL, content_type))
        await call(source, "PUT", f"large-{number}", attached(f"large-{number}", LARGE, content_type))
    await store(source, {"_id": "later"})
    done = await replicate(source, target)
    assert (done.docs_written, done.doc_write_failures) == (11, 0)
    assert await leaves(target) == await leaves(source)
    sent = await call(target, "GET", "large-0?attachments=true", headers={"accept": "application/json"})
    assert sent["_attachments"]["a"]["data"] == LARGE


@pytest.mark.parametrize("towards", ["memory", "backend"])
@pytest.mark.parametrize("empty", ["", SMALL], ids=["empty", "not empty"])
async def test_a_number_that_is_0_is_a_number(
    database: Database, elsewhere: Database, towards: str, empty: str
) -> None:
    source, target = (database, elsewhere) if towards == "memory" else (elsewhere, database)
    pie: dict[str, Any] = {**attached("pie", empty, revpos=0), "_rev": "1-aa"}
    pie["_attachments"]["large"] = {"content_type": "image/png", "data": LARGE, "revpos": 0}
    await store(source, pie, {**attached("pies", empty, "text/plain", revpos=0), "_rev": "1-bb"}, new_edits=False)
    await store(source, {"_id": "later"})
    assert (await replicate(source, target)).docs_written == 3
    assert await leaves(target) == await leaves(source)
    await change(source, "pie")
    await replicate(source, target)
    assert await leaves(target) == await leaves(source)


@pytest.mark.parametrize("status", [400, 403, 404, 409, 412, 413, 415, 422, 500])
@pytest.mark.parametrize("poison", [{"_id": "poison"}, attached("poison", SMALL), attached("poison", LARGE)])
async def test_a_document_that_is_refused_is_told_and_the_others_arrive(
    database: Database,
    elsewhere: Database,
    status: int,
    poison: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("couchmodel._replication.transfer._BACKOFF", Backoff(0.001))
    line = Unreliable(elsewhere.session.transport)

    async def answer(request: Request) -> Response | None:
        is_bulk = request.path[-1:] == ("_bulk_docs",) and b'"poison"' in await request.read()
        return Response(status) if is_bulk or request.path[-1:] == ("poison",) else None

    line.answer = answer
    await store(database, *({"_id": f"d{number}"} for number in range(20)), poison, {"_id": "later"})
    with caplog.at_level(logging.WARNING, "couchmodel.replication"):
        done = await replicate(database, CouchDB(line).database(elsewhere.id))
    assert (done.docs_written, done.doc_write_failures, done.refused) == (21, 1, ("poison",))
    assert "'poison'" in caplog.text
    assert (await replicate(database, elsewhere)).missing_checked == 0


@pytest.mark.parametrize("status", [400, 500])
async def test_a_document_that_cannot_be_read_is_told_and_the_others_arrive(
    database: Database, elsewhere: Database, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    line = Unreliable(database.session.transport)

    async def answer(request: Request) -> Response | None:
        is_read = request.path[-1:] == ("_bulk_get",) and b'"poison"' in await request.read()
        return Response(status) if is_read else None

    line.answer = answer
    await store(database, *({"_id": f"d{number}"} for number in range(20)), {"_id": "poison"}, {"_id": "later"})
    with caplog.at_level(logging.WARNING, "couchmodel.replication"):
        done = await replicate(CouchDB(line).database(database.id), elsewhere)
    assert (done.docs_written, done.doc_write_failures, done.refused) == (21, 1, ("poison",))
    assert "'poison'" in caplog.text


async def test_an_attachment_that_the_source_has_lost_is_told(
    database: Database, elsewhere: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("couchmodel._replication.transfer._BACKOFF", Backoff(0.001))
    line = Unreliable(database.session.transport)

    async def answer(request: Request) -> Response | None:
        return Response(404) if request.path[-1:] == ("a",) else None

    line.answer = answer
    await store(database, attached("small", SMALL), attached("large", LARGE), {"_id": "later"})
    done = await replicate(CouchDB(line).database(database.id), elsewhere)
    assert (done.docs_written, done.doc_write_failures) == (1, 2)
    assert isinstance(await elsewhere["later"], Document)


@pytest.mark.parametrize("stub", [{}, {"content_type": 1, "length": 1}, {"content_type": "x/y", "revpos": "z"}, None])
async def test_an_attachment_that_is_odd_is_told(
    database: Database, elsewhere: Database, stub: object, caplog: pytest.LogCaptureFixture
) -> None:
    line = Unreliable(database.session.transport)

    async def answer(request: Request) -> Response | None:
        if request.path[-1:] != ("_bulk_get",):
            return None
        response = await database.session.transport.send(request)
        await response.collect()
        results = response.json()
        for result in results["results"]:
            if result["id"] == "odd":
                result["docs"][0]["ok"]["_attachments"] = {"a": stub}
        return Response(200, {}, encode(results))

    line.answer = answer
    await store(database, {"_id": "odd"}, {"_id": "later"})
    done = await replicate(CouchDB(line).database(database.id), elsewhere)
    assert (done.docs_written, done.doc_write_failures) == (1, 1)
    assert "'odd'" in caplog.text


async def test_an_attachment_of_another_length_arrives(database: Database, elsewhere: Database) -> None:
    line = Unreliable(database.session.transport)

    async def answer(request: Request) -> Response | None:
        return Response(200, {}, b"unpacked by a proxy") if request.path[-1:] == ("a",) else None

    line.answer = answer
    await store(database, attached("pie", LARGE))
    assert (await replicate(CouchDB(line).database(database.id), elsewhere)).docs_written == 1
    assert await leaves(elsewhere) == await leaves(database)
