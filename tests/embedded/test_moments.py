"""What one read sees is of one moment, whatever is written meanwhile."""

import sqlite3
import time
from functools import partial
from pathlib import Path

import pytest

from couchmodel._embedded.sqlite import Connection
from couchmodel._embedded.store import Store

COUNT = "SELECT count(*) FROM database"


def reads_twice(store: Store, path: Path, connection: Connection) -> tuple[int, int]:
    """How many databases a read sees, and how many once another one has been written into the file."""
    before = connection.execute(COUNT).fetchone()[0]
    beside = sqlite3.connect(path)
    written = beside.execute(COUNT).fetchone()[0] + 1
    store.enqueue(partial(insert, f"db{written}"))
    while beside.execute(COUNT).fetchone()[0] < written:
        time.sleep(0.001)
    beside.close()
    return before, connection.execute(COUNT).fetchone()[0]


def insert(name: str, connection: Connection) -> None:
    """Write a database."""
    connection.execute("INSERT INTO database (name, uuid, created) VALUES (?, ?, 0)", (name, name))


@pytest.mark.parametrize("way", ["read", "scan"])
async def test_a_read_does_not_see_what_is_written_while_it_runs(tmp_path: Path, way: str) -> None:
    path = tmp_path / "store.db"
    store = Store(path)
    await store.open()
    before, after = await getattr(store, way)(partial(reads_twice, store, path))
    assert before == after
    await store.close()
