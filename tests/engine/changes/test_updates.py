"""What becomes of databases, as ``_db_updates`` tells it."""

import asyncio
import secrets
from contextlib import suppress
from typing import Any

import pytest

from couchmodel import BadRequestError, Connection, PreconditionFailedError, ResponseError
from couchmodel._wire.messages import Request, Response, decode
from couchmodel.engine import Database, Document


@pytest.fixture(autouse=True)
async def global_changes(couch: Connection) -> None:
    """The database that CouchDB wants for these feeds."""
    with suppress(PreconditionFailedError):
        await couch.create("_global_changes")


async def ask(couch: Connection, query: dict[str, str], *, stream: bool = False, method: str = "GET") -> Response:
    return await couch.session.send(Request(method, ("_db_updates",), query, stream=stream))


async def updates(couch: Connection, **query: str) -> Any:
    response = await ask(couch, query)
    await response.collect()
    return response.json()


async def until_told(couch: Connection, name: str, *events: str) -> list[Any]:
    """The rows of a database, once there are these events: CouchDB tells them when it has time."""
    for _ in range(400):
        rows = [row for row in (await updates(couch))["results"] if row["db_name"] == name]
        if sorted(row["type"] for row in rows) == sorted(events):
            return rows
        await asyncio.sleep(0.05)
    raise TimeoutError


async def test_what_becomes_of_a_database_is_told(couch: Connection) -> None:
    name = f"test-{secrets.token_hex(6)}"
    database = await couch.create(name)
    await until_told(couch, name, "created")
    await Document(database, "a", {}).save()
    await until_told(couch, name, "created", "updated")
    await database.delete()
    rows = await until_told(couch, name, "created", "updated", "deleted")
    assert {tuple(row) for row in rows} == {("db_name", "type", "seq")}


async def test_the_same_event_again_is_told_once_at_its_new_place(couch: Connection, database: Database) -> None:
    await Document(database, "a", {}).save()
    before = {row["type"]: row["seq"] for row in await until_told(couch, database.id, "created", "updated")}
    await Document(database, "b", {}).save()
    for _ in range(400):
        rows = await until_told(couch, database.id, "created", "updated")
        if {row["type"]: row["seq"] for row in rows}["updated"] != before["updated"]:
            return
        await asyncio.sleep(0.05)
    raise TimeoutError


async def test_a_feed_goes_on_behind_a_sequence(couch: Connection, database: Database) -> None:
    await until_told(couch, database.id, "created")
    answer = await updates(couch)
    assert list(answer) == ["results", "last_seq"]
    later = (await updates(couch, since=answer["last_seq"]))["results"]
    assert (database.id, "created") not in [(row["db_name"], row["type"]) for row in later]
    assert len((await updates(couch, limit="1"))["results"]) == 1
    assert (await updates(couch, limit="0"))["results"] == []
    assert len((await updates(couch, limit="1", descending="true"))["results"]) == 1


async def test_a_longpoll_waits_for_an_event(couch: Connection, database: Database) -> None:
    await until_told(couch, database.id, "created")
    waiting = asyncio.create_task(updates(couch, feed="longpoll", since="now"))
    await asyncio.sleep(0.1)
    await Document(database, "a", {}).save()
    async with asyncio.timeout(20):
        assert (await waiting)["results"]
    assert list(await updates(couch, feed="longpoll", since="now", timeout="10")) == ["results", "last_seq"]


@pytest.mark.parametrize("feed", ["continuous", "eventsource"])
async def test_a_feed_tells_events_as_they_come(couch: Connection, database: Database, feed: str, backend: str) -> None:
    if feed == "eventsource" and backend == "live":
        pytest.skip("CouchDB tells only what there is, and breaks off")
    await until_told(couch, database.id, "created")
    response = await ask(couch, {"feed": feed, "heartbeat": "100"}, stream=True)
    text, document = b"", Document(database, "a", {})
    assert response.stream is not None
    async with asyncio.timeout(20):
        async for piece in response.stream:
            if b"created" in piece and not document.exists:
                await document.save()
            text += piece
            wanted = (
                f"updated:{database.id}" if feed == "eventsource" else f'"db_name":"{database.id}","type":"updated"'
            )
            if wanted.encode() in text:
                break
    await response.stream.aclose()
    assert (b"\ndata: {" in b"\n" + text) == (feed == "eventsource")


async def test_a_continuous_feed_ends_with_its_sequence(couch: Connection, database: Database) -> None:
    await until_told(couch, database.id, "created")
    response = await ask(couch, {"feed": "continuous", "timeout": "50"})
    await response.collect()
    *_, last = [decode(line) for line in response.body.split(b"\n") if line]
    assert list(last) == ["last_seq"]


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"feed": "x"}, "Supported `feed` types: normal, continuous, longpoll, eventsource"),
        ({"limit": "-1"}, "invalid_integer"),
        ({"timeout": "x"}, "invalid_integer"),
        ({"heartbeat": "x"}, "invalid_integer"),
        ({"since": "x"}, "Malformed sequence supplied in 'since' parameter."),
    ],
)
async def test_what_no_feed_can_be_asked_is_refused(couch: Connection, query: dict[str, str], reason: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        await updates(couch, **query)
    assert refused.value.reason == reason


async def test_a_feed_is_only_read(couch: Connection) -> None:
    with pytest.raises(ResponseError) as refused:
        await ask(couch, {}, method="POST")
    assert refused.value.status == 405
