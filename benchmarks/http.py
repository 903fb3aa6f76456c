"""Reading over HTTP, against raw aiohttp with json, and beside aiocouch."""

import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import aiocouch
import aiohttp

from benchmarks.measure import Row, best_of_async
from benchmarks.models import Recipe, recipe
from couchmodel import Repository, connect


async def rows() -> AsyncIterator[Row]:
    """``get`` of 1 KB: wall time against raw aiohttp, processor time of the client against aiocouch."""
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


@asynccontextmanager
async def server() -> AsyncGenerator[str]:
    """The URL of a server in another process: a real CouchDB where there is one."""
    if live := os.environ.get("COUCHMODEL_TEST_URL"):
        yield live.rstrip("/")
        return
    command = (sys.executable, "-m", "couchmodel", "serve", "--port", "0", "--admin", "bench:mark")
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        if process.stdout is None:
            raise RuntimeError("the server has no output")
        line = (await process.stdout.readline()).decode().split()
        yield line[-1].replace("://", "://bench:mark@").rstrip("/")
    finally:
        process.terminate()
        await process.wait()
