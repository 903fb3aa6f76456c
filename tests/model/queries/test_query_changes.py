"""Changes to many documents: assignments, deletions, reports."""

import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel, model_validator

from couchmodel import (
    BulkError,
    ConflictError,
    Connection,
    CouchModel,
    DocumentError,
    Field,
    Mapped,
    NotFoundError,
    QueryError,
    Repository,
)
from couchmodel.engine import Database


class Maker(BaseModel):
    name: Mapped[str]


class Pie(CouchModel, type="pie"):
    title: Mapped[str]
    rating: Mapped[int] = Field(default=0, ge=0, le=5, stored_as="stars")
    maker: Mapped[Maker] = Field(default_factory=lambda: Maker(name="Ada"))
    tags: Mapped[list[str]] = Field(default_factory=list)


class Other(CouchModel):
    rating: Mapped[int] = Field(default=0)


@pytest.fixture
async def pies(couch: Connection) -> AsyncIterator[Repository[Pie]]:
    """Six pies, ``p0`` to ``p5``, rated 0 to 5, and a document of another type."""
    database = await couch.create(f"test-{secrets.token_hex(6)}", q=1)
    repository = Repository(Pie, database)
    await repository.save_all(Pie(id=f"p{n}", title=f"Pie {n}", rating=n, tags=["a"]) for n in range(6))
    await (await database.create("other", data={"stars": 5})).save()
    yield repository
    with suppress(NotFoundError):
        await database.delete()


async def test_assignments_are_stored_in_all_documents_of_a_query(pies: Repository[Pie]) -> None:
    changes = Pie.rating.set(1), Pie.maker.name.set("Bob"), Pie.tags.set(["b"])
    assert await pies.find(Pie.rating >= 4).update(*changes) == 2
    assert [pie.rating for pie in await pies.find().sort("id")] == [0, 1, 2, 3, 1, 1]
    assert [pie.tags for pie in await pies.find(Pie.maker.name == "Bob")] == [["b"], ["b"]]


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ([Pie.rating.set(9)], DocumentError, "less than or equal to 5"),
        ([], QueryError, "at least one"),
        (["rating"], QueryError, "assignments"),
        ([Other.rating.set(1)], QueryError, "Other.rating"),
        ([Pie.fields["id"].set("x")], QueryError, "CouchDB's own"),
    ],
)
async def test_what_cannot_be_assigned_changes_nothing(
    pies: Repository[Pie], changes: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        await pies.find().update(*changes)
    assert [pie.rating for pie in await pies.find().sort("id")] == [0, 1, 2, 3, 4, 5]


async def test_a_document_that_changes_meanwhile_is_looked_at_again(
    pies: Repository[Pie], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_each = pies.save_each
    calls: list[int] = []

    async def late(documents: Any) -> Any:
        if not calls:
            for id, rating in (("p4", 5), ("p5", 0)):
                await (await pies.get(id)).update(rating=rating)
        calls.append(len(documents))
        return await save_each(documents)

    monkeypatch.setattr(pies, "save_each", late)
    assert await pies.find(Pie.rating >= 4).update(Pie.title.set("best")) == 1
    assert calls == [2, 1]
    assert [(pie.id, pie.rating) for pie in await pies.find(Pie.title == "best")] == [("p4", 5)]


async def test_the_documents_of_a_query_are_deleted(pies: Repository[Pie]) -> None:
    assert await pies.find(Pie.rating >= 2).delete() == 4
    assert [pie.id for pie in await pies.find().sort("id")] == ["p0", "p1"]
    assert await pies.database.get("other")
    assert await pies.find(Pie.rating >= 2).delete() == 0


async def test_many_ids_are_loaded_with_one_request(pies: Repository[Pie]) -> None:
    await pies.delete(await pies.get("p3"))
    found = await pies.get_many(["p5", "p3", "none", "p0", "p5"])
    assert [pie and pie.id for pie in found] == ["p5", None, None, "p0", "p5"]
    assert await pies.get_many([]) == []
    with pytest.raises(QueryError, match="several ids"):
        await pies.get_many("p1")


async def test_a_document_that_was_loaded_with_others_can_be_saved(pies: Repository[Pie]) -> None:
    (pie,) = await pies.get_many(["p1"])
    assert pie is not None
    await pie.update(rating=3)
    assert (await pies.get("p1")).rating == 3


async def test_a_document_is_made_unless_it_is_there(pies: Repository[Pie]) -> None:
    assert (await pies.get_or_create(Pie(id="p1", title="new"))).title == "Pie 1"
    made = await pies.get_or_create(Pie(id="p9", title="new"))
    assert made.rev is not None
    assert (await pies.get("p9")).title == "new"


async def test_a_report_has_what_was_stored_and_what_was_refused(pies: Repository[Pie]) -> None:
    stale = await pies.get("p1")
    await (await pies.get("p1")).update(rating=4)
    stale.rating, fresh = 2, Pie(id="p7", title="fresh")
    report = await pies.save_all([stale, fresh], on_error="collect")
    assert report.saved == [fresh]
    ((refused, error),) = report.refused
    assert refused is stale
    assert isinstance(error, ConflictError)
    with pytest.raises(BulkError) as caught:
        await pies.save_all([stale])
    assert [type(each) for each in caught.value.exceptions] == [ConflictError]


async def test_fields_are_assigned_by_name_and_checked(pies: Repository[Pie]) -> None:
    pie = await pies.get("p1")
    for values, said in (({"raing": 1}, "rating"), ({"rating": 9}, "rating"), ({"id": "x"}, "id")):
        with pytest.raises(DocumentError, match=said):
            await pie.update(title="half", **values)
    assert pie.title == "Pie 1"
    await pie.update(title="whole", rating=5)
    assert (await pies.get("p1")).title == "whole"


async def test_a_deleted_document_keeps_the_type_of_its_own_class(database: Database) -> None:
    class Drink(CouchModel, type="drink", type_field="kind"):
        name: Mapped[str] = Field(default="")

    class Tea(Drink, type="tea"):
        pass

    drinks = Repository(Drink, database)
    await drinks.save_all([Drink(id="water"), Tea(id="green")])
    assert await drinks.find().delete() == 2
    changes = [change async for change in database.changes(include_docs=True)]
    assert {change.id: change.json["doc"]["kind"] for change in changes} == {"water": "drink", "green": "tea"}


async def test_a_member_of_a_dictionary_is_assigned_by_its_key(database: Database) -> None:
    class Diary(CouchModel):
        pages: Mapped[dict[date, int]] = Field(default_factory=dict)

    diaries = Repository(Diary, database)
    day = date(2026, 5, 1)
    await diaries.save(Diary(id="d", pages={day: 1}))
    pages: Any = Diary.pages
    assert await diaries.find().update(pages[day].set(2)) == 1
    assert (await diaries.get("d")).pages == {day: 2}


class Span(CouchModel):
    start: Mapped[int] = Field(default=0)
    end: Mapped[int] = Field(default=1)

    @model_validator(mode="after")
    def check(self) -> "Span":
        if self.start >= self.end:
            raise ValueError("the start is before the end")
        return self


async def test_a_rule_of_the_whole_model_holds_after_all_assignments(database: Database) -> None:
    spans = Repository(Span, database)
    span = Span(id="s")
    await spans.save(span)
    await span.update(start=5, end=9)
    assert await spans.find().update(Span.start.set(15), Span.end.set(19)) == 1
    for values in ({"start": 20}, {"start": 30, "end": 25}, {"start": 20, "end": "x"}):
        with pytest.raises(DocumentError):
            await span.update(**values)
    assert (span.start, span.end) == (5, 9)
    await span.refresh()
    assert (span.start, span.end) == (15, 19)


async def test_a_frozen_document_is_not_assigned_to(database: Database) -> None:
    class Coin(CouchModel, frozen=True):
        cents: Mapped[int] = Field(default=0)

    coins = Repository(Coin, database)
    coin = Coin(id="c")
    await coins.save(coin)
    with pytest.raises(DocumentError, match="frozen"):
        await coin.update(cents=5)
    assert coin.cents == 0
    assert await coins.find().update(Coin.cents.set(5)) == 1
