"""What one read sees is of one moment, whatever is written meanwhile."""

import asyncio
import itertools
import sqlite3
import time
from pathlib import Path

import pytest

from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Store
from tests.embedded.conftest import Client

COUNT = "SELECT count(*) FROM database"


def reads_twice(connection: Connection, store: Store, path: Path) -> tuple[int, int]:
    """How many databases a read sees, and how many once another one has been written into the file."""
    before = connection.execute(COUNT).fetchone()[0]
    beside = sqlite3.connect(path)
    written = beside.execute(COUNT).fetchone()[0] + 1
    store.enqueue(insert, f"db{written}")
    while beside.execute(COUNT).fetchone()[0] < written:
        time.sleep(0.001)
    beside.close()
    return before, connection.execute(COUNT).fetchone()[0]


def insert(connection: Connection, name: str) -> None:
    """Write a database."""
    connection.execute("INSERT INTO database (name, uuid, created) VALUES (?, ?, 0)", (name, name))


@pytest.mark.parametrize("way", ["read", "read_in_thread"])
async def test_a_read_does_not_see_what_is_written_while_it_runs(tmp_path: Path, way: str) -> None:
    path = tmp_path / "store.db"
    store = Store(path)
    await store.open()
    before, after = await getattr(store, way)(reads_twice, store, path)
    assert before == after
    await store.close()


@pytest.mark.parametrize("reduce", ["_sum", "function (keys, values, again) { return sum(values); }"])
@pytest.mark.parametrize("query", ["", "?group_level=1"])
async def test_a_reduction_is_of_one_moment(tmp_path: Path, reduce: str, query: str) -> None:
    pytest.importorskip("quickjs")
    client = Client(Store(tmp_path / "store.db"))
    await client.ask("PUT", "/db")
    view = {"map": "function (doc) { emit([0, doc.n], doc.n); }", "reduce": reduce}
    await client.ask("PUT", "/db/_design/by", {"views": {"n": view}})
    docs = [{"_id": f"{n:05}", "n": n - 1499.5} for n in range(3000)]
    revs = {row["id"]: row["rev"] for row in await client.json("POST", "/db/_bulk_docs", {"docs": docs})}

    async def move() -> None:
        """Turn the signs of the two ends: what they come to together stays what it was."""
        for n in itertools.count():
            docs = [
                {"_id": id, "_rev": revs[id], "n": sign * (-1) ** n} for id, sign in (("00000", 5000), ("02999", -5000))
            ]
            revs.update({row["id"]: row["rev"] for row in await client.json("POST", "/db/_bulk_docs", {"docs": docs})})
            await client.json("GET", "/db/_design/by/_view/n?limit=1&reduce=false")

    moving = asyncio.create_task(move())
    found = [await client.json("GET", f"/db/_design/by/_view/n{query}") for _ in range(8)]
    moving.cancel()
    await asyncio.gather(moving, return_exceptions=True)
    await client.store.close()
    assert [row["value"] for answer in found for row in answer["rows"]] == [0] * 8
