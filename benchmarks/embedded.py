"""Measure reads from and writes to an embedded store in a file, against SQLite and pydantic alone."""

import secrets
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from benchmarks.measure import Row, best_of_async
from benchmarks.models import Plain, Recipe, recipe
from couchmodel import connect

_DOCUMENTS = 1_000
_INSERT = "INSERT INTO doc (id, body) VALUES (?, ?)"


async def rows() -> AsyncIterator[Row]:
    """Yield rows: ``get`` against a point read and ``model_validate_json``, ``save`` against a dump and an insert."""
    with tempfile.TemporaryDirectory() as folder:
        async with connect(f"sqlite:{Path(folder, 'couch.db')}") as couch:
            await couch.apply(Recipe)
            await Recipe.save_all(recipe(f"r{n}") for n in range(_DOCUMENTS))
            connection = _create_plain_table(Path(folder, "plain.db"))
            read = _make_point_read(connection)

            async def by_sqlite() -> Plain:
                return read()

            floor, ours = await best_of_async(by_sqlite, lambda: Recipe.get("r500"), calls=400)
            yield Row("get, embedded in a file", "sqlite3 + model_validate_json", floor, ours, 4.0)

            async def insert() -> None:
                _insert(connection)

            floor, ours = await best_of_async(insert, lambda: recipe(secrets.token_hex(8)).save(), rounds=20, calls=25)
            yield Row("save new, embedded in a file", "model_dump_json + sqlite3, durable", floor, ours, None)


def _create_plain_table(file: Path) -> sqlite3.Connection:
    """Create a plain SQLite table of the same documents, with the durability of the store."""
    body = Plain.model_validate(recipe().model_dump()).model_dump_json()
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE doc (pk INTEGER PRIMARY KEY, id TEXT UNIQUE, body BLOB)")
    with connection:
        rows = ((f"r{n}", body.encode()) for n in range(_DOCUMENTS))
        connection.executemany(_INSERT, rows)
    return connection


def _insert(connection: sqlite3.Connection) -> None:
    body = Plain.model_validate(recipe(secrets.token_hex(8)).model_dump()).model_dump_json()
    with connection:
        connection.execute(_INSERT, (secrets.token_hex(8), body.encode()))


def _make_point_read(connection: sqlite3.Connection) -> Callable[[], Plain]:
    def read() -> Plain:
        (stored,) = connection.execute("SELECT body FROM doc WHERE id = ?", ("r500",)).fetchone()
        return Plain.model_validate_json(stored)

    return read
