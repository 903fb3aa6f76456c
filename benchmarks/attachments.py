"""Time attachments of models, and measure the memory that they take: ``python -m benchmarks.attachments [MIB ...]``.

Over HTTP the floor is the same bytes, sent and read by raw aiohttp. In an embedded store it is the same bytes in
SQLite, in rows of the size of a chunk. A save of fields and a file in one request is compared with the faster one of
the two requests that it replaces. Each round has new bytes, as equal contents are stored once.
"""

import asyncio
import os
import secrets
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from benchmarks.bucket import Contender, aiohttp_contender, compare, sqlite_contender
from benchmarks.http import server
from benchmarks.streams import measure
from couchmodel import Attachment, Connection, CouchModel, File, Repository, attachment, connect
from couchmodel.engine import Database

_MIB = 1024 * 1024
_SAVES = 60
_ROUNDS = 12  # a server is far noisier than a file


class Film(CouchModel):
    title: str = "The pie"
    stars: int = 0
    reel: Attachment = attachment()


def attachment_contender(films: Repository[Film]) -> Contender:
    """Return the transfers of an attachment that is saved alone. Its document is there already."""

    async def up(number: int, content: bytes) -> None:
        await (await films.get(f"alone-{number}")).reel.save(content, "application/octet-stream")

    async def down(number: int, content: bytes) -> None:
        film = await films.get(f"alone-{number}")
        assert sum([len(piece) async for piece in film.reel.stream()]) == len(content)

    return Contender(up, down)


def document_contender(films: Repository[Film]) -> Contender:
    """Return the transfers of an attachment that is saved with its document."""

    async def up(number: int, content: bytes) -> None:
        film = Film(id=f"together-{number}")
        film.reel = File(content, "application/octet-stream")
        await films.save(film)

    async def down(number: int, content: bytes) -> None:
        film = await films.get(f"together-{number}")
        assert sum([len(piece) async for piece in film.reel.stream()]) == len(content)

    return Contender(up, down)


_CONTENDERS = {"alone": attachment_contender, "together": document_contender}


async def measure_memory(films: Repository[Film], mib: int) -> None:
    """Print the growth of memory of an upload, by a save of the document and alone, and of a download."""
    film = Film(id=f"large-{mib}")

    async def save() -> None:
        film.reel = File(_Content(mib), "application/octet-stream")
        await films.save(film)

    async def drain() -> None:
        async for _ in film.reel.stream():
            pass

    print(await measure(f"{mib} MiB with document", save))
    print(await measure(f"{mib} MiB alone", lambda: film.reel.save(_Content(mib), "application/octet-stream")))
    print(await measure(f"{mib} MiB down", drain))


class _Content:
    """A content that is made as it is read."""

    def __init__(self, mib: int) -> None:
        self._mib = mib

    async def __aiter__(self) -> AsyncIterator[bytes]:
        piece = secrets.token_bytes(64 * 1024)
        for number in range(self._mib * _MIB // len(piece)):
            yield number.to_bytes(8) + piece[8:]


async def compare_saves(films: Repository[Film], kib: int) -> None:
    """Print the time of fields and file in one save, against the faster one of a save of each."""
    times: dict[str, list[float]] = {"fields": [], "file": [], "both": []}
    for number in range(_SAVES):
        film = Film(id=f"{kib}-{number}")
        await films.save(film)
        film.stars = 1
        await _time(times["fields"], films.save(film))
        await _time(times["file"], film.reel.save(secrets.token_bytes(kib * 1024), "application/octet-stream"))
        film.stars, film.reel = 2, File(secrets.token_bytes(kib * 1024), "application/octet-stream")
        await _time(times["both"], films.save(film))
    fields, file, both = (statistics.median(each) * 1000 for each in times.values())
    ratio = both / min(fields, file)
    word = "ok" if ratio <= 1.15 else "MISSED"
    print(f"one save of fields and {kib} KiB: {both:.2f} ms; fields {fields:.2f} ms, file {file:.2f} ms", end="")
    print(f"   {ratio:5.2f}   {word} <= 1.15")


async def _time(times: list[float], call: Awaitable[object]) -> None:
    start = time.perf_counter()
    await call
    times.append(time.perf_counter() - start)


async def main() -> None:
    """Print a line for each comparison."""
    sizes = [int(each) for each in sys.argv[1:]] or [32]
    async with server() as url, connect(url) as couch, aiohttp.ClientSession() as session:
        films = Repository(Film, await create(couch))
        await add_documents(films)
        for name, contender in _CONTENDERS.items():
            raw = await create(couch)
            floor = aiohttp_contender(session, f"{url}/{raw.id}")
            await compare(name, 32, floor, contender(films), (1.1, 1.1), _ROUNDS)
            await raw.delete()
        for kib in (1, 16, 64):
            await compare_saves(films, kib)
        for mib in sizes:
            await measure_memory(films, mib)
        await films.database.delete()
    with TemporaryDirectory() as folder:
        async with connect(f"sqlite:{folder}/store.db") as couch:
            films = Repository(Film, await create(couch))
            await add_documents(films)
            for name, contender in _CONTENDERS.items():
                floor = sqlite_contender(Path(folder, f"{name}.db"))
                await compare(f"embedded, {name}", 32, floor, contender(films), (3, 2))


async def create(couch: Connection) -> Database:
    return await couch.create(f"benchmark-{secrets.token_hex(4)}")


async def add_documents(films: Repository[Film]) -> None:
    for number in range(_ROUNDS):
        await films.save(Film(id=f"alone-{number}"))


if __name__ == "__main__":
    print("a real CouchDB" if os.environ.get("COUCHMODEL_TEST_URL") else "couchmodel serve")
    asyncio.run(main())
