"""Measure writes to an embedded store in a file, against a real CouchDB if ``COUCHMODEL_TEST_URL`` names one.

Both get the same requests. The time includes all behind a transport: the network, the work and the disk.
"""

import asyncio
import gc
import os
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from benchmarks.measure import Row
from benchmarks.models import recipe
from couchmodel._wire.messages import Request, Transport, encode
from couchmodel.transports import open_transport

BULK = 1_000
PUTS = 50
ROUNDS = 8
LEAST_BULK = 15_000
"""Documents per second that the store has to accept, however fast CouchDB is."""

_HEADERS = {"content-type": "application/json", "accept": "application/json"}


async def rows() -> AsyncIterator[Row]:
    """Yield rows for a durable ``put``, one that JavaScript checks, and a document of a bulk request."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        ours = await _Writer.open(f"sqlite:{Path(folder, 'couch.db')}")
        stack.push_async_callback(ours.close)
        checked = await _Writer.open(f"sqlite:{Path(folder, 'checked.db')}")
        stack.push_async_callback(checked.close)
        await checked.add_check()
        yield Row("put that JavaScript checks", "put, embedded in a file", *await _best(ours.put, checked.put))
        live = os.environ.get("COUCHMODEL_TEST_URL")
        theirs = await _Writer.open(live) if live else None
        if theirs is None:
            _, bulk = await _best(None, ours.bulk)
        else:
            stack.push_async_callback(theirs.close)
            yield Row("put of 1 KB, durable", "CouchDB over HTTP", *await _best(theirs.put, ours.put), 0.2)
            floor, bulk = await _best(theirs.bulk, ours.bulk)
            yield Row("a document of a bulk insert", "CouchDB over HTTP", floor, bulk, 1.0)
        yield Row("a document of a bulk insert", f"{LEAST_BULK:,} documents/s", 1_000_000 / LEAST_BULK, bulk, 1.0)


class _Writer:
    """A client that writes to a database of its own over one transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._database = f"benchmark-{secrets.token_hex(4)}"
        self._content = _content()

    @classmethod
    async def open(cls, url: str) -> "_Writer":
        writer = cls(open_transport(url))
        await writer._send("PUT")
        return writer

    async def close(self) -> None:
        await self._send("DELETE")
        await self._transport.close()

    async def add_check(self) -> None:
        """Store a design document whose function checks every write from now on."""
        source = "function (newDoc) { if (!newDoc.title) throw({forbidden: 'no title'}) }"
        await self._send("PUT", "_design/check", body=encode({"validate_doc_update": source}))

    async def put(self) -> float:
        """Write documents one by one, and return the microseconds per document."""
        body = encode(self._content)
        start = time.perf_counter()
        for _ in range(PUTS):
            await self._send("PUT", secrets.token_hex(8), body=body)
        return (time.perf_counter() - start) / PUTS * 1_000_000

    async def bulk(self) -> float:
        """Write many documents by one request, and return the microseconds per document."""
        body = encode({"docs": [{"_id": secrets.token_hex(8), **self._content} for _ in range(BULK)]})
        start = time.perf_counter()
        await self._send("POST", "_bulk_docs", body=body)
        return (time.perf_counter() - start) / BULK * 1_000_000

    async def _send(self, method: str, *path: str, body: bytes | None = None) -> None:
        answer = await self._transport.send(Request(method, (self._database, *path), {}, _HEADERS, body))
        assert answer.status < 300, answer.body


def _content() -> dict[str, Any]:
    return recipe().model_dump(mode="json", exclude={"id", "rev"})


async def _best(
    theirs: Callable[[], Awaitable[float]] | None, ours: Callable[[], Awaitable[float]]
) -> tuple[float, float]:
    """Return the best time of each contender, which take turns; infinity for none."""
    best = [float("inf")] * 2
    for _ in range(ROUNDS):
        for n, contender in enumerate((theirs, ours)):
            if contender is not None:
                gc.collect()
                best[n] = min(best[n], await contender())
    return best[0], best[1]


async def main() -> None:
    """Print the rows of this module alone."""
    async for row in rows():
        print(f"{row.name:<30} {row.ours_us:8.1f} µs, {row.floor}: {row.floor_us:8.1f} µs, ratio {row.ratio:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
