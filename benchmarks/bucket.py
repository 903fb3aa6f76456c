"""Time files in a bucket, and measure the memory that they take: ``python -m benchmarks.bucket [MIB ...]``.

Over HTTP the floor is one attachment of the same bytes, sent and read by raw aiohttp. In an embedded store it is the
same bytes in SQLite, in rows of the size of a chunk. Each round has new bytes, as equal contents are stored once.
"""

import asyncio
import os
import resource
import secrets
import sqlite3
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import aiohttp

from benchmarks.http import server
from couchmodel.bucket import Bucket
from couchmodel.engine import CouchDB

_MIB = 1024 * 1024
ROUNDS = 5
_CHUNK = 255 * 1024
_MEMORY_BAR = 16.0

Transfer = Callable[[int, bytes], Awaitable[None]]


class Contender(NamedTuple):
    """A way to store and to read contents, each by the number of its round."""

    up: Transfer
    down: Transfer


async def compare(
    name: str, mib: int, floor: Contender, ours: Contender, bars: tuple[float, float], rounds: int = ROUNDS
) -> None:
    """Print the best round of each contender, up and down."""
    best = {(who, way): float("inf") for who in ("floor", "ours") for way in ("up", "down")}
    for number in range(rounds):
        content = secrets.token_bytes(mib * _MIB)
        for who, contender in (("floor", floor), ("ours", ours)):
            for way, transfer in (("up", contender.up), ("down", contender.down)):
                start = time.perf_counter()
                await transfer(number, content)
                best[who, way] = min(best[who, way], time.perf_counter() - start)
    for way, bar in zip(("up", "down"), bars, strict=True):
        ratio = best["ours", way] / best["floor", way]
        word = "ok" if ratio <= bar else "MISSED"
        times = f"{best['ours', way] * 1000:7.1f} ms, floor {best['floor', way] * 1000:7.1f} ms"
        print(f"{name:<10} {mib:>5} MiB {way:<5} {times}   {ratio:5.2f}   {word} <= {bar}")


def bucket_contender(bucket: Bucket) -> Contender:
    """Return the transfers of a bucket: whole contents in memory, so that nothing else is timed."""

    async def up(number: int, content: bytes) -> None:
        await bucket.upload_from_stream_with_id(str(number), "file", content)

    async def down(number: int, content: bytes) -> None:
        assert await drain(bucket, str(number)) == len(content)

    return Contender(up, down)


async def drain(bucket: Bucket, file_id: str) -> int:
    return sum([len(chunk) async for chunk in await bucket.open_download_stream(file_id)])


def aiohttp_contender(session: aiohttp.ClientSession, url: str) -> Contender:
    """Return the transfers of one attachment by aiohttp."""

    async def up(number: int, content: bytes) -> None:
        headers = {"content-type": "application/octet-stream", "content-length": str(len(content))}
        async with session.put(f"{url}/{number}/a", data=pieces(content), headers=headers) as response:
            assert response.status == 201

    async def down(number: int, content: bytes) -> None:
        async with session.get(f"{url}/{number}/a") as response:
            assert sum([len(piece) async for piece in response.content.iter_any()]) == len(content)

    return Contender(up, down)


async def pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 65536):
        yield content[start : start + 65536]


def sqlite_contender(path: Path) -> Contender:
    """Return the transfers of rows in a file of SQLite that is as durable as a store."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE chunk (file INTEGER, n INTEGER, data BLOB, PRIMARY KEY (file, n)) WITHOUT ROWID")

    async def up(number: int, content: bytes) -> None:
        with connection:
            for n, start in enumerate(range(0, len(content), _CHUNK)):
                row = number, n, content[start : start + _CHUNK]
                connection.execute("INSERT INTO chunk VALUES (?, ?, ?)", row)

    async def down(number: int, content: bytes) -> None:
        total = 0
        for n in range(-(-len(content) // _CHUNK)):
            row = connection.execute("SELECT data FROM chunk WHERE file = ? AND n = ?", (number, n)).fetchone()
            total += len(row[0])
        assert total == len(content)

    return Contender(up, down)


async def measure_memory(bucket: Bucket, mib: int) -> None:
    """Print the peak of new Python objects, and the growth of the process, of an upload and a download."""

    async def up() -> None:
        await bucket.upload_from_stream_with_id(f"{mib} MiB", "file", random_pieces(mib))

    async def down() -> None:
        async for _ in await bucket.open_download_stream(f"{mib} MiB"):
            pass

    for way, transfer in (("up", up), ("down", down)):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        tracemalloc.start()
        await transfer()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        word = "ok" if peak / _MIB < _MEMORY_BAR else "MISSED"
        figures = f"{peak / _MIB:6.2f} MiB of objects, {grown:6.2f} MiB resident"
        print(f"memory     {mib:>5} MiB {way:<5} {figures}   {word} < {_MEMORY_BAR:.0f} MiB")


async def random_pieces(mib: int) -> AsyncIterator[bytes]:
    for _ in range(mib):
        yield secrets.token_bytes(_MIB)


async def main() -> None:
    """Measure over HTTP, and in a file."""
    sizes = [int(text) for text in sys.argv[1:]] or [32]
    async with server() as url, CouchDB(url) as couch, aiohttp.ClientSession() as session:
        database = await couch.create(f"benchmark-{secrets.token_hex(4)}")
        other = await couch.create(f"benchmark-{secrets.token_hex(4)}")
        try:
            ours = bucket_contender(Bucket(database))
            await compare("HTTP", 32, aiohttp_contender(session, f"{url}/{other.id}"), ours, (1.6, 1.3))
            for mib in sizes:
                await measure_memory(Bucket(database), mib)
        finally:
            await database.delete()
            await other.delete()
    with TemporaryDirectory() as folder:
        async with CouchDB(f"sqlite:{folder}/store.db") as couch:
            bucket = Bucket(await couch.create("files"))
            floor = sqlite_contender(Path(folder, "floor.db"))
            await compare("embedded", 32, floor, bucket_contender(bucket), (3.0, 2.0))


if __name__ == "__main__":
    print("a real CouchDB" if os.environ.get("COUCHMODEL_TEST_URL") else "couchmodel serve")
    asyncio.run(main())
