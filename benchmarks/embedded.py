"""Reading from an embedded store in a file, against SQLite and pydantic alone."""

import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from benchmarks.measure import Row, best_of_async
from benchmarks.models import Plain, Recipe, recipe
from couchmodel import connect

_DOCUMENTS = 1_000


async def rows() -> AsyncIterator[Row]:
    """``get`` against a point read and ``model_validate_json``."""
    with tempfile.TemporaryDirectory() as folder:
        async with connect(f"sqlite:{Path(folder, 'couch.db')}") as couch:
            await couch.apply(Recipe)
            await Recipe.save_all(recipe(f"r{n}") for n in range(_DOCUMENTS))
            read = _point_read(Path(folder, "plain.db"))

            async def by_sqlite() -> Plain:
                return read()

            floor, ours = await best_of_async(by_sqlite, lambda: Recipe.get("r500"), calls=400)
            yield Row("get, embedded in a file", "sqlite3 + model_validate_json", floor, ours, 4.0)


def _point_read(file: Path) -> Callable[[], Plain]:
    body = Plain.model_validate(recipe().model_dump()).model_dump_json()
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE doc (pk INTEGER PRIMARY KEY, id TEXT UNIQUE, body BLOB)")
    with connection:
        rows = ((f"r{n}", body.encode()) for n in range(_DOCUMENTS))
        connection.executemany("INSERT INTO doc (id, body) VALUES (?, ?)", rows)

    def read() -> Plain:
        (stored,) = connection.execute("SELECT body FROM doc WHERE id = ?", ("r500",)).fetchone()
        return Plain.model_validate_json(stored)

    return read
