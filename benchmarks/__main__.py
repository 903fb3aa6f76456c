"""Run all benchmarks and print the table of ratios: ``python -m benchmarks``."""

import asyncio
import os
from collections.abc import AsyncIterator

from rich.console import Console
from rich.table import Table

from benchmarks import codec, declared_views, embedded, engine, http, mappers, queries, repository, views, web, writes
from benchmarks.measure import Row


async def _rows() -> AsyncIterator[Row]:
    for row in (*codec.rows(), *mappers.rows()):
        yield row
    for module_rows in (
        embedded.rows,
        views.rows,
        declared_views.rows,
        queries.rows,
        repository.all_rows,
        writes.rows,
        web.rows,
        http.rows,
        engine.rows,
    ):
        async for row in module_rows():
            yield row


async def main() -> None:
    """Run all benchmarks and print the table."""
    server = "a real CouchDB" if os.environ.get("COUCHMODEL_TEST_URL") else "couchmodel serve"
    table = Table("what", "against", "µs", "its µs", "ratio", "bar", title=f"couchmodel; over HTTP: {server}")
    async for row in _rows():
        bar = "" if row.bar is None else f"{'ok' if row.ratio <= row.bar else 'MISSED'} <= {row.bar:.2f}"
        table.add_row(row.name, row.floor, f"{row.ours_us:.1f}", f"{row.floor_us:.1f}", f"{row.ratio:.2f}", bar)
    Console(width=110).print(table)


if __name__ == "__main__":
    asyncio.run(main())
