"""Time attachments of models, and measure the memory that they take: ``python -m benchmarks.attachments [MIB ...]``.

Over HTTP the floor is the same bytes, sent and read by raw aiohttp. In an embedded store it is the same bytes in
SQLite, in rows of the size of a chunk. Each round has new bytes, as equal contents are stored once.

A save of fields and a file in one request is compared with the faster one of the two saves that it replaces. Over HTTP
the server takes longer for a file than for fields alone, from some size on, and then no client meets the bar. The same
``multipart/related`` request, sent by raw aiohttp, shows how near to the best one comes.
"""

import asyncio
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from benchmarks.bucket import Contender, aiohttp_contender, compare, sqlite_contender
from benchmarks.http import server
from benchmarks.streams import measure
from couchmodel import Attachment, Connection, CouchModel, File, Repository, attachment, connect
from couchmodel._wire.messages import encode
from couchmodel._wire.multipart import AttachmentPart, MultipartRelated
from couchmodel.engine import Database

_MIB = 1024 * 1024
_SAVES = 60
_ROUNDS = 12  # a server is far noisier than a file
_SIZES = (1, 16, 64, 1024, 32 * 1024)  # of the files that are saved with fields, in KiB

Send = Callable[[str, str, bytes], Awaitable[None]]


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


async def compare_saves(films: Repository[Film], kib: int, send: Send | None = None) -> None:
    """Print the time of fields and file in one save, against the faster one of a save of each, and a raw request.

    ``send`` sends the raw request: the path, the media type and the body of a document.
    """
    times: dict[str, list[float]] = {}
    for number in range(_SAVES if kib < 10_000 else _ROUNDS):
        film = Film(id=f"{kib}-{number}")
        await films.save(film)
        film.stars = 1
        await _time(times, "fields", films.save(film))
        await _time(times, "file", film.reel.save(secrets.token_bytes(kib * 1024), "application/octet-stream"))
        film.stars, film.reel = 2, File(secrets.token_bytes(kib * 1024), "application/octet-stream")
        await _time(times, "both", films.save(film))
        if send is not None:
            content = secrets.token_bytes(kib * 1024)
            await _time(times, "raw", send_related(send, f"/raw-{kib}-{number}", content))
    best = {name: min(each) * 1000 for name, each in times.items()}
    half = best["both"] / min(best["fields"], best["file"])
    word = "ok" if half <= 1.15 else "MISSED"
    shown = ", ".join(f"{name} {each:.2f} ms" for name, each in best.items())
    raw = f", {best['both'] / best['raw']:5.2f} of raw" if send is not None else ""
    print(f"one save of {kib} KiB: {shown}   {half:5.2f} of the faster half   {word} <= 1.15{raw}")


async def send_related(send: Send, path: str, content: bytes) -> None:
    """Send a document with one attachment as the model does, and nothing else."""
    part = AttachmentPart("reel", "application/octet-stream", len(content))
    stub = {"content_type": part.content_type, "length": part.length, "follows": True}
    related = MultipartRelated(encode({"title": "The pie", "stars": 2, "_attachments": {part.name: stub}}), [part])
    await send(path, related.content_type, related.head + related.part_head(part) + content + related.tail)


async def _time(times: dict[str, list[float]], name: str, call: Awaitable[object]) -> None:
    start = time.perf_counter()
    await call
    times.setdefault(name, []).append(time.perf_counter() - start)


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
        for kib in _SIZES:
            await compare_saves(films, kib, sender(session, f"{url}/{films.database.id}"))
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
            for kib in _SIZES:
                await compare_saves(films, kib)


def sender(session: aiohttp.ClientSession, url: str) -> Send:
    """Return the function that sends raw requests to a database."""

    async def send(path: str, content_type: str, body: bytes) -> None:
        async with session.put(url + path, data=body, headers={"content-type": content_type}) as response:
            assert response.status == 201

    return send


async def create(couch: Connection) -> Database:
    return await couch.create(f"benchmark-{secrets.token_hex(4)}")


async def add_documents(films: Repository[Film]) -> None:
    for number in range(_ROUNDS):
        await films.save(Film(id=f"alone-{number}"))


if __name__ == "__main__":
    print("a real CouchDB" if os.environ.get("COUCHMODEL_TEST_URL") else "couchmodel serve")
    asyncio.run(main())
