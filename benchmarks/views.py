"""Measure building and reading of views of an embedded store, against a target pace."""

import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from benchmarks.measure import Row, best_of_async
from couchmodel import connect
from couchmodel.engine import Database

_DOCUMENTS = 10_000
_PACE = 15_000  # documents a second
_BODY = "x" * 800

_VIEWS: dict[str, dict[str, Any]] = {
    "JavaScript, 1 row a document": {"views": {"it": {"map": "function (doc) { emit(doc.name, null); }"}}},
    "JavaScript, 5 rows a document": {
        "views": {"it": {"map": "function (doc) { for (var n = 0; n < 5; n++) emit([doc.name, n], doc.n); }"}}
    },
    "declarative": {"language": "query", "views": {"it": {"map": {"fields": {"name": "asc"}}}}},
}


async def rows() -> AsyncIterator[Row]:
    """Yield rows for the build of each index, and for a read by key."""
    with tempfile.TemporaryDirectory() as folder:
        async with connect(f"sqlite:{Path(folder, 'couch.db')}") as couch:
            database = await couch.create("views")
            async with database.create_docs() as bulk:
                for n in range(_DOCUMENTS):
                    bulk.create(f"d{n:05}", data={"n": n, "name": f"Somebody {n * 7919 % _DOCUMENTS}", "body": _BODY})
            for name, design in _VIEWS.items():
                took = await _build(database, f"_design/{len(name)}", design)
                yield Row(f"view build, {name}", f"{_PACE:,} documents/s", 1e6 / _PACE, took / _DOCUMENTS, 1.0)
            view = database.view(str(len("declarative")), "it")
            (by_key,) = await best_of_async(lambda: view.get(key=["Somebody 77"]), rounds=10, calls=20)
            (point,) = await best_of_async(lambda: database["d00077"], rounds=10, calls=100)
            yield Row("view row by key", "get, embedded in a file", point, by_key)


async def _build(database: Database, id: str, design: dict[str, Any]) -> float:
    """Return the microseconds of the first request of a view, which builds its index."""
    await (await database.create(id, data=design)).save()
    begin = time.perf_counter_ns()
    await database.view(id.removeprefix("_design/"), "it").get(limit=1)
    return (time.perf_counter_ns() - begin) / 1000
