"""Measure what a repository adds to an embedded store: many models read, found by an index, and saved.

The floors use SQLite and pydantic directly. Python's garbage collector is on, as it is in a program.
"""

import asyncio
import gc
import itertools
import secrets
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiocouch
import aiohttp
import orjson

from benchmarks.http import server
from benchmarks.measure import Row
from benchmarks.models import Plain, Recipe, recipe
from couchmodel import Index, Mapped, Repository, connect

COUNT = 5_000
FOUND = 25
ALIVE = 10_000
ROUNDS = 12
LONGEST_HOLD_US = 20_000


class Ranked(Recipe, indexes=[Index("rank")]):
    rank: Mapped[int]


async def rows() -> AsyncIterator[Row]:
    """Yield rows for reading, finding and saving models."""
    with tempfile.TemporaryDirectory() as folder:
        async with connect(f"sqlite:{Path(folder, 'couch.db')}") as couch:
            repository = Repository(Ranked, await couch.create("ranked"))
            await repository.apply()
            documents = [make(n) for n in range(COUNT)]
            await repository.save_all(documents)
            plain = PlainStore(Path(folder, "plain.db"))
            plain.save(documents)
            del documents
            yield Row(
                f"{COUNT:,} models", "sqlite3 + pydantic", *await best(plain.read_all, repository.find().to_list), 1.5
            )
            alive = [make(n) for n in range(ALIVE)]
            times = await best(plain.read_all, repository.find().to_list)
            yield Row(f"{COUNT:,} models beside {len(alive):,}", "sqlite3 + pydantic", *times, 1.5)
            del alive
            found = repository.find(Ranked.rank >= 2_500).limit(FOUND)
            yield Row(
                f"{FOUND} of {COUNT:,} by index",
                "sqlite3 + pydantic",
                *await best(plain.find, found.to_list, calls=20),
                3.0,
            )
            numbers = itertools.count(COUNT)

            async def save() -> None:
                await repository.save_all([make(next(numbers)) for _ in range(COUNT)])

            def floor() -> None:
                plain.save([make(next(numbers)) for _ in range(COUNT)])

            def making() -> None:
                [make(next(numbers)) for _ in range(COUNT)]

            made, _ = await best(making, nothing, rounds=5)
            theirs, ours = await best(floor, save, rounds=5)
            yield Row(f"save_all of {COUNT:,}", "sqlite3 + pydantic", theirs - made, ours - made, 8.0)
            batch = [make(next(numbers)) for _ in range(COUNT)]
            held = await longest_hold(repository.save_all(batch))
            yield Row(f"loop held by save_all of {COUNT:,}", "20 ms", LONGEST_HOLD_US, held * 1e6, 1.0)


def make(n: int) -> Ranked:
    """Return a new document."""
    values: dict[str, Any] = {**vars(recipe(f"r{n:06}")), "rank": n}
    return Ranked(**values)


class PlainStore:
    """The floor: a table of JSON texts and a table of keys, in a durable file."""

    def __init__(self, file: Path) -> None:
        self._connection = sqlite3.connect(file)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("CREATE TABLE doc (id TEXT UNIQUE, body BLOB)")
        self._connection.execute("CREATE TABLE entry (key INTEGER, id TEXT, PRIMARY KEY (key, id)) WITHOUT ROWID")

    def save(self, documents: list[Ranked]) -> None:
        """Write documents by one durable transaction."""
        with self._connection:
            self._connection.executemany(
                "INSERT INTO doc VALUES (?, ?)", ((each.id, each.model_dump_json()) for each in documents)
            )
            self._connection.executemany(
                "INSERT INTO entry VALUES (?, ?)", ((each.rank, each.id) for each in documents)
            )

    def read_all(self) -> list[Plain]:
        """Read all documents."""
        return [
            Plain.model_validate_json(body)
            for (body,) in self._connection.execute("SELECT body FROM doc ORDER BY id LIMIT ?", (COUNT,))
        ]

    def find(self) -> list[Plain]:
        """Read some documents by the table of keys."""
        found = self._connection.execute(
            "SELECT body FROM entry JOIN doc USING (id) WHERE key >= ? ORDER BY key LIMIT ?", (2_500, FOUND)
        )
        return [Plain.model_validate_json(body) for (body,) in found]


async def all_rows() -> AsyncIterator[Row]:
    """Yield all rows of this module."""
    async for row in rows():
        yield row
    async for row in http_rows():
        yield row


async def nothing() -> None:
    """Do nothing."""


async def best(
    floor: Callable[[], Any], ours: Callable[[], Awaitable[Any]], rounds: int = ROUNDS, calls: int = 1
) -> tuple[float, float]:
    """Return the microseconds of each contender in its best round."""
    found = [float("inf")] * 2
    for _ in range(rounds):
        gc.collect()
        start = time.perf_counter()
        for _ in range(calls):
            floor()
        found[0] = min(found[0], (time.perf_counter() - start) / calls)
        gc.collect()
        start = time.perf_counter()
        for _ in range(calls):
            await ours()
        found[1] = min(found[1], (time.perf_counter() - start) / calls)
    return found[0] * 1e6, found[1] * 1e6


async def longest_hold(work: Awaitable[Any]) -> float:
    """Return for how many seconds another task did not run at most while ``work`` ran."""
    longest, last = 0.0, time.perf_counter()

    async def beat() -> None:
        nonlocal longest, last
        while True:
            await asyncio.sleep(0)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    beating = asyncio.create_task(beat())
    await asyncio.sleep(0)
    longest, last = 0.0, time.perf_counter()
    await work
    beating.cancel()
    return longest


async def http_rows() -> AsyncIterator[Row]:
    """Yield rows for saving and reading models over HTTP."""
    async with server() as url, connect(url) as couch, aiohttp.ClientSession() as raw:
        parts = urlsplit(url)
        peer = aiocouch.CouchDB(f"http://{parts.hostname}:{parts.port}", user=parts.username, password=parts.password)
        async with peer:
            database = await couch.create(f"benchmark-{secrets.token_hex(4)}")
            repository = Repository(Ranked, database)
            theirs = aiocouch.Database(peer, database.id)
            numbers = itertools.count()
            found = [float("inf")] * 4

            async def raw_save(documents: list[Ranked]) -> None:
                bodies = [{"_id": each.id, **each.model_dump(mode="json", exclude={"id", "rev"})} for each in documents]
                async with raw.post(
                    f"{url}/{database.id}/_bulk_docs",
                    data=orjson.dumps({"docs": bodies}),
                    headers={"content-type": "application/json"},
                ) as response:
                    orjson.loads(await response.read())

            saves: tuple[Callable[[list[Ranked]], Awaitable[Any]], ...] = raw_save, repository.save_all
            for _ in range(4):
                for n, save in enumerate(saves):
                    found[n] = min(found[n], await timed(save([make(next(numbers)) for _ in range(COUNT)])))
            yield Row(f"save_all of {COUNT:,} over HTTP", "aiohttp + orjson", found[0] * 1e6, found[1] * 1e6, 1.15)

            async def iterate_theirs() -> None:
                async for _ in theirs.find({"_id": {"$gt": "r"}}, limit=COUNT):
                    pass

            async def iterate() -> None:
                async for _ in repository.find().limit(COUNT):
                    pass

            for _ in range(4):
                for n, read in enumerate((iterate_theirs, iterate), 2):
                    found[n] = min(found[n], await timed(read()))
            yield Row(f"iterate {COUNT:,} over HTTP", "aiocouch, dicts", found[2] * 1e6, found[3] * 1e6, 1.0)
            await database.delete()


async def timed(work: Awaitable[Any]) -> float:
    """Return the seconds that something takes."""
    gc.collect()
    start = time.perf_counter()
    await work
    return time.perf_counter() - start


async def main() -> None:
    """Print the rows of this module alone."""
    async for row in all_rows():
        said = f"{row.ours_us:10.0f} µs, {row.floor}: {row.floor_us:10.0f} µs"
        print(f"{row.name:<34} {said}, ratio {row.ratio:.2f} ({row.bar})")


if __name__ == "__main__":
    asyncio.run(main())
