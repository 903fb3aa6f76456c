"""Two stores whose documents are edited on both sides come to the same documents, and so do many writers of one."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from couchmodel import ConflictError, Connection, CouchModel, Field, Mapped, NotFoundError, Repository, connect
from couchmodel._wire.messages import Request, Response
from couchmodel.engine import Database, Session
from couchmodel.sync import synchronize


class Item(CouchModel, type="item"):
    amount: Mapped[int] = Field(default=0, merge="sum")
    tags: Mapped[set[str]] = Field(default_factory=set, merge="union")
    note: Mapped[str] = Field(default="")
    places: Mapped[dict[str, int]] = Field(default_factory=dict)


IDS = "abc"
Edit = tuple[str, str, int]
"""The id of an item, what to do with it, and a number."""

EDITS = st.lists(
    st.tuples(
        st.sampled_from(IDS), st.sampled_from(["amount", "tag", "untag", "note", "place", "delete"]), st.integers(0, 3)
    ),
    max_size=30,
)


async def edit(items: Repository[Item], edits: Sequence[Edit]) -> None:
    for id, what, number in edits:
        item = await items.get_or_none(id) or Item(id=id)
        match what:
            case "amount":
                item.amount += number
            case "tag":
                item.tags = item.tags | {str(number)}
            case "untag":
                item.tags = item.tags - {str(number)}
            case "note":
                item.note = f"note {number}"
            case "place":
                item.places[str(number)] = number
        if what != "delete":
            await items.save(item)
        elif item.rev is not None:
            await items.delete(item)


async def leaves(items: Repository[Item]) -> dict[str, list[str]]:
    """The current versions of all items, deleted ones too."""
    found = {}
    for id in IDS:
        with suppress(NotFoundError):
            rows = await items.session.get((*items.path, id), {"open_revs": "all"})
            found[id] = sorted(row["ok"]["_rev"] for row in rows)
    return found


async def settle(items: Repository[Item]) -> None:
    """Resolve all conflicts. A program decides what clashes by the fields alone, so that both sides decide the same."""
    async for item in items.conflicted():
        try:
            await items.resolve(item)
        except ConflictError as conflict:
            names = {path.partition(".")[0] for path in conflict.fields}
            values: dict[str, Any] = {"note": "settled", "amount": -1, "places": {}}
            await items.resolve(item, *(getattr(Item, name).set(values[name]) for name in sorted(names)))


async def converge(url: str, common: Sequence[Edit], here: Sequence[Edit], there: Sequence[Edit]) -> None:
    async with connect(url) as couch:
        databases = [await couch.create(f"test-{secrets.token_hex(6)}") for _ in range(2)]
        sides = [Repository(Item, database) for database in databases]
        await edit(sides[0], common)
        await synchronize(*databases)
        await asyncio.gather(*map(edit, sides, (here, there)))
        await synchronize(*databases)
        first, second = [await leaves(side) for side in sides]
        assert first == second
        await asyncio.gather(*map(settle, sides))
        await synchronize(*databases)
        first, second = [await leaves(side) for side in sides]
        assert first == second
        assert [[item.id async for item in side.conflicted()] for side in sides] == [[], []]
        assert await sides[0].get_many(list(IDS)) == await sides[1].get_many(list(IDS))
        for database in databases:
            await database.delete()


@given(EDITS, EDITS, EDITS)
@settings(max_examples=20)
def test_two_stores_converge(common: list[Edit], here: list[Edit], there: list[Edit]) -> None:
    asyncio.run(converge("memory:", common, here, there))


STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([-1, 1, "synchronize", "resolve"]), st.integers(1, 2)), max_size=14
)
"""What one of three sides does: it adds to a counter, synchronizes with a further side, or resolves conflicts."""


async def count(steps: Sequence[tuple[int, Any, int]]) -> None:
    async with connect("memory:") as couch:
        databases = [await couch.create(f"test-{n}") for n in range(3)]
        sides = [Repository(Item, database) for database in databases]
        await sides[0].save(Item(id="a"))
        await synchronize_all(databases)
        for n, what, distance in steps:
            if what == "synchronize":
                await synchronize(databases[n], databases[(n + distance) % 3])
            elif what == "resolve":
                await resolve(sides[n])
            else:
                async with sides[n].edit("a") as item:
                    item.amount += what
        await synchronize_all(databases)
        while not all([await resolve(side) for side in sides]):
            await synchronize_all(databases)
        expected = sum(what for _, what, _ in steps if isinstance(what, int))
        assert [(await side.get("a")).amount for side in sides] == [expected] * 3
        assert [await side.conflicts(await side.get("a")) for side in sides] == [[], [], []]


async def resolve(side: Repository[Item]) -> bool:
    """Resolve a counter, unless this side lacks the common ancestor. Return True if there was nothing to resolve."""
    item = await side.get("a")
    is_settled = not await side.conflicts(item)
    try:
        await side.resolve(item)
    except ConflictError:  # a sum never guesses
        reject()
    return is_settled


async def synchronize_all(databases: Sequence[Database]) -> None:
    for _ in range(2):
        for n in range(3):
            await synchronize(databases[n - 1], databases[n])


@given(STEPS)
@settings(max_examples=20)
def test_changes_that_cancel_count_once_across_merges(steps: list[tuple[int, Any, int]]) -> None:
    asyncio.run(count(steps))


@pytest.fixture
async def items(couch: Connection) -> AsyncIterator[Repository[Item]]:
    database = await couch.create(f"test-{secrets.token_hex(6)}", q=1)
    repository = Repository(Item, database)
    await repository.save(Item(id="a"))
    yield repository
    await database.delete()


async def test_a_counter_of_many_tasks_is_exact_and_costs_few_requests(
    items: Repository[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, send = list[Request](), Session.send

    async def count(session: Session, request: Request) -> Response:
        sent.append(request)
        return await send(session, request)

    monkeypatch.setattr(Session, "send", count)

    async def add() -> None:
        for _ in range(5):
            async with items.edit("a") as item:
                item.amount += 1

    await asyncio.gather(*(add() for _ in range(20)))
    assert len(sent) <= 3 * 100
    assert (await items.get("a")).amount == 100


@pytest.mark.parametrize("backend", ["serve", pytest.param("live", marks=pytest.mark.couchdb)], indirect=True)
async def test_a_counter_of_several_connections_is_exact(items: Repository[Item], url: str) -> None:
    async def add() -> None:
        async with connect(url) as couch:
            own = Repository(Item, couch.database(items.database.id))
            for _ in range(5):
                async with own.edit("a") as item:
                    item.amount += 1

    await asyncio.gather(*(add() for _ in range(4)))
    assert (await items.get("a")).amount == 20
