"""Measure reads over HTTP against raw aiohttp with json, and against aiocouch; and the speed of the server."""

import asyncio
import base64
import json
import os
import secrets
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Self
from urllib.parse import urlsplit

import aiocouch
import aiohttp

from benchmarks.measure import Row, best_of_async
from benchmarks.models import Recipe, recipe
from couchmodel import Repository, connect


async def rows() -> AsyncIterator[Row]:
    """Yield rows for ``get`` of 1 KB, in wall time and client CPU time, and one for the speed of the server."""
    yield await measure_server()
    async with server() as url, connect(url) as couch, aiohttp.ClientSession() as raw:
        database = await couch.create(f"benchmark-{secrets.token_hex(4)}")
        recipes = Repository(Recipe, database)
        await recipes.save(recipe())
        path = f"{url}/{database.id}/apple_pie"

        async def by_aiohttp() -> object:
            async with raw.get(path) as response:
                return json.loads(await response.read())

        parts = urlsplit(url)
        peer = aiocouch.CouchDB(f"http://{parts.hostname}:{parts.port}", user=parts.username, password=parts.password)
        async with peer:
            theirs = aiocouch.Database(peer, database.id)

            floor, ours, other = await best_of_async(
                by_aiohttp, lambda: recipes.get("apple_pie"), lambda: theirs.get("apple_pie")
            )
            yield Row("get over HTTP, wall", "aiohttp + json", floor, ours, 1.10)
            yield Row("(aiocouch, wall)", "aiohttp + json", floor, other)
            cpu, theirs_cpu = await best_of_async(
                lambda: recipes.get("apple_pie"), lambda: theirs.get("apple_pie"), clock=time.process_time_ns
            )
            yield Row("get over HTTP, client CPU", "aiocouch, a dict only", theirs_cpu, cpu, 1.00)
        await database.delete()


async def measure_server() -> Row:
    """Measure a ``GET`` of a document from ``couchmodel serve``, against an aiohttp server that sends fixed bytes."""
    document = json.dumps({"_id": "a", "_rev": "1-x", "text": "x" * 1000})
    fixed = (sys.executable, "-c", FIXED_SERVER, document)
    async with (
        listening(*fixed) as floor,
        listening(*SERVE) as ours,
        RawConnection(floor) as theirs,
        RawConnection(ours) as mine,
    ):
        await mine.ask("PUT", "/db")
        await mine.ask("PUT", "/db/a", json.dumps({"text": "x" * 1000}).encode())
        floor_us, ours_us = await best_of_async(lambda: theirs.ask("GET", "/db/a"), lambda: mine.ask("GET", "/db/a"))
    return Row("serve a document", "aiohttp, fixed bytes", floor_us, ours_us, 2.00)


FIXED_SERVER = """
import asyncio, sys
from aiohttp import web

async def answer(request):
    return web.Response(body=sys.argv[1].encode(), content_type="application/json")

async def main():
    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"serving at http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""

SERVE = (sys.executable, "-m", "couchmodel", "serve", "--port", "0", "--admin", "bench:mark")


class RawConnection:
    """A minimal HTTP connection: it costs so little that the measured time is the server's."""

    def __init__(self, url: str) -> None:
        self._port = urlsplit(url).port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self, method: str, path: str, body: bytes = b"") -> None:
        login = base64.b64encode(b"bench:mark").decode()
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {login}\r\nContent-Length: {len(body)}"
        self._writer.write(f"{head}\r\n\r\n".encode() + body)
        answer = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = answer.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await self._reader.readexactly(int(length))


@asynccontextmanager
async def server() -> AsyncGenerator[str]:
    """Yield the URL of a server in another process: the CouchDB of ``COUCHMODEL_TEST_URL``, or ``couchmodel serve``."""
    if live := os.environ.get("COUCHMODEL_TEST_URL"):
        yield live.rstrip("/")
        return
    async with listening(*SERVE) as url:
        yield url.replace("://", "://bench:mark@").rstrip("/")


@asynccontextmanager
async def listening(*command: str) -> AsyncGenerator[str]:
    """Run a command that starts a server, and yield the URL at the end of its first line of output."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        if process.stdout is None:
            raise RuntimeError("the server has no output")
        line = (await process.stdout.readline()).decode().split()
        yield line[-1]
    finally:
        process.terminate()
        await process.wait()
