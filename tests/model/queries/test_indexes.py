"""Indexes of models: which one serves a query, what is created, changed and deleted, and what is told of scans."""

import itertools
import logging
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from couchmodel import (
    ConfigurationError,
    Connection,
    CouchModel,
    Field,
    Index,
    Mapped,
    NoIndexError,
    Repository,
    col,
    connect,
    using,
)
from couchmodel._model.query.implication import implies
from couchmodel._model.store import strictness
from couchmodel.engine import Database


class Part(CouchModel, type="part", indexes=[Index("a"), Index("a", "b"), Index("b", "a"), Index("c", "b", "a")]):
    a: Mapped[int] = Field(default=0)
    b: Mapped[int] = Field(default=0)
    c: Mapped[str] = Field(default="")
    note: Mapped[str | None] = Field(default=None)


class Task(CouchModel, indexes=[Index("due", where=lambda task: task.done == False)]):  # noqa: E712
    due: Mapped[int] = Field(default=0)
    done: Mapped[bool] = Field(default=False)


@pytest.fixture
async def parts(database: Database) -> Repository[Part]:
    repository = Repository(Part, database)
    await repository.apply()
    await repository.save_all(Part(a=n % 3, b=n % 4, c=str(n % 2)) for n in range(24))
    return repository


CONDITIONS: dict[str, Any] = {
    "a=1": Part.a == 1,
    "a>0": Part.a > 0,
    "b=2": Part.b == 2,
    "b<3": Part.b < 3,
    "c=1": Part.c == "1",
    "not b>2": ~(Part.b > 2),
    "none": Part.note.is_none(),
}
SORTS = ((), ("a",), ("-b",), ("b", "a"))


@pytest.mark.parametrize("names", [names for n in range(4) for names in itertools.combinations(CONDITIONS, n)])
async def test_a_prediction_is_what_the_store_does(parts: Repository[Part], names: tuple[str, ...]) -> None:
    conditions = [CONDITIONS[name] for name in names]
    everything = await parts.find().to_list()
    for order in SORTS:
        query = parts.find(*conditions).sort(*order)
        chosen = query._index(query.selector())
        explained = await query.explain()
        assert explained.index == (chosen and chosen.index.name), (names, order)
        assert explained.scans == (chosen is None)
        found = {part.id for part in await parts.find(*conditions).sort(*order)} if chosen or not order else set()
        if chosen:
            wanted = {part.id for part in everything if all(_holds(part, name) for name in names)}
            assert found == wanted, (names, order)


def _holds(part: Part, name: str) -> bool:
    return {
        "a=1": part.a == 1,
        "a>0": part.a > 0,
        "b=2": part.b == 2,
        "b<3": part.b < 3,
        "c=1": part.c == "1",
        "not b>2": part.b <= 2,
        "none": part.note is None,
    }[name]


async def test_the_index_with_the_fixed_column_in_front_is_named(parts: Repository[Part]) -> None:
    query = parts.find(Part.a > 0, Part.b == 2)
    assert (await query.explain()).index == "b-a"
    assert {part.b for part in await query} == {2}


async def test_a_partial_index_serves_only_queries_that_imply_its_condition(database: Database) -> None:
    tasks = Repository(Task, database)
    await tasks.apply()
    await tasks.save_all(Task(due=n, done=n % 2 == 0) for n in range(10))
    unfinished = tasks.find(Task.due > 3, Task.done == False)  # noqa: E712
    assert (await unfinished.explain()).index == "due"
    assert [task.due for task in await unfinished.sort("due")] == [5, 7, 9]
    assert (await tasks.find(Task.due > 3).explain()).scans
    assert await tasks.find(Task.due > 3).count() == 6


@pytest.mark.parametrize(
    ("selector", "other", "expected"),
    [
        ({"a": {"$eq": 1}}, {"a": {"$eq": 1}}, True),
        ({"a": 1}, {"a": {"$eq": 1}}, True),
        ({"a": {"$gt": 5}}, {"a": {"$gte": 5}}, True),
        ({"a": {"$gte": 5}}, {"a": {"$gt": 5}}, False),
        ({"a": {"$gte": 6}}, {"a": {"$gt": 5}}, True),
        ({"a": {"$lt": 5}}, {"a": {"$gt": 5}}, False),
        ({"a": {"$eq": 7}}, {"a": {"$gt": 5}}, True),
        ({"a": {"$eq": "x"}}, {"a": {"$in": ["x", "y"]}}, True),
        ({"a": {"$eq": "x"}}, {"a": {"$exists": True}}, True),
        ({"a": {"$exists": False}}, {"a": {"$exists": True}}, False),
        ({"$or": [{"a": 1}, {"b": 1}]}, {"a": {"$eq": 1}}, False),
        ({"$and": [{"a": 1}, {"b": 2}]}, {"b": 2}, True),
        ({"a": {"$gt": "b"}}, {"a": {"$gt": "a"}}, False),
        ({"a": True}, {"a": 1}, False),
        ({}, {}, True),
        ({}, {"a": 1}, False),
    ],
)
def test_a_selector_implies_another_only_if_that_is_certain(
    selector: dict[str, Any], other: dict[str, Any], expected: bool
) -> None:
    assert implies(selector, other) is expected


@pytest.mark.parametrize(
    ("selector", "other", "document"),
    [
        ({"a": {"$or": [{"$exists": False}, {"$eq": 1}]}}, {"a": {"$exists": True}}, {}),
        ({"a": {"$nor": [{"$exists": True}]}}, {"a": {"$exists": True}}, {}),
        ({"a": {"$eq": "e\u0301"}}, {"a": {"$ne": "\u00e9"}}, {"a": "e\u0301"}),
        ({"a": {"$eq": "ab"}}, {"a": {"$ne": "a\u200bb"}}, {"a": "ab"}),
        ({"a": {"$eq": ["e\u0301"]}}, {"a": {"$ne": ["\u00e9"]}}, {"a": ["e\u0301"]}),
        ({"a": {"$eq": ["x"]}}, {"a": {"$in": [["x"], ["y"]]}}, {"a": ["x"]}),
        ({"a": {"$eq": {"x": 1, "y": 2}}}, {"a": {"$eq": {"y": 2, "x": 1}}}, {"a": {"x": 1, "y": 2}}),
        ({"a": {"$eq": {"x": 1, "y": 2}}}, {"a": {"$in": [{"y": 2, "x": 1}]}}, {"a": {"x": 1, "y": 2}}),
        ({"a": {"$eq": 1}}, {"a": {}}, {"a": 1}),
    ],
)
async def test_a_selector_does_not_imply_one_that_its_documents_do_not_match(
    database: Database, selector: dict[str, Any], other: dict[str, Any], document: dict[str, Any]
) -> None:
    await (await database.create("x", data=document)).save()
    assert [found.id async for found in database.find(selector)] == ["x"]
    assert [found.id async for found in database.find(other)] == []
    assert not implies(selector, other)


@pytest.mark.parametrize(("one", "other"), [("open", "done"), (1, 2), (True, False), (1, "1"), (None, 0)])
def test_a_value_implies_that_a_field_is_not_another_one(one: Any, other: Any) -> None:
    assert implies({"a": one}, {"a": {"$ne": other}})


async def test_a_changed_index_stands_beside_the_old_one_until_it_is_pruned(
    couch: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"test-{secrets.token_hex(6)}"

    class Old(CouchModel, database=name, indexes=[Index("a", name="one")]):
        a: Mapped[int] = Field(default=0)
        b: Mapped[int] = Field(default=0)

    class New(CouchModel, database=name, indexes=[Index("a", "b", name="one")]):
        a: Mapped[int] = Field(default=0)
        b: Mapped[int] = Field(default=0)

    async def indexes() -> list[list[str]]:
        found = [each["def"]["fields"] for each in await couch.database(name).indexes() if each["ddoc"]]
        return sorted([next(iter(field)) for field in fields] for fields in found)

    await couch.apply(Old)
    await couch.database(name).index({"fields": ["foreign"]}, name="foreign")
    monkeypatch.setattr(couch, "_applied", {})  # as in another program, which does not know the old class
    await couch.apply(New)
    assert await indexes() == [["a"], ["a", "b"], ["foreign"]]
    assert (await couch.plan(New, prune=True)).steps == ("delete the index 'one' on a",)
    await couch.apply(New, prune=True)
    assert await indexes() == [["a", "b"], ["foreign"]]
    assert (await couch.plan(New, prune=True)).is_empty
    await couch.database(name).delete()


async def test_an_index_on_a_new_field_tells_of_the_documents_that_it_leaves_out(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    class Errand(CouchModel, indexes=[Index("owner", "due")]):
        owner: Mapped[str]
        due: Mapped[int] = Field(default=0)

    await (await database.create("old", data={"owner": "ada"})).save()
    errands = Repository(Errand, database)
    with caplog.at_level(logging.WARNING, "couchmodel.plan"):
        await errands.apply()
        await errands.apply()
    (record,) = caplog.records
    assert "1 stored documents of Errand have no 'due'" in record.message
    assert "migrate()" in record.message
    await errands.migrate()
    assert [errand.id for errand in await errands.find(Errand.owner == "ada")] == ["old"]


async def test_models_are_applied_to_the_database_that_using_names(couch: Connection, database: Database) -> None:
    class Nameless(CouchModel, indexes=[Index("a")]):
        a: Mapped[int] = Field(default=0)

    with using(database):
        assert len((await couch.plan(Nameless)).steps) == 1
        await couch.apply(Nameless)
        assert (await couch.plan(Nameless)).is_empty
        assert (await Nameless.find(Nameless.a > 0).explain()).index == "a"


async def test_a_scan_is_told_once_with_the_index_to_declare(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    class Loose(CouchModel):
        a: Mapped[int] = Field(default=0)
        tags: Mapped[list[str]] = Field(default_factory=list)

    loose = Repository(Loose, database)
    with caplog.at_level(logging.WARNING, "couchmodel.query"):
        for _ in range(2):
            assert await loose.find(Loose.a > 0) == []
        assert await loose.find() == []
    assert [record.message for record in caplog.records] == [
        "a query of Loose reads all documents of its database: declare Index('a') on Loose and call apply()"
    ]


@pytest.fixture
async def strict(url: str) -> AsyncIterator[Repository[Part]]:
    """A repository of a strict connection."""
    async with connect(url, strict=True) as couch:
        database = await couch.create(f"test-{secrets.token_hex(6)}", q=1)
        repository = Repository(Part, database)
        await repository.apply()
        yield repository
        await database.delete()


async def test_a_strict_connection_refuses_scans(strict: Repository[Part]) -> None:
    await strict.save_all([Part(id="x", a=1), Part(a=2, note="n")])
    assert len(await strict.find(Part.a >= 1)) == 2
    assert len(await strict.find()) == 2
    assert len(await strict.find(col(Part.id) == "x")) == 1
    assert len((await strict.find().page(2)).items) == 2
    scan = strict.find(Part.note == "n")
    for ask in (scan.to_list, lambda: scan.page(2), scan.sort("id").to_list):
        with pytest.raises(NoIndexError, match=r"Index\('note'\)"):
            await ask()


async def test_a_strict_connection_lets_a_change_be_tried_again(
    strict: Repository[Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    await strict.save_all([Part(id=each) for each in ("D1", "d", "e")])
    save_each = strict.save_each

    async def save_late(documents: list[Part]) -> Any:
        monkeypatch.setattr(strict, "save_each", save_each)
        for id in ("D1", "d"):
            other = await strict.get(id)
            other.note = "changed meanwhile"
            await strict.save(other)
        return await save_each(documents)

    monkeypatch.setattr(strict, "save_each", save_late)
    assert await strict.find().update(Part.a.set(7)) == 3
    assert {part.id: (part.a, part.note) for part in await strict.find()} == {
        "D1": (7, "changed meanwhile"),
        "d": (7, "changed meanwhile"),
        "e": (7, None),
    }


async def test_an_older_server_is_asked_before_a_scan(
    strict: Repository[Part], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strictness, "_FIRST_VERSION", (99,))
    await strict.save(Part(id="x", a=1))
    assert len(await strict.find(Part.a >= 1)) == 1
    with pytest.raises(NoIndexError, match=r"Index\('note'\)"):
        await strict.find(Part.note == "n")


async def test_a_partial_index_on_an_unknown_field_is_refused(database: Database) -> None:
    class Wrong(CouchModel, indexes=[Index("due", where=lambda task: task.dne == True)]):  # noqa: E712
        due: Mapped[int] = Field(default=0)
        done: Mapped[bool] = Field(default=False)

    with pytest.raises(ConfigurationError, match=r"Wrong.*due.*done"):
        await Repository(Wrong, database).apply()
    with pytest.raises(ConfigurationError, match="where="):
        Index("due", where=3)  # type: ignore[arg-type]
