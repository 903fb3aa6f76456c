"""Measure how long an embedded store blocks the event loop: ``python -m benchmarks.lag [WORD ...]``.

The words select requests by name. Each request runs beside a task that wakes up every millisecond. The bar is 20 ms for
the task's longest delay, in the best of some rounds, since other processes of the machine cause delays, too.
"""

import asyncio
import gc
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

from couchmodel._embedded.server.router import Router
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import EMPTY, Request
from couchmodel.cli import GC_THRESHOLDS

BAR = 20.0
"""Milliseconds."""

DOCUMENTS = 100_000
ROUNDS = 3
TICK = 0.001
"""Seconds between two runs of the task beside a request."""

_JSON = {"content-type": "application/json"}
_MIB = 1024 * 1024
_CONFLICTS = json.dumps(
    {"new_edits": False, "docs": [{"_id": "torn", "_rev": f"1-{n:032x}"} for n in range(20_000)]}
).encode()
"""A bulk request that creates a document with 20,000 conflicts."""


class Lag(NamedTuple):
    """The longest delay of a tick and the 99th percentile, in milliseconds; and the seconds of the request."""

    name: str
    longest: float
    p99: float
    seconds: float

    def __str__(self) -> str:
        word = "ok" if self.longest <= BAR else "MISSED"
        return f"{self.name:<38} {self.longest:7.1f} ms at most {self.p99:7.1f} ms p99 {self.seconds:7.2f} s   {word}"


class Case:
    """A store, and methods that send it requests. ``expected`` are the statuses that an answer may have."""

    def __init__(self, path: Path) -> None:
        self.router = Router(Store(path))
        self.count = 0
        self.expected: Collection[int] = range(200, 300)

    async def ask(
        self, method: str, target: str, body: bytes | AsyncIterator[bytes] | None = None, **query: str
    ) -> None:
        path = ("db", *filter(None, target.split("/")))
        await self.send(Request(method, path, query, EMPTY if body is None else _JSON, body, True))

    async def send(self, request: Request) -> None:
        answer = await self.router.answer(request)
        size = len(answer.body)
        if answer.stream is not None:
            async for piece in answer.stream:
                size += len(piece)
        assert answer.status in self.expected, (answer, answer.body)

    async def fill(self) -> None:
        await self.ask("PUT", "")
        for start in range(0, DOCUMENTS, 1000):
            documents = [{"_id": f"d{n:06}", **_document(n)} for n in range(start, start + 1000)]
            await self.ask("POST", "_bulk_docs", json.dumps({"docs": documents}).encode())

    def new_id(self) -> str:
        self.count += 1
        return f"fresh-{self.count}"


def _document(n: int) -> dict[str, Any]:
    return {"n": n, "title": f"recipe {n}", "tags": ["sweet", "fruit"], "steps": [{"text": "peel", "minutes": n % 7}]}


async def _pieces(mib: int) -> AsyncIterator[bytes]:
    for n in range(mib * 16):
        yield bytes([n % 256]) * 65_536


def _bulk(case: Case) -> Callable[[], Awaitable[None]]:
    documents = [{**_document(n), "text": "x" * 900} for n in range(10_000)]
    body = json.dumps({"docs": documents}).encode()
    return lambda: case.ask("POST", "_bulk_docs", body)


def _large_body() -> bytes:
    body = json.dumps({"rows": [_document(n) for n in range(70_000)]}).encode()[:-2]
    return body[: body.rindex(b', {"n"', 0, 7_900_000)] + b"]}"


def _large_document(case: Case) -> Callable[[], Awaitable[None]]:
    body = _large_body()
    return lambda: case.ask("PUT", case.new_id(), body)


def _many_megabytes(case: Case) -> dict[str, Callable[[], Awaitable[None]]]:
    """Return requests with bodies of nearly the largest size, most of which arrive in pieces."""
    documents = json.dumps({"docs": [{"text": "x" * 900} for _ in range(125_000)]}).encode()
    inline = b'{"_attachments":{"file":{"data":"%b"}}}' % (b"QUJD" * 30_000_000)
    return {
        "_bulk_docs of 115 MB, in pieces": lambda: case.ask("POST", "_bulk_docs", _slices(documents)),
        "90 MB attachment in, inline": lambda: case.ask("PUT", case.new_id(), _slices(inline)),
        "64 MiB attachment out, inline": lambda: case.send(
            Request("GET", ("db", "large"), {"attachments": "true"}, {"accept": "application/json"})
        ),
        "_bulk_get of the same": _make_request(
            case, "POST", "_bulk_get", {"docs": [{"id": "large"}]}, attachments="true"
        ),
    }


async def _slices(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 65_536):
        yield body[start : start + 65_536]
        await asyncio.sleep(0)


def _conflicts(case: Case) -> Callable[[], Awaitable[None]]:
    return lambda: case.ask("POST", "_bulk_docs", _CONFLICTS.replace(b"torn", case.new_id().encode()))


def _replicate(case: Case, ids: list[str]) -> Callable[[], Awaitable[None]]:
    body = json.dumps({"source": "db", "target": "other", "create_target": True, "doc_ids": ids}).encode()
    return lambda: case.send(Request("POST", ("_replicate",), EMPTY, _JSON, body))


def _make_request(
    case: Case, method: str, target: str, value: object = None, **query: str
) -> Callable[[], Awaitable[None]]:
    body = None if value is None else json.dumps(value).encode()
    return lambda: case.ask(method, target, body, **query)


def _cases(case: Case) -> dict[str, Callable[[], Awaitable[None]]]:
    keys = [f"d{n:06}" for n in range(0, DOCUMENTS, 10)]
    revs = [f"1-{n:032x}" for n in range(100_000)]
    return {
        "_bulk_docs of 10 MB": _bulk(case),
        "put of an 8 MB document": _large_document(case),
        "get of an 8 MB document": lambda: case.ask("GET", "fresh-1"),
        "get of an 8 MB document, revs": lambda: case.ask("GET", "fresh-1", revs="true"),
        "64 MiB attachment in": lambda: case.ask("PUT", f"{case.new_id()}/file", _pieces(64)),
        "64 MiB attachment out": lambda: case.ask("GET", "large/file"),
        "16 MiB attachment in, at once": lambda: case.ask("PUT", f"{case.new_id()}/file", bytes(16 * _MIB)),
        "_all_docs of 100,000": _make_request(case, "GET", "_all_docs"),
        "_all_docs of 100,000 with documents": _make_request(case, "GET", "_all_docs", include_docs="true"),
        "_all_docs of 10,000 keys": _make_request(case, "POST", "_all_docs", {"keys": keys}, include_docs="true"),
        "_changes of 100,000": _make_request(case, "GET", "_changes"),
        "_changes of 100,000 with documents": _make_request(case, "GET", "_changes", include_docs="true"),
        "_bulk_get of 1,000": _make_request(case, "POST", "_bulk_get", {"docs": [{"id": key} for key in keys[:1000]]}),
        "_revs_diff of 10,000": _make_request(case, "POST", "_revs_diff", {key: ["1-a"] for key in keys}),
        "_find that reads 100,000": _make_request(case, "POST", "_find", {"selector": {"n": -1}}),
        "_find of an 8 MB document, by index": _make_request(
            case, "POST", "_find", {"selector": {"rows.1.n": 1}, "limit": 1}
        ),
        "_find that finds 100,000": _make_request(case, "POST", "_find", {"selector": {}, "limit": DOCUMENTS}),
        "_compact": _make_request(case, "POST", "_compact", {}),
        "_revs_diff of 100,000 revisions": _make_request(case, "POST", "_revs_diff", {"d000001": revs}),
        "open_revs of 100,000": _make_request(case, "GET", "d000001", open_revs=json.dumps(revs)),
        "20,000 conflicts in": _conflicts(case),
        "20,000 conflicts out": _make_request(case, "GET", "torn", open_revs="all", conflicts="true"),
        "a write over 20,000 conflicts": _make_request(case, "PUT", "torn", {"n": 1}, new_edits="false", rev="9-a"),
        "_replicate of 90,000 documents": _replicate(case, [f"k{n}" for n in range(90_000)]),
        "put of 2.6 million arrays": lambda: case.ask("PUT", case.new_id(), _ARRAYS),
        "put of 550,000 members": lambda: case.ask("PUT", case.new_id(), _MEMBERS),
        "_bulk_docs of 2.6 million arrays": lambda: case.ask("POST", "_bulk_docs", b'{"docs":[%s]}' % _ARRAYS),
        "_bulk_docs of 100,000": lambda: case.ask("POST", "_bulk_docs", b'{"docs":[%s{}]}' % (b"{}," * 100_000)),
        **_queries(case),
        "_security of 25,000 names": _make_request(case, "PUT", "_security", {"admins": {"names": _names(25_000)}}),
        "_all_docs of 240,000 other keys": _make_request(case, "POST", "_all_docs", {"keys": _names(MOST)}),
        **_refused_requests(case),
        **_many_megabytes(case),
    }


_ARRAYS = b'{"a":[%s1]}' % (b"[]," * 2_600_000)
MOST = 240_000
"""Values in a body: nearly as many as the store accepts."""


def _names(count: int) -> list[str]:
    return [f"n{n}" for n in range(count)]


_MEMBERS = b'{"a":{%s}}' % b",".join(b'"k%d":1' % n for n in range(550_000))


def _queries(case: Case) -> dict[str, Callable[[], Awaitable[None]]]:
    """Return expensive queries: with nearly as many conditions, fields and values as the store accepts."""
    filter = {"$or": [{"n": -n} for n in range(2400)]}
    comparisons = {"$or": [{"n": {"$lt": -n}} for n in range(100)]}
    path = "a" + ".a" * 130_000

    def find(selector: object, **members: object) -> Callable[[], Awaitable[None]]:
        return _make_request(case, "POST", "_find", {"selector": selector, **members})

    return {
        "_explain of 2,400 alternatives": _make_request(case, "POST", "_explain", {"selector": filter}),
        "_find of 2,400 alternatives": find(filter),
        "_find of 100 comparisons": find(comparisons),
        "_find of one in 30,000 values": find({"n": {"$in": [-n for n in range(30_000)]}}),
        "_find of an array of 30,000": find({"n": list(range(30_000))}, limit=1),
        "_find of 1,000 fields": find({}, fields=_names(1000), limit=10_000),
        "_find of a path of 130,000 names": find({path: 1}, limit=1),
        "_find by a large pattern": find({"title": {"$regex": "|a" * 13_000}}),
        "_index with 2,400 alternatives": _make_request(
            case, "POST", "_index", {"index": {"fields": ["n"], "partial_filter_selector": filter}}
        ),
    }


def _refused_requests(case: Case) -> dict[str, Callable[[], Awaitable[None]]]:
    """Return requests that the store refuses, most of them because they are too large."""

    def refused(target: str, body: bytes) -> Callable[[], Awaitable[None]]:
        async def ask() -> None:
            case.expected = (400, 413)
            await case.ask("POST", target, body)
            case.expected = range(200, 300)

        return ask

    return {
        "a query of 700,000 conditions": refused("_find", b'{"selector":{"$or":[%b{}]}}' % (b"{}," * 690_000)),
        "a body of 2.6 million arrays": refused("_revs_diff", _ARRAYS),
        "_bulk_docs of 400,000, the last bad": refused("_bulk_docs", b'{"docs":[%b1]}' % (b"{}," * 400_000)),
        "a design document of as many": refused("", b'{"_id":"_design/large",%b' % _ARRAYS[1:]),
    }


async def _measure(name: str, request: Callable[[], Awaitable[None]]) -> Lag:
    """Return the lag of a request in the best of its rounds."""
    return min([await _measure_round(name, request) for _ in range(ROUNDS)], key=lambda lag: lag.longest)


async def _measure_round(name: str, request: Callable[[], Awaitable[None]]) -> Lag:
    lags: list[float] = []

    async def tick() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(TICK)
            now = time.perf_counter()
            lags.append((now - last - TICK) * 1000)
            last = now

    gc.collect()
    ticking = asyncio.create_task(tick())
    await asyncio.sleep(5 * TICK)
    lags.clear()
    start = time.perf_counter()
    await request()
    seconds = time.perf_counter() - start
    await asyncio.sleep(2 * TICK)
    ticking.cancel()
    lags.sort()
    return Lag(name, lags[-1], lags[len(lags) * 99 // 100], seconds)


async def main() -> None:
    """Print a line for each request."""
    with tempfile.TemporaryDirectory() as folder:
        case = Case(Path(folder, "store.db"))
        await case.fill()
        await case.ask("PUT", "large/file", _pieces(64))
        await case.ask("PUT", "large-document", _large_body())
        await case.ask("POST", "_bulk_docs", _CONFLICTS)
        await case.ask("POST", "_index", b'{"index": {"fields": ["rows.1.n"]}}')
        await case.ask("POST", "_find", b'{"selector": {"rows.1.n": 1}, "limit": 0}')  # builds the index
        # The same settings of the garbage collector as in ``couchmodel serve``.
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        for name, request in _cases(case).items():
            if all(word in name for word in sys.argv[1:]):
                print(await _measure(name, request))
        await case.router.store.close()


if __name__ == "__main__":
    asyncio.run(main())
