"""Replication through connections that are cut anywhere: in the end both sides have the same."""

import random
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from couchmodel import CouchModelError, connect
from couchmodel._retry import Backoff
from couchmodel.engine import Database
from couchmodel.sync import replicate
from tests.engine.requests import call
from tests.sync.cutting import Cutting

ATTEMPTS = 200
ATTACHED = 12


@pytest.fixture
async def cutting(url: str, backend: str) -> AsyncIterator[Cutting]:
    """A way to the backend's server that is cut."""
    if backend not in ("serve", "live"):
        pytest.skip("there is no connection to cut")
    parts = urlsplit(url)
    cutting = Cutting(parts.hostname or "", parts.port or 0, 7)
    yield cutting
    await cutting.close()


@pytest.fixture
async def far(cutting: Cutting, url: str, database: Database) -> AsyncIterator[Database]:
    """The database of the backend, through connections that are cut."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    async with connect(f"http://{user}@127.0.0.1:{await cutting.open()}") as couch:
        yield couch.database(database.id)


async def fill(database: Database) -> None:
    """Documents with conflicts, tombstones, and attachments of all sizes."""
    docs: list[dict[str, Any]] = []
    for n in range(400):
        for branch in range(1 + n % 3):
            ids = [f"{n:030x}{branch:02x}", f"{n:032x}"]
            doc = {"_id": f"d{n:04}", "_revisions": {"start": 2, "ids": ids}, "text": "x" * (n * 37 % 3000)}
            docs.append(doc | ({"_deleted": True} if (n + branch) % 7 == 0 else {}))
    await call(database, "POST", "_bulk_docs", {"docs": docs, "new_edits": False})
    for n in range(ATTACHED):
        document = await database.create(f"attached-{n}")
        await document.save()
        await document.attachment("a").save(random.Random(n).randbytes(10 ** (n % 4 + 3) // 2), "image/png")


async def whole(database: Database) -> Any:
    """All that a database has, but for the order of its changes."""
    rows = (await call(database, "GET", "_changes?style=all_docs"))["results"]
    leaves = {(row["id"], change["rev"], row.get("deleted")) for row in rows for change in row["changes"]}
    targets = [f"attached-{n}?attachments=true&revs=true" for n in range(ATTACHED)]
    return leaves, [await call(database, "GET", target, headers={"accept": "application/json"}) for target in targets]


async def replicate_in_the_end(source: Database, target: Database) -> int:
    """Replicate until it comes to its end. How often it was begun."""
    for attempt in range(1, ATTEMPTS):
        try:
            await replicate(source, target)
        except CouchModelError:
            continue
        return attempt
    pytest.fail("it did not come to its end")


@pytest.mark.parametrize("way", ["pull", "push"])
async def test_nothing_is_lost_where_connections_are_cut(
    way: str, database: Database, far: Database, cutting: Cutting, elsewhere: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("couchmodel._replication.peer._BACKOFF", Backoff(0.001))
    await fill(database if way == "pull" else elsewhere)
    await replicate_in_the_end(*((far, elsewhere) if way == "pull" else (elsewhere, far)))
    assert cutting.cuts > 5
    assert await whole(elsewhere) == await whole(database)
