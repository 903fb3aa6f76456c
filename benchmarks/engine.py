"""Measure the engine over HTTP against raw aiohttp with orjson, and against aiocouch: wall time and client CPU time."""

import asyncio
import gc
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import aiocouch
import aiohttp
import orjson

from benchmarks.http import server
from benchmarks.measure import Row
from couchmodel.engine import CouchDB, Database, Document

DOCUMENTS = 5_000
LONG = 5
SHORT = 25
"""Rounds of a long and of a short job. Short ones have more, so that a pause of the server affects no contender."""

CONTENT = {"kind": "benchmark", "text": "x" * 400, "numbers": [1, 2, 3, 4.5], "author": {"name": "Ada"}}
"""The content of a document: about 500 bytes of JSON."""

Contender = Callable[[], Awaitable[object]]
Bars = tuple[float | None, float | None, float | None]
"""The bars of a job: wall time and client time against raw aiohttp, client time against aiocouch."""

Job = tuple[str, Bars, tuple[Contender, Contender, Contender], int]


async def rows() -> AsyncIterator[Row]:
    """Yield rows for get, save, bulk create, iterate, find and concurrent gets."""
    async with server() as url, CouchDB(url) as couch, aiohttp.ClientSession() as raw:
        parts = urlsplit(url)
        peer = aiocouch.CouchDB(f"http://{parts.hostname}:{parts.port}", user=parts.username, password=parts.password)
        async with peer:
            database = await couch.create(f"benchmark-{secrets.token_hex(4)}")
            async with database.create_docs() as operation:
                for n in range(64):
                    operation.create(f"filled-{n:02}", data=CONTENT)
            case = _Case(database, aiocouch.Database(peer, database.id), raw, f"{url}/{database.id}")
            for job in _jobs(case):
                async for row in _measure(*job):
                    yield row
            await database.delete()


def _jobs(case: "_Case") -> list[Job]:
    """Return the jobs."""
    return [
        ("get 64", (1.10, None, None), (case.raw_get, case.get, case.their_get), SHORT),
        ("64 gets at once", (1.05, None, None), (case.raw_gets, case.gets, case.their_gets), SHORT),
        ("save 50", (1.10, None, None), (case.raw_save, case.save, case.their_save), SHORT),
        (f"bulk create {DOCUMENTS:,}", (1.15, 2.0, None), (case.raw_bulk, case.bulk, case.their_bulk), LONG),
        (f"iterate {DOCUMENTS:,}", (1.10, None, 0.67), (case.raw_iterate, case.iterate, case.their_iterate), LONG),
        (f"find {DOCUMENTS:,}", (1.05, None, None), (case.raw_find, case.find, case.their_find), LONG),
    ]


async def _measure(
    name: str, bars: Bars, contenders: tuple[Contender, Contender, Contender], rounds: int
) -> AsyncIterator[Row]:
    """Yield the rows of one job. The contenders take turns, and the best round of each counts."""
    walls, cpus = [float("inf")] * 3, [float("inf")] * 3
    for _ in range(rounds):
        for n, contender in enumerate(contenders):
            gc.collect()
            wall, cpu = time.perf_counter_ns(), time.process_time_ns()
            await contender()
            walls[n] = min(walls[n], (time.perf_counter_ns() - wall) / 1000)
            cpus[n] = min(cpus[n], (time.process_time_ns() - cpu) / 1000)
    yield Row(f"{name}, wall", "aiohttp + orjson", walls[0], walls[1], bars[0])
    yield Row(f"{name}, client CPU", "aiohttp + orjson", cpus[0], cpus[1], bars[1])
    yield Row("  aiocouch's wall", "aiohttp + orjson", walls[0], walls[2])
    yield Row("  aiocouch's client CPU", "aiohttp + orjson", cpus[0], cpus[2])
    yield Row("  our client CPU", "aiocouch", cpus[2], cpus[1], bars[2])


class _Case:
    """The jobs, each by hand (``raw_…``), by the engine, and by aiocouch (``their_…``), on the same database."""

    def __init__(self, ours: Database, theirs: aiocouch.Database, raw: aiohttp.ClientSession, url: str) -> None:
        self.ours, self.theirs, self.session, self.url = ours, theirs, raw, url
        self.filled = [f"filled-{n:02}" for n in range(64)]

    async def post(self, path: str, body: Any) -> Any:
        headers = {"content-type": "application/json"}
        async with self.session.post(f"{self.url}/{path}", data=orjson.dumps(body), headers=headers) as response:
            return orjson.loads(await response.read())

    async def raw_save(self) -> None:
        for _ in range(50):
            async with self.session.put(f"{self.url}/{_id()}", data=orjson.dumps(CONTENT)) as response:
                orjson.loads(await response.read())

    async def save(self) -> None:
        for _ in range(50):
            await Document(self.ours, _id(), CONTENT).save()

    async def their_save(self) -> None:
        for _ in range(50):
            await aiocouch.Document(self.theirs, _id(), data=dict(CONTENT)).save()

    async def raw_bulk(self) -> None:
        await self.post("_bulk_docs", {"docs": [{"_id": _id(), **CONTENT} for _ in range(DOCUMENTS)]})

    async def bulk(self) -> None:
        async with self.ours.create_docs() as operation:
            for _ in range(DOCUMENTS):
                operation.create(_id(), data=CONTENT)

    async def their_bulk(self) -> None:
        async with self.theirs.create_docs() as operation:
            for _ in range(DOCUMENTS):
                operation.create(_id(), data=dict(CONTENT))

    async def raw_iterate(self) -> None:
        async with self.session.get(f"{self.url}/_all_docs?include_docs=true&limit={DOCUMENTS}") as response:
            for row in orjson.loads(await response.read())["rows"]:
                _ = row["doc"]

    async def iterate(self) -> None:
        async for _ in self.ours.docs(limit=DOCUMENTS):
            pass

    async def their_iterate(self) -> None:
        async for _ in self.theirs.docs(limit=DOCUMENTS):
            pass

    async def raw_find(self) -> None:
        for row in (await self.post("_find", {"selector": {}, "limit": DOCUMENTS}))["docs"]:
            _ = row

    async def find(self) -> None:
        async for _ in self.ours.find({}, limit=DOCUMENTS):
            pass

    async def their_find(self) -> None:
        async for _ in self.theirs.find({}, limit=DOCUMENTS):
            pass

    async def raw_one(self, key: str) -> None:
        async with self.session.get(f"{self.url}/{key}") as response:
            orjson.loads(await response.read())

    async def raw_get(self) -> None:
        for key in self.filled:
            await self.raw_one(key)

    async def get(self) -> None:
        for key in self.filled:
            await self.ours.get(key)

    async def their_get(self) -> None:
        for key in self.filled:
            await self.theirs.get(key)

    async def raw_gets(self) -> None:
        await asyncio.gather(*map(self.raw_one, self.filled))

    async def gets(self) -> None:
        await asyncio.gather(*map(self.ours.get, self.filled))

    async def their_gets(self) -> None:
        await asyncio.gather(*map(self.theirs.get, self.filled))


def _id() -> str:
    return secrets.token_hex(8)
