"""Conflicts that replication has left: they are found, shown as models, and resolved in one write."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from couchmodel import (
    ConfigurationError,
    ConflictError,
    Connection,
    CouchModel,
    DocumentError,
    Field,
    Mapped,
    NotFoundError,
    Repository,
    Timestamps,
)
from couchmodel._wire.messages import Request, encode
from couchmodel.sync import synchronize


class Item(CouchModel, type="item"):
    amount: Mapped[int] = Field(default=0, merge="sum")
    tags: Mapped[set[str]] = Field(default_factory=set, merge="union")
    note: Mapped[str] = Field(default="")


Sides = list[Repository[Item]]


@pytest.fixture
async def sides(couch: Connection) -> AsyncIterator[Sides]:
    """Four databases that have the same item, ``nails``, and another one."""
    databases = [await couch.create(f"test-{secrets.token_hex(6)}", q=1) for _ in range(4)]
    repositories = [Repository(Item, database) for database in databases]
    await repositories[0].save_all([Item(id="nails", amount=10), Item(id="screws")])
    await meet(repositories)
    yield repositories
    for database in databases:
        with suppress(NotFoundError):
            await database.delete()


async def meet(sides: Sides) -> None:
    """Replicate until each side has all versions."""
    for _ in sides[1:]:
        for one, other in itertools.pairwise(sides):
            await synchronize(one.database, other.database)


async def change_all(sides: Sides, *notes: str) -> None:
    """Change the item on each side, and replicate: each adds its number to the amount, and a tag."""
    for n, (side, note) in enumerate(zip(sides, notes, strict=False), 1):
        async with side.edit("nails") as item:
            item.amount += n
            item.tags = item.tags | {str(n)}
            item.note = note
    await meet(sides)


async def conflicted(side: Repository[Item]) -> list[str]:
    return [item.id async for item in side.conflicted()]


@pytest.mark.parametrize("count", [2, 3])
async def test_all_versions_become_one(sides: Sides, count: int) -> None:
    await change_all(sides[:count], *["same"] * count)
    side = sides[0]
    assert await conflicted(side) == ["nails"]
    item = await side.get("nails")
    assert len(await side.conflicts(item)) == count - 1
    await side.resolve(item)
    assert (item.amount, item.tags, item.note) == (10 + sum(range(count + 1)), set("123"[:count]), "same")
    assert not item.is_changed
    assert await side.conflicts(item) == []
    assert await conflicted(side) == []
    await meet(sides)
    assert [(await each.get("nails")).rev for each in sides] == [item.rev] * 4


async def test_two_sides_that_resolve_at_once_write_one_revision(sides: Sides) -> None:
    await change_all(sides, "a", "b", "c")
    revs = set()
    for side in sides:
        item = await side.get("nails")
        await side.resolve(item, Item.note.set("settled"))
        revs.add(item.rev)
    assert len(revs) == 1
    await meet(sides)
    assert [await conflicted(side) for side in sides] == [[]] * 4


async def test_defaults_that_differ_each_time_are_in_no_resolution(sides: Sides) -> None:
    class Stamped(Timestamps, type="item"):
        amount: Mapped[int] = Field(default=0, merge="sum")

    await change_all(sides, "same", "same")
    revs = set()
    for side in sides:
        stamped = Repository(Stamped, side.database)
        item = await stamped.get("nails")
        await stamped.resolve(item)
        revs.add((item.amount, item.rev))
    assert len(revs) == 1


async def test_a_version_that_does_not_fit_is_named(sides: Sides) -> None:
    await change_all(sides, "a", "b")
    item = await sides[0].get("nails")
    odd = {"_id": "nails", "type": "item", "amount": "many", "_rev": "1-a", "_revisions": {"start": 1, "ids": ["a"]}}
    body = encode({"new_edits": False, "docs": [odd]})
    await sides[0].database.session.send(Request("POST", (*sides[0].database.path, "_bulk_docs"), body=body))
    for act in (sides[0].conflicts, sides[0].resolve):
        with pytest.raises(DocumentError, match="This is the version 1-a") as caught:
            await act(item)
        assert [each["loc"] for each in caught.value.errors] == [("item", "amount")]


async def test_fields_that_clash_are_named_and_nothing_is_stored(sides: Sides) -> None:
    await change_all(sides[:2], "a", "b")
    item = await sides[0].get("nails")
    before = item.rev
    with pytest.raises(ConflictError) as caught:
        await sides[0].resolve(item)
    assert caught.value.fields == {"note"}
    assert (await sides[0].get("nails")).rev == before
    assert await conflicted(sides[0]) == ["nails"]


async def test_a_sum_without_the_common_ancestor_clashes(sides: Sides) -> None:
    side = sides[0]
    ancestor = (await side.get("nails")).rev
    await change_all(sides[:2], "same", "same")
    await side.database.compact()
    for _ in range(600):
        if not await is_stored(side, ancestor):
            break
        await asyncio.sleep(0.05)
    item = await side.get("nails")
    with pytest.raises(ConflictError) as caught:
        await side.resolve(item)
    assert caught.value.fields == {"amount"}
    await side.resolve(item, Item.amount.set(13))
    assert (item.amount, item.tags) == (13, {"1", "2"})


async def is_stored(side: Repository[Item], rev: str | None) -> bool:
    """Whether a revision of the item has not been compacted away yet."""
    (found,) = await side.database.bulk_get([{"id": "nails", "rev": rev}])
    return "ok" in found["docs"][0]


async def test_a_document_with_unsaved_changes_is_not_resolved(sides: Sides) -> None:
    item = await sides[0].get("nails")
    item.note = "unsaved"
    with pytest.raises(ConfigurationError, match="unsaved changes"):
        await sides[0].resolve(item)


async def test_a_document_without_conflicts_stays_as_it_is(sides: Sides) -> None:
    item = await sides[0].get("nails")
    rev = item.rev
    await sides[0].resolve(item)
    assert (item.rev, await sides[0].conflicts(item)) == (rev, [])


async def add(side: Repository[Item], amount: int) -> None:
    async with side.edit("nails") as item:
        item.amount += amount


async def total(sides: Sides) -> int:
    """The amount after all sides have met, and one of them has resolved what is left."""
    await meet(sides)
    item = await sides[0].get("nails")
    await sides[0].resolve(item)
    await meet(sides)
    assert [await conflicted(side) for side in sides] == [[]] * 4
    return item.amount


async def test_equal_changes_of_two_sides_count_twice(sides: Sides) -> None:
    for side in sides[:2]:
        await add(side, 1)
    assert await total(sides) == 12


async def test_versions_that_change_while_they_are_merged_count_once(sides: Sides) -> None:
    for n in (0, 1):
        await add(sides[n], n + 1)
        await synchronize(sides[n].database, sides[n + 2].database)
    await synchronize(sides[0].database, sides[1].database)
    await sides[0].resolve(await sides[0].get("nails"))
    await add(sides[2], 10)  # one of these two sees the version that CouchDB shows, the other one the other version
    await add(sides[3], 20)
    assert await total(sides) == 43


async def test_merges_of_some_versions_and_of_all_count_each_version_once(sides: Sides) -> None:
    for n, side in enumerate(sides[:3]):
        await add(side, n + 1)
    await synchronize(sides[0].database, sides[1].database)
    await sides[0].resolve(await sides[0].get("nails"))
    await synchronize(sides[1].database, sides[2].database)
    await sides[2].resolve(await sides[2].get("nails"))
    assert await total(sides) == 16


async def test_versions_with_ancestors_of_several_ages_count_each_change_once(sides: Sides) -> None:
    await add(sides[0], 1)
    await add(sides[1], 2)
    await synchronize(sides[0].database, sides[2].database)
    await add(sides[0], 4)
    await add(sides[2], 8)
    assert await total(sides) == 25
