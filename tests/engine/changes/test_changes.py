"""Every feed of ``_changes``, and that none of them loses a change."""

import asyncio
import random
import re
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from couchmodel import BadRequestError, ConnectError, NotFoundError, ProtocolError, QueryError, UnauthorizedError
from couchmodel._retry import Backoff
from couchmodel._wire.messages import Request, Response, encode
from couchmodel.engine import CouchDB, Database, Document, changes
from couchmodel.engine._io import change_feed as feeds
from couchmodel.engine.change_events import ChangedEvent, DeletedEvent
from couchmodel.engine.changes import Changes
from couchmodel.errors import ServerError, TransportError, UnavailableError
from couchmodel.transports import RetryPolicy
from tests.engine.requests import ask, call

FEEDS: list[dict[str, Any]] = [
    {},
    {"feed": "longpoll"},
    {"feed": "continuous", "timeout": 50},
    {"feed": "eventsource", "timeout": 50},
    {"feed": "continuous", "limit": 3},
]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "BACKOFF", Backoff(0.0, longest=30.0))


async def write(database: Database, *documents: dict[str, Any]) -> list[str]:
    """Write documents; their revisions."""
    body = encode({"docs": documents})
    rows = await database.session.json(Request("POST", (*database.path, "_bulk_docs"), body=body))
    return [row["rev"] for row in rows]


@pytest.fixture
async def filled(database: Database) -> Database:
    """A database with documents a, b and c, of which b is deleted."""
    _, rev, _ = await write(database, {"_id": "a", "n": 1}, {"_id": "b", "n": 2}, {"_id": "c", "n": 3})
    await write(database, {"_id": "b", "_rev": rev, "_deleted": True})
    return database


async def ids(feed: Changes) -> list[str]:
    return sorted([event.id async for event in feed])


# --- what is told


@pytest.mark.parametrize("params", FEEDS, ids=str)
async def test_every_feed_tells_the_same(filled: Database, params: dict[str, Any]) -> None:
    feed = filled.changes(**params)
    events = {event.id: event async for event in feed}
    assert {id: type(event) for id, event in events.items()} == {
        "a": ChangedEvent,
        "b": DeletedEvent,
        "c": ChangedEvent,
    }
    assert feed.pending == 0
    assert await ids(filled.changes(feed.last_seq)) == []


async def test_an_event_reads_as_its_row(filled: Database) -> None:
    event = await anext(filled.changes(doc_ids=["b"]))
    assert (event["id"], event.get("deleted"), event.get("doc")) == ("b", True, None)
    assert dict(event) == event.json
    assert event.rev == event["changes"][0]["rev"]
    assert event.sequence == event["seq"]


@pytest.mark.parametrize("include_docs", [True, False])
async def test_the_document_of_a_change_is_clean(filled: Database, include_docs: bool) -> None:
    async for event in filled.changes(doc_ids=["a"], include_docs=include_docs):
        assert isinstance(event, ChangedEvent)
        document = await event.doc()
        assert (document["n"], document.rev, document.changed) == (1, event.rev, False)
        await document.fetch()
        await document.delete()


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"doc_ids": ["a", "b"]}, ["a", "b"]),
        ({"doc_ids": ("a",), "filter": "_doc_ids"}, ["a"]),
        ({"doc_ids": '["a"]', "filter": "_doc_ids"}, ["a"]),
        ({"doc_ids": []}, []),
        ({"selector": {"n": {"$gt": 2}}}, ["c"]),
        ({"filter": "_design"}, []),
    ],
    ids=str,
)
@pytest.mark.parametrize("feed", [{}, {"feed": "continuous", "timeout": 50}], ids=str)
async def test_a_filter_takes_its_pick(
    filled: Database, feed: dict[str, Any], params: dict[str, Any], told: list[str]
) -> None:
    assert await ids(filled.changes(**params, **feed)) == told


@pytest.mark.usefixtures("live")
async def test_views_and_functions_are_filters(filled: Database) -> None:
    odd = "function (doc, request) { return doc.n % 2 == 1 && doc.n < request.query.below; }"
    view = {"map": "function (doc) { if (doc.n > 2) emit(doc.n); }"}
    await write(filled, {"_id": "_design/f", "filters": {"odd": odd}, "views": {"large": view}})
    assert await ids(filled.changes(view="f/large")) == ["c"]
    assert await ids(filled.changes(filter="f/odd", below=2)) == ["a"]
    assert await ids(filled.changes(filter="f/odd", below=9, feed="continuous", timeout=50)) == ["a", "c"]


async def test_a_feed_begins_behind_a_sequence(filled: Database) -> None:
    first = await anext(filled.changes())
    rest = [event.id async for event in filled.changes(since=first.sequence)]
    assert len(rest) == 2
    assert first.id not in rest
    assert [event.id async for event in filled.changes(first.sequence)] == rest


async def test_a_feed_goes_backwards(filled: Database) -> None:
    # CouchDB tells one of them twice where they lie in several shards.
    assert set(await ids(filled.changes(descending=True))) == {"a", "b", "c"}
    assert await ids(filled.changes(descending=True, limit=1)) != []


async def test_a_row_of_megabytes_is_a_row(database: Database) -> None:
    text = "é" * 1_500_000

    async def body() -> AsyncIterator[bytes]:
        yield encode({"text": text})

    await database.session.send(Request("PUT", (*database.path, "a"), body=body()))
    await write(database, {"_id": "b"})
    events = {event.id: event async for event in database.changes(feed="continuous", limit=2, include_docs=True)}
    assert events["a"]["doc"]["text"] == text
    assert set(events) == {"a", "b"}


async def test_a_limit_holds_where_not_every_change_has_a_sequence(database: Database) -> None:
    await write(database, *({"_id": str(n)} for n in range(10)))
    feed = database.changes(feed="continuous", seq_interval=4, limit=7)
    assert [event.sequence is None async for event in feed].count(True) >= 5
    assert feed.pending == 3


# The place of the first row with a sequence: what is left of the limit, which is 10^15 where there is none, is a
# multiple of the interval there.
@pytest.mark.parametrize(("limit", "told"), [("", [1, 4]), ("&limit=6", [0, 3]), ("&limit=-1", [2, 5])])
@pytest.mark.parametrize("feed", ["normal", "longpoll", "continuous", "eventsource"])
async def test_some_rows_only_have_a_sequence(database: Database, feed: str, limit: str, told: list[int]) -> None:
    await write(database, *({"_id": str(n)} for n in range(6)))
    answer = await ask(database, "GET", f"_changes?seq_interval=3&feed={feed}&timeout=50{limit}")
    sequences = re.findall(rb'{"seq":(null|"\d+)', answer.body)
    assert [place for place, sequence in enumerate(sequences) if sequence != b"null"] == told
    if feed == "eventsource":
        assert re.findall(rb'\nid: (null|"\d+)', answer.body) == sequences


async def test_an_interval_goes_on_where_a_feed_waits(database: Database) -> None:
    await write(database, {"_id": "a"}, {"_id": "b"})
    feed = database.changes(feed="continuous", seq_interval=3, limit=5)
    first = [await anext(feed), await anext(feed)]
    await write(database, {"_id": "c"}, {"_id": "d"}, {"_id": "e"})
    sequences = [event.sequence for event in [*first, *[event async for event in feed]]]
    assert [sequence is None for sequence in sequences] == [True, True, False, True, True]


@pytest.mark.parametrize("interval", ["0", "-1", "x", "", "1.5"])
async def test_an_interval_is_a_positive_number(database: Database, interval: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        await call(database, "GET", f"_changes?seq_interval={interval}")
    assert caught.value.reason == "invalid_seq_interval"


async def test_a_feed_that_does_not_wait_does_so_for_any_time(database: Database) -> None:
    await write(database, {"_id": "a"})
    assert len((await call(database, "GET", "_changes?timeout=-1000"))["results"]) == 1


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"feed": "live!"}, "known are normal"),
        ({"limit": "many"}, "whole number"),
        ({"limit": -1}, "whole number"),
        ({"timeout": "soon"}, "whole number"),
        ({"since": "1-a", "last_event_id": "2-a"}, "two names of one parameter"),
        ({"doc_ids": ["a"], "selector": {}}, "needs filter="),
        ({"doc_ids": ["a"], "filter": "f/odd"}, "needs filter="),
        ({"doc_ids": "a"}, "JSON text"),
        ({"doc_ids": 7}, "list of ids"),
        ({"selector": ["a"]}, "dictionary"),
        ({"selector": {"n": object()}}, "cannot be written as JSON"),
        ({"filter": {1: object()}}, "cannot be written as JSON"),
        ({"descending": True, "feed": "continuous"}, "backwards"),
    ],
    ids=str,
)
def test_a_question_that_makes_no_sense_is_refused(params: dict[str, Any], said: str) -> None:
    with pytest.raises(QueryError, match=said):
        Database(CouchDB("memory:"), "db").changes(**params)


@pytest.mark.parametrize("params", [{"since": "some-where"}, {"filter": "odd"}], ids=str)
async def test_what_couchdb_refuses_is_raised(filled: Database, params: dict[str, Any]) -> None:
    with pytest.raises(BadRequestError):
        await ids(filled.changes(feed="continuous", **params))


# --- waiting


async def soon(feed: Changes, before: Awaitable[object]) -> str:
    """The id of the next change, which comes by what is done while the feed waits."""
    waiting = asyncio.ensure_future(anext(feed))
    await asyncio.sleep(0.03)
    assert not waiting.done()
    await before
    async with asyncio.timeout(30):
        return (await waiting).id


@pytest.mark.parametrize("kind", ["longpoll", "continuous"])
async def test_a_feed_waits_for_a_change(filled: Database, kind: str) -> None:
    async with aclosing(filled.changes(feed=kind, since="now", heartbeat=10)) as feed:
        assert await soon(feed, write(filled, {"_id": "d"})) == "d"
        if kind == "continuous":
            assert await soon(feed, write(filled, {"_id": "e"})) == "e"


async def test_a_feed_that_was_cancelled_goes_on_where_it_was(filled: Database) -> None:
    async with aclosing(filled.changes(feed="continuous")) as feed:
        told = {(await anext(feed)).id for _ in range(2)}
        for seconds in (0.05, 0.5):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_drain(feed, told), seconds)
        assert told == {"a", "b", "c"}
        assert await soon(feed, write(filled, {"_id": "d"})) == "d"


async def _drain(feed: Changes, told: set[str]) -> None:
    async for event in feed:
        assert event.id not in told
        told.add(event.id)


async def test_a_feed_that_is_closed_is_at_its_end(filled: Database) -> None:
    feed = filled.changes(feed="continuous")
    assert await anext(feed)
    await feed.aclose()
    await feed.aclose()
    assert await ids(feed) == []


async def test_a_feed_that_is_left_is_closed_without_a_collection_of_garbage(filled: Database) -> None:
    feed = filled.changes(feed="continuous")
    async for _ in feed:
        break
    events = weakref.ref(feed._events)
    del feed
    for _ in range(10):
        await asyncio.sleep(0)
    assert events() is None


async def test_a_feed_outlives_what_is_done_to_its_database(
    database: Database, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("couchmodel._retry.random.uniform", lambda _least, _most: 0.2)
    async with asyncio.timeout(30), aclosing(database.changes(feed="continuous", include_docs=True)) as feed:
        events = aiter(feed)

        async def tells(id: str) -> Document:
            document = await database.create(id, data={"text": id * 1_000_000})
            await document.save()
            async for event in events:
                if event.id == id:
                    return document
            raise AssertionError

        await tells("a")
        await database.compact()
        document = await tells("b")
        await database.purge({"b": [document.rev or ""]})
        await tells("c")
        if backend != "live":  # which is not safe to create again what was dropped a moment ago
            await database.delete()
            await database.session.send(Request("PUT", database.path))
            await tells("d")


async def test_a_filter_that_fails_ends_a_feed(database: Database, backend: str) -> None:
    if backend == "live":
        pytest.skip("CouchDB's feed beats on, and tells nothing any more")
    picky = "function (doc) { if (doc.bad) { throw new Error('too bad') } return true }"
    await (await database.create("_design/d", data={"filters": {"picky": picky}})).save()
    async with asyncio.timeout(30), aclosing(database.changes(feed="continuous", filter="d/picky")) as feed:
        assert (await anext(feed)).id == "_design/d"
        await (await database.create("bad", data={"bad": True})).save()
        with pytest.raises(ServerError):
            await anext(feed)


async def test_a_feed_ends_with_its_database(filled: Database) -> None:
    feed = filled.changes(feed="continuous", since="now")
    with pytest.raises(NotFoundError):
        await soon(feed, filled.delete())


@pytest.mark.parametrize("kind", ["normal", "longpoll", "continuous"])
async def test_there_are_no_changes_of_no_database(couch: Any, kind: str) -> None:
    with pytest.raises(NotFoundError):
        await anext(couch.database("nowhere").changes(feed=kind))


# --- lost connections


class Proxy:
    """A relay that breaks a connection once it has passed so many bytes of the answer, a number for each."""

    def __init__(self, host: str, port: int, cuts: Iterable[int]) -> None:
        self.upstream = host, port
        self.cuts = list(cuts)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cut = self.cuts.pop() if self.cuts else None
        above, below = await asyncio.open_connection(*self.upstream)
        asking = asyncio.ensure_future(_pass(reader, below, None))
        try:
            await _pass(above, writer, cut)
        finally:
            asking.cancel()
            below.transport.abort()


async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter, left: int | None) -> None:
    while piece := await source.read(4096 if left is None else min(left, 4096)):
        sink.write(piece)
        await sink.drain()
        left = None if left is None else left - len(piece)
        if left == 0:
            return


@asynccontextmanager
async def listening(handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> AsyncGenerator[str, None]:
    """The host and port of a server on loopback."""
    handlers: set[asyncio.Task[None]] = set()

    async def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        handlers.add(task)
        try:
            await handle(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(start, "127.0.0.1", 0)
    yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    for handler in handlers:
        handler.cancel()
    await asyncio.gather(*handlers)


@asynccontextmanager
async def behind(url: str, database: Database, cuts: Iterable[int]) -> AsyncGenerator[tuple[Database, Proxy], None]:
    """The same database by a proxy that breaks connections."""
    parts = urlsplit(url)
    if parts.scheme != "http":
        pytest.skip("there is no connection to break")
    proxy = Proxy(parts.hostname or "", parts.port or 80, cuts)
    async with listening(proxy) as address:
        credentials = parts.netloc.rpartition("@")[0]
        async with CouchDB(f"http://{credentials}@{address}") as couch:
            yield couch.database(database.id), proxy


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_feed_cut_fifty_times_misses_nothing(database: Database, url: str, seed: int) -> None:
    chance = random.Random(seed)
    expected: set[str] = set()
    seen: dict[str, int] = {}

    async def fill() -> None:
        for batch in range(20):
            documents = [{"_id": f"{batch}-{n}", "padding": "x" * chance.randrange(600)} for n in range(25)]
            expected.update(document["_id"] for document in documents)
            await write(database, *documents)

    cuts = [chance.randrange(1, 3000) for _ in range(50)]
    async with behind(url, database, cuts) as (mirrored, proxy), asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        filling = tasks.create_task(fill())
        async with aclosing(mirrored.changes(feed="continuous", include_docs=True)) as feed:
            async for event in feed:
                seen[event.id] = int(str(event.sequence).split("-")[0])
                assert event.json["doc"]["_rev"] == event.rev
                if filling.done() and expected <= seen.keys():
                    break
    assert proxy.cuts == []
    assert list(seen.values()) == sorted(seen.values())


@pytest.mark.parametrize("params", [{}, {"feed": "continuous", "limit": 200}, {"feed": "longpoll"}], ids=str)
async def test_a_limit_counts_over_all_connections(database: Database, url: str, params: dict[str, Any]) -> None:
    await write(database, *({"_id": str(n)} for n in range(200)))
    async with behind(url, database, [5000] * 4) as (mirrored, proxy):
        feed = mirrored.changes(**params)
        assert await ids(feed) == sorted(str(n) for n in range(200))
    assert proxy.cuts == []
    assert feed.pending == 0


async def test_what_is_read_backwards_is_not_taken_up_again(database: Database, url: str) -> None:
    await write(database, *({"_id": str(n)} for n in range(200)))
    async with behind(url, database, [5000]) as (mirrored, _):
        with pytest.raises(ProtocolError):
            await ids(mirrored.changes(descending=True))


# --- servers that misbehave

ONCE = RetryPolicy(attempts=1)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
LAST = b'{"last_seq":"9-x","pending":0}\n'


def row(n: int) -> bytes:
    return b'{"seq":"%d-x","id":"%d","changes":[{"rev":"1-a"}]}\n' % (n, n)


class Script:
    """A server that has an answer for each connection; None stands for silence at its end."""

    def __init__(self, *answers: bytes | tuple[bytes, None]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.decode().split(" ")[1])
        answer = self.answers.pop(0)
        writer.write(answer if isinstance(answer, bytes) else answer[0])
        await writer.drain()
        if isinstance(answer, tuple):
            await reader.read()
        writer.close()


@asynccontextmanager
async def scripted(*answers: bytes | tuple[bytes, None]) -> AsyncGenerator[tuple[Database, Script], None]:
    script = Script(*answers)
    async with listening(script) as address, CouchDB(f"http://{address}", retry_policy=ONCE) as couch:
        yield couch.database("db"), script


def refusal(status: int) -> bytes:
    body = b'{"error":"so","reason":"it is"}'
    return b"HTTP/1.1 %d No\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, len(body), body)


@pytest.mark.parametrize(
    "loss",
    [
        (HEAD + row(1), None),
        HEAD + row(1) + row(2)[:-20],
        HEAD + row(1) + LAST,
        HEAD + row(1) + b"<html>\n",
    ],
    ids=["silence", "half a row", "an end before its time", "something else"],
)
async def test_a_feed_outlives(loss: bytes | tuple[bytes, None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "MIN_READ_TIMEOUT", 0.03)
    async with scripted(loss, refusal(503), HEAD + row(2) + LAST) as (database, script):
        assert await ids(database.changes(feed="continuous", limit=2, heartbeat=10)) == ["1", "2"]
    since = "9-x" if isinstance(loss, bytes) and LAST in loss else "1-x"
    assert all(f"since={since}" in asked and "limit=1" in asked for asked in script.asked[1:])


async def test_now_is_a_sequence_even_if_the_feed_breaks_off_at_once() -> None:
    anchor = HEAD + b'{"results":[\n\n],\n' + LAST[1:]
    async with scripted(anchor, HEAD + b"\n", HEAD + row(10)) as (database, script):
        assert (await anext(database.changes(feed="continuous", since="now"))).id == "10"
    assert ["since=now" in asked for asked in script.asked] == [True, False, False]
    assert all("since=9-x" in asked for asked in script.asked[1:])


async def test_a_longpoll_that_has_told_something_does_not_wait_for_more() -> None:
    beginning, rest = HEAD + b'{"results":[\n' + row(1), HEAD + b'{"results":[\n\n],\n' + LAST[1:]
    async with scripted(beginning, rest) as (database, script):
        assert await ids(database.changes(feed="longpoll")) == ["1"]
    assert ["feed=longpoll" in asked for asked in script.asked] == [True, False]


@pytest.mark.parametrize(("status", "error"), [(401, UnauthorizedError), (404, NotFoundError), (500, ServerError)])
async def test_an_error_that_stays_is_raised(
    status: int, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "ATTEMPTS", 2)
    async with scripted(HEAD + row(1), *[refusal(status)] * 9) as (database, _):
        feed = database.changes(feed="continuous")
        assert (await anext(feed)).id == "1"
        with pytest.raises(error, match="it is"):
            await anext(feed)


async def test_an_error_among_the_rows_is_raised() -> None:
    failed = HEAD + row(1) + b'{"error":"filter","reason":"it threw"}\n'
    async with scripted(failed, *[refusal(500)] * 9) as (database, _):
        with pytest.raises(ServerError):
            await ids(database.changes(feed="continuous"))


@pytest.mark.parametrize("kind", ["normal", "longpoll", "continuous"])
async def test_a_server_that_was_never_there_is_an_error(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "ATTEMPTS", 2)
    async with CouchDB("http://127.0.0.1:1", retry_policy=ONCE) as couch:
        with pytest.raises(ConnectError):
            await anext(couch.database("db").changes(feed=kind))


async def test_a_server_that_never_answers_well_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "ATTEMPTS", 2)
    async with scripted(*[refusal(503)] * 20) as (database, _):
        with pytest.raises(UnavailableError):
            await anext(database.changes(feed="continuous"))


async def test_a_feed_ends_at_once_with_its_client_and_does_not_open_it_again() -> None:
    async with scripted((HEAD + row(1), None)) as (database, script):
        await _ends_when_closed(database)
    assert len(script.asked) == 1


async def test_a_feed_ends_with_the_store_of_its_process() -> None:
    couch = CouchDB("memory:")
    database = await couch.create("db")
    await write(database, {"_id": "1"})
    await _ends_when_closed(database)


async def _ends_when_closed(database: Database) -> None:
    feed = database.changes(feed="continuous", heartbeat=10)
    assert (await anext(feed)).id == "1"
    waiting = asyncio.ensure_future(anext(feed))
    await asyncio.sleep(0.01)
    await database.session.close()
    with pytest.raises(TransportError):
        await asyncio.wait_for(waiting, 30)


class Whole:
    """A transport that answers in one piece, whatever is asked."""

    async def send(self, request: Request) -> Response:
        return Response(200, body=row(1) + row(2) + LAST)

    async def close(self) -> None:
        """Nothing to close."""


async def test_a_transport_need_not_stream() -> None:
    feed = CouchDB(Whole()).database("db").changes(feed="continuous", limit=2)
    assert await ids(feed) == ["1", "2"]
    assert feed.last_seq == "9-x"
