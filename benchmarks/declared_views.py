"""Measure declared views of an embedded store: building, grouping and prefetching, as ratios in one run."""

import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar, TypeVar

from benchmarks.measure import Row
from couchmodel import CouchModel, Link, Mapped, Repository, Stats, View, connect
from couchmodel._wire.messages import Request, Response
from couchmodel.engine import Database, Session

T = TypeVar("T", bound=CouchModel)

_DOCUMENTS = 100_000
_LINKS = 1_000
_GROUPS = 20


class Person(CouchModel, database="library", type="person"):
    name: Mapped[str]


class Loan(CouchModel, database="library", type="loan"):
    person: Link[Person]
    shelf: Mapped[str]
    days: Mapped[int]

    by_shelf: ClassVar[View[tuple[str, int], int, Stats]] = View(key=("shelf", "days"), value="days", reduce="_stats")


class Counted(CouchModel, database="library", type="loan"):
    """The same documents, with a view that has what a Mango index has."""

    shelf: Mapped[str]
    days: Mapped[int]

    by_shelf: ClassVar[View[tuple[str, int], None, int]] = View(key=("shelf", "days"), reduce="_count")


class CountedAgain(CouchModel, database="library", type="loan"):
    """The same view by another name, so that it is built once more."""

    shelf: Mapped[str]
    days: Mapped[int]

    by_shelf_again: ClassVar[View[tuple[str, int], None, int]] = View(key=("shelf", "days"), reduce="_count")


async def rows() -> AsyncIterator[Row]:
    """Yield rows for the build of a view, for its groups, and for prefetching."""
    with tempfile.TemporaryDirectory() as folder:
        async with connect(f"sqlite:{Path(folder, 'couch.db')}") as couch:
            await couch.apply(Person, Loan)
            database = couch.database("library")
            await _fill(database)
            # They take turns, since other programs slow down both, and the best build of each counts. A file that has
            # grown takes longer, so the index is first.
            indexes = [await _time_index(database, "first")]
            views = [await _time_apply(Repository(Counted, database), Counted.by_shelf.rows(limit=1))]
            indexes.append(await _time_index(database, "second"))
            views.append(
                await _time_apply(Repository(CountedAgain, database), CountedAgain.by_shelf_again.rows(limit=1))
            )
            yield Row("view build, declared by fields", "Mango index on the same fields", min(indexes), min(views), 1.0)
            await _time(Loan.by_shelf.rows(limit=1))
            read = min([await _time(Loan.by_shelf.rows()) for _ in range(3)])
            grouped = min([await _time(Loan.by_shelf.groups(level=1)) for _ in range(3)])
            yield Row(f"{_GROUPS} groups of {_DOCUMENTS:,} rows", "reading the rows", read, grouped, 0.1)
            yield Row(f"requests of prefetch, {_LINKS:,} links", "one request", 1.0, await _count_requests(), 1.0)


async def _fill(database: Database) -> None:
    people = Repository(Person, database)
    await people.save_all(Person(id=f"p{n}", name=f"Person {n}") for n in range(_LINKS))
    loans = Repository(Loan, database)
    for start in range(0, _DOCUMENTS, 10_000):
        await loans.save_all(
            Loan(id=f"l{n:06}", person=f"p{n % _LINKS}", shelf=f"Shelf {n * 7919 % _GROUPS}", days=n % 365)
            for n in range(start, start + 10_000)
        )


async def _time(results: AsyncIterator[object]) -> float:
    """Return the microseconds of processor time that it takes to read all results."""
    begin = time.process_time_ns()  # of all threads: what else the machine does counts less
    async for _ in results:
        pass
    return (time.process_time_ns() - begin) / 1000


async def _time_apply(repository: Repository[T], rows: AsyncIterator[object]) -> float:
    """Return the microseconds of processor time that it takes to declare the view of a model, and to build it."""
    begin = time.process_time_ns()
    await repository.apply()
    return (time.process_time_ns() - begin) / 1000 + await _time(rows)


async def _time_index(database: Database, name: str) -> float:
    """Return the microseconds of processor time of the first query of a Mango index, which builds it."""
    await database.index({"fields": ["shelf", "days"]}, ddoc=name, name=name)
    selector = {"shelf": {"$gt": None}, "days": {"$gt": None}}
    begin = time.process_time_ns()
    async for _ in database.find(selector, limit=1, use_index=[name, name]):
        pass
    return (time.process_time_ns() - begin) / 1000


async def _count_requests() -> float:
    """Return the number of requests for the linked documents of a query."""
    sent: list[str] = []
    send = Session.send

    async def counted(session: Session, request: Request) -> Response:
        sent.append(request.path[-1])
        return await send(session, request)

    Session.send = counted  # type: ignore[method-assign, assignment]
    try:
        found = await Loan.find().limit(_LINKS).prefetch(Loan.person)
    finally:
        Session.send = send  # type: ignore[method-assign]
    assert all(loan.person.document for loan in found)
    return float(len([name for name in sent if name == "_all_docs"]))
