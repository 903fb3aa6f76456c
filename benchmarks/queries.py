"""Measure Mango queries of an embedded store: by an index, in databases of two sizes, and without an index."""

import json
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import Row, best_of_async
from couchmodel import Connection, connect
from couchmodel._wire.messages import Request, encode
from couchmodel.engine import Database

_SMALL, _LARGE = 10_000, 100_000
_FOUND = 25
_BODY = "x" * 300

_MOST_INDEXED_US = 2_000
_MOST_SCANNED_US = 100_000


async def rows() -> AsyncIterator[Row]:
    """Yield rows for ``_find`` of 25 documents by an index, and of one document by a scan of all."""
    with tempfile.TemporaryDirectory() as folder:
        async with connect(f"sqlite:{Path(folder, 'couch.db')}") as couch:
            small, large = [await _create_filled(couch, count) for count in (_SMALL, _LARGE)]
            by_index = [partial(_find, database, {"n": {"$gte": 5000}}) for database in (small, large)]
            read = _make_index_read(Path(folder, "plain.db"))

            async def by_sqlite() -> list[Any]:
                return read()

            floor, of_few, of_many = await best_of_async(by_sqlite, *by_index, rounds=20, calls=50)
            yield Row("find 25 of 10,000 by index", "sqlite3 + json", floor, of_few)
            yield Row("find 25 of 100,000 by index", "of 10,000", of_few, of_many, 1.5)
            yield Row("find 25 of 100,000 by index", "2 ms", _MOST_INDEXED_US, of_many, 1.0)
            scan = partial(_find, small, {"name": "Somebody 7"})
            (scanned,) = await best_of_async(scan, rounds=5, calls=1)
            yield Row("find 1 of 10,000 without an index", "100 ms", _MOST_SCANNED_US, scanned, 1.0)


def _document(n: int) -> dict[str, Any]:
    return {"_id": f"d{n:06}", "n": n, "name": f"Somebody {n}", "tags": ["a", "b"], "body": _BODY}


async def _create_filled(couch: Connection, count: int) -> Database:
    database = await couch.create(f"queries{count}")
    for begin in range(0, count, 10_000):
        body = encode({"docs": [_document(n) for n in range(begin, begin + 10_000)]})
        await database.session.send(Request("POST", (*database.path, "_bulk_docs"), body=body))
    await database.index({"fields": ["n"]})
    await _find(database, {"n": 0})
    return database


async def _find(database: Database, selector: dict[str, Any]) -> list[Any]:
    body = encode({"selector": selector, "limit": _FOUND})
    documents: list[Any] = (await database.session.json(Request("POST", (*database.path, "_find"), body=body)))["docs"]
    return documents


def _make_index_read(file: Path) -> Callable[[], list[Any]]:
    """Return a function that reads the same documents by a table of keys, with only SQLite and a JSON parser."""
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE doc (id TEXT UNIQUE, body BLOB)")
    connection.execute("CREATE TABLE entry (key INTEGER, id TEXT, PRIMARY KEY (key, id)) WITHOUT ROWID")
    with connection:
        documents = [_document(n) for n in range(_SMALL)]
        connection.executemany(
            "INSERT INTO doc VALUES (?, ?)", ((document["_id"], json.dumps(document)) for document in documents)
        )
        connection.executemany("INSERT INTO entry VALUES (?, ?)", ((each["n"], each["_id"]) for each in documents))

    def read() -> list[Any]:
        found = connection.execute(
            "SELECT body FROM entry JOIN doc USING (id) WHERE key >= ? ORDER BY key LIMIT ?", (5000, _FOUND)
        )
        return [json.loads(body) for (body,) in found]

    return read
