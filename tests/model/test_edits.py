"""Edits that merge with what others have changed, and the unsaved changes of a document."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from pydantic import BaseModel

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
)
from couchmodel._model.codec.three_way import UNKNOWN, merge_documents


class Part(BaseModel):
    name: str
    count: int = Field(default=0, merge="sum")
    note: str = ""


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
    text: Mapped[str] = Field(default="", merge=longest)
    part: Mapped[Part] = Field(default_factory=lambda: Part(name="p"))
    parts: Mapped[list[Part]] = Field(default_factory=list, merge_key="name")
    scores: Mapped[dict[str, int]] = Field(default_factory=dict)
    plain: Mapped[list[int]] = Field(default_factory=list)


MERGES: list[tuple[str, Any, Any, Any, Any]] = [
    ("name", "a", "a", "b", "b"),
    ("name", "a", "b", "a", "b"),
    ("name", "a", "b", "b", "b"),
    ("amount", 10, 15, 7, 12),
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
CLASHES: list[tuple[str, Any, Any, Any, str]] = [
    ("name", "a", "b", "c", "name"),
    ("scores", {"a": 1}, {"a": 2}, {"a": 3}, "scores.a"),
    ("scores", {"a": 1}, {}, {"a": 3}, "scores.a"),
    ("part", Part(name="p"), Part(name="q"), Part(name="r"), "part.name"),
    ("parts", [Part(name="a")], [Part(name="a", note="x")], [Part(name="a", note="y")], "parts.a.note"),
    ("plain", [1], [1, 2], [1, 3], "plain"),
    ("amount", UNKNOWN, 3, 4, "amount"),
]


@pytest.mark.parametrize(("name", "base", "mine", "theirs", "expected"), MERGES)
def test_two_versions_of_a_field_are_merged(name: str, base: Any, mine: Any, theirs: Any, expected: Any) -> None:
    before, ours, others = (Stock(id="s", **{name: value}) for value in (base, mine, theirs))
    merged = merge_documents(before, ours, others)
    assert merged.clashes == set()
    assert merged.values[name] == expected
    assert type(merged.values[name]) is type(expected)


@pytest.mark.parametrize(("name", "base", "mine", "theirs", "path"), CLASHES)
def test_what_both_have_changed_clashes(name: str, base: Any, mine: Any, theirs: Any, path: str) -> None:
    before: Any = UNKNOWN if base is UNKNOWN else Stock(id="s", **{name: base})
    merged = merge_documents(before, Stock(id="s", **{name: mine}), Stock(id="s", **{name: theirs}))
    assert merged.clashes == {path}


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


async def test_a_merge_that_breaks_a_rule_is_refused(stocks: Repository[Stock]) -> None:
    with pytest.raises(DocumentError, match="amount"):
        await edit_against(stocks, 60, amount=80)
    assert (await stocks.get("nails")).amount == 80


async def test_a_document_that_was_deleted_meanwhile_is_not_made_anew(stocks: Repository[Stock]) -> None:
    with pytest.raises(ConflictError) as caught:
        await edit_against(stocks, 1)
    assert caught.value.theirs is None
    with pytest.raises(ConfigurationError, match="deleted"):
        caught.value.merged(prefer="mine")


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
