"""Edits that merge with what others have changed, and the unsaved changes of a document."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from pydantic import BaseModel

from couchmodel import (
    BadRequestError,
    ConfigurationError,
    ConflictError,
    Connection,
    CouchModel,
    DocumentError,
    Field,
    Mapped,
    NotFoundError,
    Repository,
)
from couchmodel._model.codec.three_way import UNKNOWN, merge_documents
from couchmodel.engine import Database


class Part(BaseModel):
    name: str
    count: int = Field(default=0, merge="sum")
    note: str = ""


def add_changes(base: int | None, mine: int, theirs: int) -> int:
    return theirs + mine - (base or 0)


def longest(base: str | None, mine: str, theirs: str) -> str:
    return max((base or "", mine, theirs), key=len)


class Stock(CouchModel):
    name: Mapped[str] = Field(default="")
    amount: Mapped[int] = Field(default=0, ge=0, le=100, merge="sum")
    tags: Mapped[set[str]] = Field(default_factory=set, merge="union")
    log: Mapped[list[str]] = Field(default_factory=list, merge="union")
    best: Mapped[int] = Field(default=0, merge="max")
    worst: Mapped[int] = Field(default=9, merge="min")
    mine: Mapped[str] = Field(default="", merge="mine")
    theirs: Mapped[str] = Field(default="", merge="theirs")
    count: Mapped[int] = Field(default=0, merge=add_changes)
    text: Mapped[str] = Field(default="", merge=longest)
    part: Mapped[Part] = Field(default_factory=lambda: Part(name="p"))
    parts: Mapped[list[Part]] = Field(default_factory=list, merge_key="name")
    scores: Mapped[dict[str, int]] = Field(default_factory=dict)
    plain: Mapped[list[int]] = Field(default_factory=list)


class Tally(CouchModel):
    count: Mapped[int] = Field(default=0, merge="sum")
    note: Mapped[str] = Field(default="")


MERGES: list[tuple[str, Any, Any, Any, Any]] = [
    ("name", "a", "a", "b", "b"),
    ("name", "a", "b", "a", "b"),
    ("name", "a", "b", "b", "b"),
    ("amount", 10, 15, 7, 12),
    ("amount", 10, 11, 11, 12),
    ("count", 10, 11, 11, 12),
    ("part", Part(name="p", count=1), Part(name="p", count=2), Part(name="p", count=2), Part(name="p", count=3)),
    ("tags", {"a", "b"}, {"a", "c"}, {"b", "d"}, {"c", "d"}),
    ("log", ["a"], ["a", "b"], ["a", "c"], ["a", "c", "b"]),
    ("best", 1, 3, 2, 3),
    ("worst", 5, 3, 4, 3),
    ("mine", "a", "b", "c", "b"),
    ("theirs", "a", "b", "c", "c"),
    ("text", "a", "bb", "ccc", "ccc"),
    (
        "part",
        Part(name="p", count=1),
        Part(name="p", count=3, note="x"),
        Part(name="q", count=2),
        Part(name="q", count=4, note="x"),
    ),
    (
        "parts",
        [Part(name="a", count=1), Part(name="b")],
        [Part(name="a", count=2), Part(name="c")],
        [Part(name="b"), Part(name="a", count=5), Part(name="d")],
        [Part(name="a", count=6), Part(name="d"), Part(name="c")],
    ),
    ("scores", {"a": 1, "b": 2}, {"a": 1, "b": 3}, {"b": 2, "c": 4}, {"b": 3, "c": 4}),
]


class Pot(CouchModel, extra="allow"):
    counts: Mapped[dict[str, int] | None] = Field(default=None, merge="union")
    labels: Mapped[list[str] | None] = Field(default=None, merge="union")
    parts: Mapped[list[Part]] = Field(default_factory=list, merge_key="name")
    made: Mapped[str] = Field(default_factory=lambda: secrets.token_hex(8))


A, B, C = (Part(name=name) for name in "abc")

UNIONS: list[tuple[str, Any, Any, Any, Any]] = [
    ("counts", None, {"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
    ("counts", {"a": 1}, {"a": 1, "b": 1}, {"a": 2}, {"a": 2, "b": 1}),
    ("counts", {"a": 1}, {"a": 1, "b": 1}, None, {"b": 1}),
    ("counts", {"a": 1}, None, {"a": 1, "b": 1}, {"b": 1}),
    ("labels", ["a"], ["a", "b"], None, ["b"]),
    ("labels", None, ["a"], ["b"], ["b", "a"]),
]
ORDERS: list[tuple[str, Any, Any, Any, Any]] = [
    ("parts", [A, B, C], [C, B, A], [A, B], [B, A]),
    ("parts", [A, B], [B, A], [A, B, C], [B, A, C]),
    ("parts", [A, B, C], [A, B], [C, B, A], [B, A]),
]
CLASHES: list[tuple[str, Any, Any, Any, str]] = [
    ("name", "a", "b", "c", "name"),
    ("scores", {"a": 1}, {"a": 2}, {"a": 3}, "scores.a"),
    ("scores", {"a": 1}, {}, {"a": 3}, "scores.a"),
    ("part", Part(name="p"), Part(name="q"), Part(name="r"), "part.name"),
    ("parts", [Part(name="a")], [Part(name="a", note="x")], [Part(name="a", note="y")], "parts.a.note"),
    ("plain", [1], [1, 2], [1, 3], "plain"),
]


@pytest.mark.parametrize(("name", "base", "mine", "theirs", "expected"), MERGES)
def test_two_versions_of_a_field_are_merged(name: str, base: Any, mine: Any, theirs: Any, expected: Any) -> None:
    before, ours, others = (Stock(id="s", **{name: value}) for value in (base, mine, theirs))
    merged = merge_documents(before, ours, others)
    assert merged.clashes == set()
    assert merged.values[name] == expected
    assert type(merged.values[name]) is type(expected)


@pytest.mark.parametrize(("name", "base", "mine", "theirs", "expected"), UNIONS + ORDERS)
def test_unions_may_lack_a_side_and_lists_of_models_have_an_order(
    name: str, base: Any, mine: Any, theirs: Any, expected: Any
) -> None:
    before, ours, others = (Pot(id="p", made="", **{name: value}) for value in (base, mine, theirs))
    merged = merge_documents(before, ours, others)
    assert (merged.values[name], merged.clashes) == (expected, set())


@pytest.mark.parametrize(("name", "base", "mine", "theirs", "path"), CLASHES)
def test_what_both_have_changed_clashes(name: str, base: Any, mine: Any, theirs: Any, path: str) -> None:
    before: Any = UNKNOWN if base is UNKNOWN else Stock(id="s", **{name: base})
    merged = merge_documents(before, Stock(id="s", **{name: mine}), Stock(id="s", **{name: theirs}))
    assert merged.clashes == {path}


@pytest.mark.parametrize("theirs", [3, 4])
def test_a_sum_without_a_base_clashes(theirs: int) -> None:
    assert merge_documents(UNKNOWN, Tally(id="t", count=3), Tally(id="t", count=theirs)).clashes == {"count"}


def test_an_unknown_policy_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="union"):
        Field(merge="plus")  # type: ignore[arg-type]


@pytest.fixture
async def stocks(couch: Connection) -> AsyncIterator[Repository[Stock]]:
    database = await couch.create(f"test-{secrets.token_hex(6)}", q=1)
    repository = Repository(Stock, database)
    await repository.save(Stock(id="nails", name="Nails", amount=10))
    yield repository
    with suppress(NotFoundError):
        await database.delete()


async def change(stocks: Repository[Stock], **values: Any) -> None:
    """Change the document as another program would."""
    theirs = await stocks.get("nails")
    for name, value in values.items():
        setattr(theirs, name, value)
    await stocks.save(theirs)


async def test_an_edit_merges_with_what_others_have_done_meanwhile(stocks: Repository[Stock]) -> None:
    async with stocks.edit("nails") as mine:
        mine.amount += 5
        mine.tags = {"long"}
        await change(stocks, amount=17, tags={"steel"}, name="Steel nails")
    stored = await stocks.get("nails")
    assert (stored.amount, stored.tags, stored.name) == (22, {"long", "steel"}, "Steel nails")
    assert (mine.amount, mine.rev) == (22, stored.rev)


async def test_edits_at_once_are_all_counted(stocks: Repository[Stock]) -> None:
    async def increase() -> None:
        for _ in range(4):
            async with stocks.edit("nails") as stock:
                stock.amount += 1

    await asyncio.gather(*(increase() for _ in range(10)))
    assert (await stocks.get("nails")).amount == 50


async def test_equal_changes_of_two_programs_count_twice(stocks: Repository[Stock]) -> None:
    async with stocks.edit("nails") as mine:
        mine.amount += 1
        await change(stocks, amount=11)
    assert (await stocks.get("nails")).amount == 12


async def test_an_edit_inside_an_edit_of_the_same_document_merges(stocks: Repository[Stock]) -> None:
    async with asyncio.timeout(30), stocks.edit("nails") as outer:
        outer.amount += 1
        async with stocks.edit("nails") as inner:
            inner.amount += 2
    assert (await stocks.get("nails")).amount == 13


async def test_an_edit_that_raises_stores_nothing(stocks: Repository[Stock]) -> None:
    with pytest.raises(ZeroDivisionError):
        async with stocks.edit("nails") as stock:
            stock.amount = 1 // 0
    assert (await stocks.get("nails")).amount == 10


async def edit_against(stocks: Repository[Stock], added: int, renamed: str = "Nails", **theirs: Any) -> None:
    """Edit the document while another program changes it, or deletes it if it is to have no values."""
    async with stocks.edit("nails") as mine:
        mine.name, mine.amount = renamed, mine.amount + added
        if theirs:
            await change(stocks, **theirs)
        else:
            await stocks.delete(await stocks.get("nails"))


async def test_an_edit_that_clashes_says_in_which_fields(stocks: Repository[Stock]) -> None:
    with pytest.raises(ConflictError) as caught:
        await edit_against(stocks, 1, "mine", name="theirs", amount=20)
    conflict = caught.value
    assert conflict.fields == {"name"}
    assert (conflict.base.name, conflict.mine.name, conflict.theirs.name) == ("Nails", "mine", "theirs")
    merged = conflict.merged(prefer="mine")
    assert (merged.name, merged.amount) == ("mine", 21)
    await stocks.save(merged)
    assert (await stocks.get("nails")).name == "mine"


async def test_an_update_whose_merge_breaks_a_rule_leaves_the_document_as_it_was(stocks: Repository[Stock]) -> None:
    mine = await stocks.get("nails")
    before = mine.model_copy(deep=True)
    await (await stocks.get("nails")).update(amount=90)
    with pytest.raises(DocumentError, match=r"(?s)amount: .* merged with those that others have stored"):
        await mine.update(amount=mine.amount + 20, name="mine")
    assert (mine, mine.rev, mine.is_changed) == (before, before.rev, False)
    await mine.update(name="mine")
    assert [(each.name, each.amount) for each in [await stocks.get("nails")]] == [("mine", 90)]


async def test_a_merge_that_breaks_a_rule_is_refused(stocks: Repository[Stock]) -> None:
    with pytest.raises(DocumentError, match=r"(?s)amount: .* merged with those that others have stored"):
        await edit_against(stocks, 60, amount=80)
    assert (await stocks.get("nails")).amount == 80


async def test_a_document_that_was_deleted_meanwhile_is_not_made_anew(stocks: Repository[Stock]) -> None:
    with pytest.raises(ConflictError) as caught:
        await edit_against(stocks, 1)
    assert caught.value.theirs is None
    with pytest.raises(ConfigurationError, match="deleted"):
        caught.value.merged(prefer="mine")


async def test_an_edit_takes_an_id(stocks: Repository[Stock]) -> None:
    document: Any = await stocks.get("nails")
    with pytest.raises(BadRequestError, match="must be a string"):
        async with stocks.edit(document):
            pass


async def test_an_update_merges_too(stocks: Repository[Stock]) -> None:
    stock = await stocks.get("nails")
    await change(stocks, tags={"steel"})
    await stock.update(amount=12)
    assert (stock.amount, stock.tags) == (12, {"steel"})


async def test_unsaved_changes_are_known_and_can_be_undone(stocks: Repository[Stock]) -> None:
    stock = await stocks.get("nails")
    assert not stock.is_changed
    stock.tags.add("x")
    stock.part.note = "y"
    assert stock.is_changed
    assert stock.changed_fields() == {"tags", "part"}
    stock.rollback()
    assert (stock.is_changed, stock.tags, stock.part.note) == (False, set(), "")
    stock.name = "other"
    await stocks.save(stock)
    assert not stock.is_changed
    stock.rollback()
    assert stock.name == "other"


def test_a_document_that_is_not_stored_is_changed() -> None:
    stock = Stock(id="new")
    assert stock.is_changed
    assert "amount" in stock.changed_fields()
    with pytest.raises(ConfigurationError, match="never loaded"):
        stock.rollback()


async def test_a_refresh_loads_what_is_stored(stocks: Repository[Stock]) -> None:
    stock = await stocks.get("nails")
    stock.name = "unsaved"
    await stock.refresh()
    assert stock.name == "Nails"
    await change(stocks, amount=30)
    stock.name = "unsaved"
    await stock.refresh()
    assert (stock.name, stock.amount, stock.is_changed) == ("Nails", 30, False)
    await stocks.delete(await stocks.get("nails"))
    with pytest.raises(NotFoundError):
        await stock.refresh()


async def test_an_edit_keeps_what_others_have_done_to_undeclared_members(database: Database) -> None:
    class Inner(BaseModel, extra="allow"):
        a: int = 0

    class Free(CouchModel, extra="allow"):
        inner: Mapped[Inner] = Field(default_factory=Inner)

    frees = Repository(Free, database)
    stored: Any = Free(id="f", color="red", size=1, inner=Inner(b=1, c=1))  # type: ignore[call-arg]
    await frees.save(stored)
    mine: Any
    theirs: Any = await frees.get("f")
    async with frees.edit("f") as mine:
        theirs.color, theirs.inner.b = "blue", 2
        await frees.save(theirs)
        mine.size, mine.inner.c = 2, 3
        assert mine.changed_fields() == {"size", "inner"}
    merged: Any = await frees.get("f")
    assert (merged.color, merged.size, merged.inner.b, merged.inner.c) == ("blue", 2, 2, 3)
    assert mine.color == "blue"
    await theirs.refresh()
    assert (theirs.size, theirs.is_changed) == (2, False)


async def test_a_default_that_is_not_stored_is_no_change(database: Database) -> None:
    pots = Repository(Pot, database)
    await (await database.create("old", data={"labels": []})).save()  # by a version that had no `made`
    async with pots.edit("old") as mine:
        mine.counts = {"a": 1}
        theirs = await pots.get("old")
        theirs.labels = ["x"]
        await pots.save(theirs)
    stored = await pots.get("old")
    assert (stored.counts, stored.labels, stored.made) == ({"a": 1}, ["x"], theirs.made)


async def test_versions_of_two_types_clash(database: Database) -> None:
    class Plant(CouchModel, type="plant"):
        name: Mapped[str] = Field(default="")

    class Tree(Plant, type="tree"):
        height: Mapped[int] = Field(default=0)

    plants = Repository(Plant, database)
    oak = Tree(id="oak")
    await plants.save(oak)

    async def edit() -> None:
        async with plants.edit("oak") as mine:
            mine.name = "Oak"
            await plants.save(Plant(id="oak", rev=oak.rev))

    with pytest.raises(ConflictError) as caught:
        await edit()
    assert caught.value.fields == {"type"}
    with pytest.raises(DocumentError, match="is a Plant by now"):
        await oak.refresh()


async def test_edits_of_two_documents_in_both_orders_do_not_wait_for_ever(stocks: Repository[Stock]) -> None:
    await stocks.save(Stock(id="screws", amount=10))

    async def move(source: str, target: str) -> None:
        async with stocks.edit(source) as one:
            await asyncio.sleep(0.02)
            async with stocks.edit(target) as other:
                one.amount -= 1
                other.amount += 1

    async with asyncio.timeout(30):
        await asyncio.gather(*(move(*pair) for pair in [("nails", "screws"), ("screws", "nails")] * 3))
    assert [(await stocks.get(id)).amount for id in ("nails", "screws")] == [10, 10]


async def test_a_document_that_is_deleted_in_its_edit_stays_deleted(stocks: Repository[Stock]) -> None:
    async with stocks.edit("nails") as stock:
        stock.amount = 1
        await stocks.delete(stock)
    assert await stocks.get_or_none("nails") is None


async def test_an_edit_can_end_in_another_task(stocks: Repository[Stock]) -> None:
    edit = stocks.edit("nails")

    async def begin() -> None:
        (await edit.__aenter__()).amount = 1

    await asyncio.create_task(begin())
    await edit.__aexit__(None, None, None)
    assert (await stocks.get("nails")).amount == 1
