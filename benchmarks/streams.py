"""Measure how much memory a client needs to stream attachments: ``python -m benchmarks.streams [MIB ...]``.

The bar is 4 MiB of Python objects, for attachments of any size.
"""

import asyncio
import resource
import secrets
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from benchmarks.http import server
from couchmodel.engine import Attachment, CouchDB, Document, Upload
from couchmodel.errors import UnsupportedError

_MIB = 1024 * 1024
_BAR = 4.0


class Growth(NamedTuple):
    """The result of a transfer: its seconds, the peak of new Python objects and the growth of the process, in MiB."""

    name: str
    seconds: float
    traced: float
    resident: float

    def __str__(self) -> str:
        word = "ok" if self.traced < _BAR else "MISSED"
        grown = f"{self.traced:6.2f} MiB of objects, {self.resident:6.2f} MiB resident"
        return f"{self.name:<24} {self.seconds:6.2f} s   {grown}   {word} < {_BAR:.0f} MiB"


async def measure_transfers(mib: int) -> AsyncIterator[Growth]:
    """Yield results of an upload and a download: of the attachment alone, and, if supported, with its document."""
    async with server() as url, CouchDB(url) as couch:
        database = await couch.create(f"benchmark-{secrets.token_hex(4)}")
        try:
            document = await database.create("pie")
            await document.save()
            attachment = document.attachment("pie.png")
            await _warm_up(attachment)
            yield await measure(f"{mib} MiB up", lambda: attachment.save(_content(mib), "image/png"))
            yield await measure(f"{mib} MiB down", lambda: _drain(attachment.stream()))
            with suppress(UnsupportedError):
                async for growth in _measure_multipart(Document(database, "cake"), mib):
                    yield growth
        finally:
            await database.delete()


async def _measure_multipart(document: Document, mib: int) -> AsyncIterator[Growth]:
    upload = Upload(_content(mib), "image/png", mib * _MIB)
    yield await measure(f"{mib} MiB multipart up", lambda: document.save_with({"pie.png": upload}))

    async def down() -> None:
        async for attachment in document.fetch_with():
            await _drain(aiter(attachment))

    yield await measure(f"{mib} MiB multipart down", down)


async def _warm_up(attachment: Attachment) -> None:
    await attachment.save(_content(1), "image/png")
    await _drain(attachment.stream())


async def _content(mib: int) -> AsyncIterator[bytes]:
    piece = secrets.token_bytes(64 * 1024)
    for _ in range(mib * _MIB // len(piece)):
        yield piece


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    async for _ in pieces:
        pass


async def measure(name: str, transfer: Callable[[], Awaitable[object]]) -> Growth:
    """Return the growth of memory while a function runs."""
    resident = _resident()
    start = time.perf_counter()
    tracemalloc.start()
    try:
        await transfer()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return Growth(name, time.perf_counter() - start, peak / _MIB, _resident() - resident)


def _resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def main() -> None:
    """Print a line for each transfer."""
    for mib in map(int, sys.argv[1:] or ["32"]):
        async for growth in measure_transfers(mib):
            print(growth)


if __name__ == "__main__":
    asyncio.run(main())
