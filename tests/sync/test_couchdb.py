"""A real CouchDB and ``couchmodel serve`` replicate with each other, whichever of them does the work."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, NamedTuple

import pytest

from couchmodel import Connection, NotFoundError, connect
from couchmodel._embedded.server.http import serve
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request, encode
from couchmodel.engine import Database, Document
from couchmodel.transports import HTTPTransport
from tests.sync.test_sync import fill, leaves

LIVE_URL = os.environ.get("COUCHMODEL_TEST_URL", "")
pytestmark = pytest.mark.couchdb


class Place(NamedTuple):
    """A server, and a new database in it with the URL by which others know it."""

    couch: Connection
    database: Database
    url: str


async def place(url: str) -> AsyncIterator[Place]:
    async with connect(url) as couch:
        database = await couch.create(f"test-{secrets.token_hex(6)}", q=1)
        yield Place(couch, database, f"{url}/{database.id}")
        with suppress(NotFoundError):
            await database.delete()


@pytest.fixture
async def couchdb() -> AsyncIterator[Place]:
    async for found in place(LIVE_URL):
        yield found


@pytest.fixture
async def served() -> AsyncIterator[Place]:
    store = Store(None)
    server = await serve(store, "127.0.0.1", 0, ("ada", "sesame"), remote=HTTPTransport)
    async for found in place(server.url.replace("://", "://ada:sesame@")):
        yield found
    await server.close()
    await store.close()


async def replicate(by: Place, source: Place, target: Place, **options: Any) -> Any:
    body = encode({"source": source.url, "target": target.url, **options})
    return await by.couch.session.json(Request("POST", ("_replicate",), body=body))


@pytest.mark.parametrize("worker", ["couchdb", "served"])
@pytest.mark.parametrize("direction", ["to CouchDB", "from CouchDB"])
async def test_both_have_the_same_afterwards(couchdb: Place, served: Place, worker: str, direction: str) -> None:
    by = couchdb if worker == "couchdb" else served
    source, target = (served, couchdb) if direction == "to CouchDB" else (couchdb, served)
    await fill(source.database)
    answer = await replicate(by, source, target)
    assert (answer["history"][0]["docs_written"], answer["history"][0]["doc_write_failures"]) == (254, 0)
    assert await leaves(target.database) == await leaves(source.database)
    pie = await source.database["d0003"]
    pie["rating"] = 5
    await pie.save()
    await replicate(by, source, target)
    assert await leaves(target.database) == await leaves(source.database)
    assert (await replicate(by, source, target))["no_changes"]


@pytest.mark.parametrize("worker", ["couchdb", "served"])
async def test_a_continuous_one_brings_what_comes(couchdb: Place, served: Place, worker: str) -> None:
    by = couchdb if worker == "couchdb" else served
    for source, target in ((couchdb, served), (served, couchdb)):
        await replicate(by, source, target, continuous=True)
        await Document(source.database, f"from-{source.database.id}", {}).save()
    async with asyncio.timeout(30):
        for _ in range(600):
            if await leaves(couchdb.database) == await leaves(served.database) != {}:
                break
            await asyncio.sleep(0.05)
    assert len(await leaves(served.database)) == 2
    for source, target in ((couchdb, served), (served, couchdb)):
        await replicate(by, source, target, continuous=True, cancel=True)


@pytest.mark.parametrize("worker", ["couchdb", "served"])
@pytest.mark.parametrize(
    ("options", "expected"),
    [({"doc_ids": ["b"]}, {"b"}), ({"selector": {"n": {"$gt": 1}}}, {"b", "c"}), ({"filter": "_design"}, set[str]())],
)
async def test_served_databases_are_filtered(
    couchdb: Place, served: Place, worker: str, options: dict[str, Any], expected: set[str]
) -> None:
    for number, id in enumerate("abc", 1):
        await Document(served.database, id, {"n": number}).save()
    await replicate(couchdb if worker == "couchdb" else served, served, couchdb, **options)
    assert {id async for id in couchdb.database.akeys()} == expected


async def test_couchdb_takes_attachments_that_are_empty(couchdb: Place, served: Place) -> None:
    for id, names in (("all", "ab"), ("some", "abc")):
        data = {name: {"content_type": "image/png", "data": "aGVsbG8=" if name == "c" else ""} for name in names}
        await Document(served.database, id, {"_attachments": data}).save()
    answer = await replicate(couchdb, served, couchdb)
    assert answer["history"][0]["docs_written"] == 2
    assert await leaves(couchdb.database) == await leaves(served.database)


async def test_couchdb_is_given_attachments_that_are_empty(couchdb: Place, served: Place) -> None:
    for id, size in (("small", 10), ("large", 100_000)):
        data = {
            "a": {"content_type": "image/png", "data": ""},
            "b": {"content_type": "image/png", "data": size * "aGVs"},
        }
        await Document(served.database, id, {"_attachments": data}).save()
    answer = await replicate(served, served, couchdb)
    assert answer["history"][0]["docs_written"] == 2
    assert await leaves(couchdb.database) == await leaves(served.database)
