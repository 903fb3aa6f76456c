"""No loop of awaits holds the event loop: other tasks run meanwhile, and timeouts strike."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from couchmodel import Connection
from couchmodel.engine import Database, Document
from tests.models import Recipe

SECONDS = 0.3
FEW = 10
"""How often another task runs at least: about 300 times on a quiet machine."""

Operation = Callable[[], Awaitable[object]]


async def turns_of_another_task(operation: Operation) -> int:
    """Return how often another task runs while an operation is repeated, until a timeout ends that."""
    turns = itertools.count()

    async def run() -> None:
        while True:
            await asyncio.sleep(0)
            next(turns)

    running = asyncio.create_task(run())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(repeat(operation), SECONDS)
    running.cancel()
    return next(turns)


async def repeat(operation: Operation) -> None:
    while True:
        await operation()


READS: dict[str, Callable[[Database], Awaitable[Any]]] = {
    "a document": lambda database: database["pie"],
    "a document that is missing": lambda database: database.get("nothing", default={}),
    "an attachment": lambda database: Document(database, "pie").attachment("note").fetch(),
    "a database": lambda database: database.info(),
    "a query": lambda database: anext(database.find({"_id": "pie"})),
    "a view": lambda database: database.all_docs.get(),
    "changes": lambda database: anext(database.changes()),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
async def test_reads_let_other_tasks_run(database: Database, read: Callable[[Database], Awaitable[Any]]) -> None:
    pie = await database.create("pie")
    await pie.save()
    await pie.attachment("note").save(b"apples", "text/plain")
    assert await turns_of_another_task(lambda: read(database)) > FEW


async def test_requests_that_touch_no_database_let_other_tasks_run(couch: Connection) -> None:
    assert await turns_of_another_task(couch.info) > FEW


async def test_writes_let_other_tasks_run(database: Database) -> None:
    pie, count = await database.create("pie"), itertools.count()

    async def write() -> None:
        pie["n"] = next(count)
        await pie.save()

    assert await turns_of_another_task(write) > FEW


async def test_models_let_other_tasks_run(recipes: type[Recipe]) -> None:
    await recipes(id="pie", title="Apple pie").save()
    assert await turns_of_another_task(lambda: recipes.get("pie")) > FEW


async def test_the_rows_of_one_answer_let_other_tasks_run(recipes: type[Recipe]) -> None:
    await recipes.save_all(recipes(title=f"recipe {n}") for n in range(2_000))

    turns = itertools.count()

    async def run() -> None:
        while True:
            await asyncio.sleep(0)
            next(turns)

    running = asyncio.create_task(run())
    async for _ in recipes.find():
        pass
    running.cancel()
    assert next(turns) > FEW
