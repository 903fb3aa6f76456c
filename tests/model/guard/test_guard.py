"""The database itself refuses what breaks the constraints of a guarded model, whoever writes it."""

import json
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest
from pydantic import BaseModel, create_model

from couchmodel import (
    ConfigurationError,
    Connection,
    CouchModel,
    Field,
    ForbiddenError,
    Mapped,
    NotFoundError,
    Repository,
    connect,
    using,
)
from couchmodel.engine import Database
from couchmodel.sync import follow, replicate
from tests.engine.requests import call


class Step(BaseModel):
    text: Mapped[str] = Field(min_length=1)
    minutes: Mapped[float] = Field(default=0, ge=0)


class Meal(CouchModel, guard=True):
    title: Mapped[str] = Field(min_length=1, max_length=8)
    rating: Mapped[int] = Field(default=0, ge=0, le=5)
    kind: Mapped[Literal["sweet", "salty"]] = Field(default="sweet")
    tags: Mapped[list[str]] = Field(default_factory=list)
    steps: Mapped[list[Step]] = Field(default_factory=list)


@pytest.fixture
async def guarded(couch: Connection, database: Database) -> Database:
    """The database of a guarded model."""
    with using(database):
        await couch.apply(Meal)
    return database


@asynccontextmanager
async def connect_elsewhere() -> AsyncGenerator[Database]:
    """A database of another store, to replicate from."""
    async with connect("memory:") as couch:
        yield await couch.create("elsewhere")


async def put(database: Database, id: str, content: dict[str, Any]) -> Any:
    return await call(database, "PUT", id, content)


async def put_until_refused(database: Database, content: dict[str, Any]) -> None:
    """Put documents until one is refused: a function that was replaced by hand is in force after a while on CouchDB."""
    for _ in range(100):
        await put(database, secrets.token_hex(4), content)


def guarded_model(database: Database, keywords: dict[str, Any] | None = None, **fields: Any) -> type[CouchModel]:
    """Return a class of the name Thing, with a guard."""
    return thing_model({"database": database.id, "guard": True, **(keywords or {})}, **fields)


def thing_model(keywords: dict[str, Any], **fields: Any) -> type[CouchModel]:
    made: type[CouchModel] = create_model("Thing", __base__=CouchModel, __cls_kwargs__=keywords, **fields)
    return made


# --- what is refused


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"title": "Stone", "rating": 9}, "rating: has to be at most 5"),
        ({"title": "Stone", "rating": "5"}, "rating: has to be a whole number"),
        ({"title": "Stone", "rating": True}, "rating: has to be a whole number"),
        ({"title": "Stone", "rating": None}, "rating: has to be a whole number"),
        ({"title": ""}, "title: has to be 1 or more characters long"),
        ({"rating": 1}, "title: is required"),
        ({"title": "Stone", "kind": "sour"}, 'kind: has to be "sweet" or "salty"'),
        ({"title": "Stone", "tags": ["a", 1]}, "tags.1: has to be a text"),
        ({"title": "Stone", "tags": {"a": 1}}, "tags: has to be a list"),
        ({"title": "Stone", "steps": [{"text": "Stir"}, {"minutes": 1}]}, "steps.1.text: is required"),
        ({"title": "Stone", "steps": [{"text": "Stir", "minutes": -0.5}]}, "steps.0.minutes: has to be at least 0"),
    ],
)
async def test_a_document_that_breaks_a_constraint_is_refused_with_the_reason(
    guarded: Database, content: dict[str, Any], said: str
) -> None:
    with pytest.raises(ForbiddenError) as refused:
        await put(guarded, "stone", content)
    assert refused.value.reason == said


async def test_the_length_of_a_text_is_its_number_of_characters(guarded: Database) -> None:
    await put(guarded, "cakes", {"title": "🍰" * 8})
    with pytest.raises(ForbiddenError, match="title: has to be 8 or fewer characters long"):
        await put(guarded, "more", {"title": "🍰" * 9})


async def test_what_the_model_saves_and_what_it_does_not_know_passes(guarded: Database) -> None:
    meals = Repository(Meal, guarded)
    await meals.save(Meal(id="pie", title="Pie", rating=5, steps=[Step(text="Bake", minutes=40)]))
    await put(guarded, "soup", {"title": "Soup", "colour": "red", "steps": [{"text": "Cook", "pot": 1}]})
    assert (await meals.get("soup")).steps[0].text == "Cook"


async def test_deletions_designs_and_local_documents_pass(guarded: Database) -> None:
    stored = await put(guarded, "pie", {"title": "Pie"})
    await call(guarded, "PUT", "pie", {"_rev": stored["rev"], "_deleted": True, "rating": "gone"})
    await put(guarded, "_design/other", {"title": ""})
    await put(guarded, "_local/note", {"title": ""})


async def test_the_documents_of_a_bulk_write_are_refused_one_by_one(guarded: Database) -> None:
    rows = await call(guarded, "POST", "_bulk_docs", {"docs": [{"_id": "a", "title": "A"}, {"_id": "b"}]})
    assert [row.get("reason") for row in rows] == [None, "title: is required"]


# --- types and versions


async def test_only_documents_of_its_type_are_checked(couch: Connection, database: Database) -> None:
    author = guarded_model(database, {"type": "author"}, name=(str, Field(max_length=3)))
    await couch.apply(author)
    await put(database, "a", {"type": "book", "name": "long name"})
    await put(database, "b", {"name": "long name"})
    with pytest.raises(ForbiddenError, match="name: has to be 3 or fewer characters long"):
        await put(database, "c", {"type": "author", "name": "long name"})


async def test_only_documents_of_its_version_are_checked(couch: Connection, database: Database) -> None:
    second = guarded_model(database, {"version": 2}, size=(int, Field(default=0)))
    await couch.apply(second)
    for version in ({}, {"schema_version": 1}, {"schema_version": 3}, {"schema_version": "2"}):
        await put(database, secrets.token_hex(4), {"size": "large", **version})
    with pytest.raises(ForbiddenError, match="size"):
        await put(database, "now", {"size": "large", "schema_version": 2})


async def test_each_subclass_of_a_type_of_its_own_has_a_guard(couch: Connection, database: Database) -> None:
    class Book(CouchModel, database=database.id, type="book", guard=True):
        pages: Mapped[int] = Field(default=1, ge=1)

    class Novel(Book, type="novel"):
        hero: Mapped[str] = Field(default="")

    class Draft(Book, type="draft", guard=False):
        pass

    await couch.apply(Book)
    await put(database, "draft", {"type": "draft", "pages": 0})
    for content in ({"type": "book", "pages": 0}, {"type": "novel", "pages": 0}, {"type": "novel", "hero": 1}):
        with pytest.raises(ForbiddenError):
            await put(database, "bad", content)
    assert (await couch.plan(Book, Novel, Draft)).is_empty


# --- plans


async def test_a_plan_installs_changes_and_removes_a_guard(couch: Connection, database: Database) -> None:
    strict = guarded_model(database, size=(int, Field(default=0, le=5)))
    assert (await couch.plan(strict)).steps == ("install the guard of Thing",)
    await couch.apply(strict)
    assert (await couch.plan(strict)).is_empty
    loose = guarded_model(database, size=(int, Field(default=0, le=9)))
    assert (await couch.plan(loose)).steps == ("change the guard of Thing",)
    await couch.apply(loose)
    await put(database, "large", {"size": 9})
    free = guarded_model(database, {"guard": False}, size=(int, Field(default=0, le=9)))
    assert (await couch.plan(free)).steps == ("remove the guard of Thing",)
    await couch.apply(free)
    assert (await couch.plan(free)).is_empty
    await put(database, "larger", {"size": 10})


async def test_a_design_document_of_somebody_else_is_not_touched(couch: Connection, database: Database) -> None:
    await put(database, "_design/couchmodel-guard-Thing", {"language": "javascript"})
    with pytest.raises(ConfigurationError, match="was not written by couchmodel"):
        await couch.apply(guarded_model(database, size=(int, 0)))
    free = guarded_model(database, {"guard": False}, size=(int, 0))
    assert (await couch.plan(free)).is_empty


async def test_a_plan_says_what_cannot_be_guarded(couch: Connection, database: Database) -> None:
    thing = guarded_model(database, code=(str, Field(pattern=r"^\w+$")), name=(str, Field(pattern="^(?i:a)")))
    assert (await couch.plan(thing)).notes == (
        r"the guard of Thing: code: the pattern ^\w+$ is guarded for texts of printable ASCII only",
        "the guard of Thing: name: the pattern ^(?i:a) is not guarded: (? is not the same in every engine",
    )


async def test_a_plan_counts_the_stored_documents_that_break_the_guard(couch: Connection, database: Database) -> None:
    await put(database, "a", {"size": 6})
    await put(database, "b", {"size": 5})
    await put(database, "c", {"size": None})
    (note,) = (await couch.plan(guarded_model(database, size=(int, Field(default=0, le=5))))).notes
    assert note.startswith("2 stored documents break the guard of Thing")
    assert "'a' (size: has to be at most 5); 'c' (size: has to be a whole number)" in note


async def test_a_plan_tells_of_the_guard_of_a_class_that_was_renamed(couch: Connection, database: Database) -> None:
    thing = guarded_model(database, size=(int, 0))
    await couch.apply(thing)
    design = await call(database, "GET", "_design/couchmodel-guard-Thing")
    del design["_id"], design["_rev"]
    await put(database, "_design/couchmodel-guard-Old", design)
    assert (await couch.plan(thing)).notes == (
        "_design/couchmodel-guard-Old guards the documents of Thing, too: delete it, if its class has been renamed",
    )


async def test_a_partitioned_database_can_be_guarded(couch: Connection) -> None:
    database = await couch.create(f"test-{secrets.token_hex(6)}", partitioned=True)
    await couch.apply(guarded_model(database, size=(int, Field(default=0, le=5))))
    with pytest.raises(ForbiddenError, match="size: has to be at most 5"):
        await put(database, "a:large", {"size": 6})
    await database.delete()


async def test_a_guard_of_a_new_database_can_be_planned(couch: Connection) -> None:
    name = f"test-{secrets.token_hex(6)}"
    thing = guarded_model(couch.database(name), size=(int, 0))
    assert (await couch.plan(thing)).steps == (f"create the database '{name}'", "install the guard of Thing")
    await couch.apply(thing)
    await couch.database(name).delete()


@pytest.mark.parametrize(("keyword", "value"), [("guard", 1), ("version", 0), ("version", True), ("version", "2")])
def test_a_wrong_keyword_is_refused(keyword: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"Thing: {keyword} is"):
        thing_model({keyword: value})


# --- the embedded store


@pytest.mark.parametrize("backend", ["memory", "serve"], indirect=True)
async def test_the_embedded_store_guards_without_javascript(
    couch: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("couchmodel._embedded.javascript.engine.is_available", lambda: False)
    await couch.apply(guarded_model(database, size=(int, Field(default=0, le=5))))
    await put(database, "small", {"size": 5})
    with pytest.raises(ForbiddenError, match="size: has to be at most 5"):
        await put(database, "large", {"size": 6})


async def test_javascript_that_was_changed_counts(couch: Connection, database: Database) -> None:
    await couch.apply(guarded_model(database, size=(int, Field(default=0, le=5))))
    design = await call(database, "GET", "_design/couchmodel-guard-Thing")
    design["validate_doc_update"] = 'function (doc) { if (doc.size > 3) { throw {forbidden: "at most 3"}; } }'
    await call(database, "PUT", "_design/couchmodel-guard-Thing", design)
    with pytest.raises(ForbiddenError, match="at most 3"):
        await put_until_refused(database, {"size": 4})
    await put(database, "text", {"size": "x"})


async def test_a_declaration_that_was_changed_does_not_count(couch: Connection, database: Database) -> None:
    await couch.apply(guarded_model(database, size=(int, Field(default=0, le=5))))
    design = await call(database, "GET", "_design/couchmodel-guard-Thing")
    design["couchmodel"]["guard"]["rules"] = {"document": {"is": "anything"}}
    await call(database, "PUT", "_design/couchmodel-guard-Thing", design)
    with pytest.raises(ForbiddenError, match="size: has to be at most 5"):
        await put(database, "large", {"size": 6})


@pytest.mark.parametrize("backend", ["memory"], indirect=True)
async def test_a_large_document_is_checked(couch: Connection, database: Database) -> None:
    await couch.apply(guarded_model(database, sizes=(list[int], Field(default_factory=list))))
    await put(database, "large", {"sizes": list(range(40_000))})
    with pytest.raises(ForbiddenError, match=r"sizes\.40000: has to be a whole number"):
        await put(database, "wrong", {"sizes": [*range(40_000), "x"]})


@pytest.mark.parametrize("backend", ["memory"], indirect=True)
async def test_a_document_nested_as_deep_as_can_be_stored_is_checked(couch: Connection, database: Database) -> None:
    class Node(BaseModel):
        child: "Node | None" = None

    class Tree(CouchModel, database=database.id, guard=True):
        root: Node

    await couch.apply(Tree)
    root: dict[str, Any] = {"child": None}
    for _ in range(150):
        root = {"child": root}
    await put(database, "deep", {"root": root})
    with pytest.raises(ForbiddenError, match="child: has to be an object"):
        await put(database, "wrong", {"root": json.loads(json.dumps(root).replace("null", "5"))})


# --- replication


async def test_a_replication_keeps_the_ids_that_were_refused_and_can_send_them_again(
    couch: Connection, database: Database
) -> None:
    async with connect_elsewhere() as source:
        for id, content in (("bad", {"size": 9}), ("good", {"size": 1}), ("worse", {"size": "x"})):
            await put(source, id, content)
        await couch.apply(guarded_model(database, size=(int, Field(default=0, le=5))))
        done = await replicate(source, database)
        assert (done.docs_written, done.doc_write_failures, sorted(done.refused)) == (1, 2, ["bad", "worse"])
        assert (await replicate(source, database)).refused == ()  # the checkpoint has gone on
        again = await replicate(source, database, doc_ids=done.refused, use_checkpoints=False)
        assert sorted(again.refused) == ["bad", "worse"]

        await couch.apply(guarded_model(database, size=(int, Field(default=0, le=10))))
        again = await replicate(source, database, doc_ids=done.refused, use_checkpoints=False)
        assert (again.docs_written, again.refused) == (1, ("worse",))
        assert (await call(database, "GET", "bad"))["size"] == 9
        with pytest.raises(NotFoundError):
            await call(database, "GET", "worse")


async def test_a_continuous_replication_forgets_an_id_when_a_later_revision_is_taken(
    couch: Connection, database: Database
) -> None:
    async with connect_elsewhere() as source:
        stored = await put(source, "a", {"size": 9})
        await couch.apply(guarded_model(database, size=(int, Field(default=0, le=5))))
        async with follow(source, database) as following:
            assert (await following.wait_until_caught_up()).refused == ("a",)
            await put(source, "a", {"size": 5, "_rev": stored["rev"]})
            assert (await following.wait_until_caught_up()).refused == ()
        assert (await call(database, "GET", "a"))["size"] == 5
