"""Upgrades: documents of an older version of the schema are read as those of the newest."""

import asyncio
from collections.abc import Callable
from types import new_class
from typing import Any, ClassVar

import pytest

from couchmodel import (
    ConfigurationError,
    ConflictError,
    Connection,
    CouchModel,
    CouchModelError,
    DocumentError,
    Field,
    ForbiddenError,
    Mapped,
    Repository,
    View,
    upgrade,
    using,
)
from couchmodel._model.codec import codec
from couchmodel._wire.messages import encode
from couchmodel.engine import Database
from couchmodel.engine.document import Document
from couchmodel.sync import synchronize


class Old(CouchModel):
    """The first version, as a program has it that was not updated."""

    name: Mapped[str] = Field(default="")
    count: Mapped[int] = Field(default=0, merge="sum")
    tags: Mapped[Any] = Field(default="")


class Item(CouchModel, version=3):
    name: Mapped[str] = Field(default="")
    amount: Mapped[int] = Field(default=0, ge=0, merge="sum")
    tags: Mapped[set[str]] = Field(default_factory=set)

    by_name: ClassVar = View[str, None, None]("name")

    @upgrade(to=3)
    @staticmethod
    def split_tags(stored: dict[str, Any]) -> None:
        stored["tags"] = stored["tags"].split()

    @upgrade(to=2)
    @staticmethod
    def rename_count(stored: dict[str, Any]) -> None:
        stored["amount"] = stored.pop("count")


class Animal(CouchModel, type="animal", version=2):
    name: Mapped[str]

    @upgrade(to=2)
    @staticmethod
    def add_name(stored: dict[str, Any]) -> None:
        stored.setdefault("name", "nameless")


class Cat(Animal, type="cat", version=3):
    lives: Mapped[int]

    @upgrade(to=3)
    @staticmethod
    def add_lives(stored: dict[str, Any]) -> None:
        stored["lives"] = 9


FIRST = {"name": "Nails", "count": 4, "tags": "a b", "other": [1]}
SECOND = {"name": "Nails", "amount": 4, "tags": "a b", "schema_version": 2}


async def store(database: Database, id: str, data: dict[str, Any]) -> Document:
    document = await database.create(id, data=data)
    await document.save()
    return document


@pytest.fixture
async def items(database: Database) -> Repository[Item]:
    """A database with three documents, one of each version."""
    await store(database, "1", FIRST)
    await store(database, "2", SECOND)
    await Repository(Item, database).save(Item(id="3", name="Nails", amount=4, tags={"a", "b"}))
    return Repository(Item, database)


async def test_each_way_to_read_a_document_upgrades_it(items: Repository[Item], couch: Connection) -> None:
    await items.apply()
    found = [await items.get("1"), *[each for each in await items.get_many(["1", "2", "3"]) if each is not None]]
    found += await items.find(Item.name == "Nails")
    found += [each async for each in items.view(Item.by_name).docs()]
    assert [(each.amount, each.tags) for each in found] == [(4, {"a", "b"})] * 10
    assert not any(each.is_changed for each in found)


async def test_an_upgraded_document_is_stored_only_when_it_is_changed(items: Repository[Item]) -> None:
    item = await items.get("1")
    rev = item.rev
    await items.save(item)
    assert (item.rev, (await items.database["1"]).json["count"]) == (rev, 4)
    item.amount += 1
    await items.save(item)
    stored = (await items.database["1"]).json
    assert stored.pop("change_id")  # since a field is merged by its sum
    assert stored == {
        "schema_version": 3,
        "name": "Nails",
        "amount": 5,
        "tags": ["a", "b"],
        "other": [1],
    }


async def test_a_form_of_an_older_document_is_saved_without_a_load(items: Repository[Item]) -> None:
    rev = (await items.database["1"]).rev
    await items.save(Item(id="1", rev=rev, name="Screws", amount=4, tags={"a", "b"}))
    stored = (await items.database["1"]).json
    assert (stored["name"], stored["other"], "count" in stored) == ("Screws", [1], False)


async def test_an_upgraded_document_keeps_its_attachments(items: Repository[Item]) -> None:
    document = await items.database["1"]
    await document.attachment("note.txt").save(b"rusty", "text/plain")
    item = await items.get("1")
    item.amount = 9
    await items.save(item)
    assert await (await items.database["1"]).attachment("note.txt").fetch() == b"rusty"


# --- migration


async def test_a_migration_stores_what_is_older_and_nothing_else(items: Repository[Item]) -> None:
    report = await items.migrate()
    assert (report.upgraded, report.failed) == (2, [])
    assert (await items.database["1"]).json["amount"] == 4
    assert (await items.migrate()).upgraded == 0


async def test_a_migration_names_what_cannot_be_upgraded_and_goes_on(items: Repository[Item]) -> None:
    await store(items.database, "0", {"name": "broken"})
    report = await items.migrate()
    assert (report.upgraded, report.failed) == (2, ["0"])
    assert "rename_count" in str(report.errors[0])


async def test_a_query_can_leave_out_what_cannot_be_upgraded(items: Repository[Item]) -> None:
    await store(items.database, "0", {"name": "broken"})
    query = items.find(on_invalid="collect")
    assert [each.id for each in await query] == ["1", "2", "3"]
    assert [each.document_id for each in query.errors] == ["0"]


async def test_a_migration_that_was_stopped_goes_on(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    items = Repository(Item, database)
    async with database.create_docs() as batch:
        for n in range(1200):
            batch.create(f"{n:04}", FIRST)
    write, calls = items._write_many, list[int]()

    async def stop(sent: Any) -> Any:
        if calls:
            raise asyncio.CancelledError
        calls.append(len(sent))
        return await write(sent)

    monkeypatch.setattr(items, "_write_many", stop)
    with pytest.raises(asyncio.CancelledError):
        await items.migrate()
    monkeypatch.undo()
    assert (await items.migrate()).upgraded == 1200 - sum(calls) > 0


async def test_a_migration_looks_again_at_what_an_old_program_changes_meanwhile(
    items: Repository[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = items._write_many, list[int]()

    async def late(sent: Any) -> Any:
        if not calls:
            calls.append(1)
            async with Repository(Old, items.database).edit("1") as old:
                old.count += 1
        return await write(sent)

    monkeypatch.setattr(items, "_write_many", late)
    report = await items.migrate()
    assert (report.upgraded, report.failed) == (2, [])
    assert (await items.database["1"]).json["amount"] == 5


@pytest.mark.parametrize("error", [ForbiddenError("a rule"), ConflictError("changed")])
async def test_a_migration_names_what_the_database_refuses_and_goes_on(
    items: Repository[Item], monkeypatch: pytest.MonkeyPatch, error: CouchModelError
) -> None:
    write = items._write_many

    async def refuse_first(sent: list[tuple[Item, bytes]]) -> Any:
        refused = [(document, error) for document, _ in sent if document.id == "1"]
        return refused + await write([each for each in sent if each[0].id != "1"])

    monkeypatch.setattr(items, "_write_many", refuse_first)
    report = await items.migrate()
    assert (report.upgraded, report.failed, report.errors) == (1, ["1"], [error])


async def test_a_plan_counts_the_documents_of_older_versions(items: Repository[Item], couch: Connection) -> None:
    with using(items.database):
        assert "2 stored documents of Item are of an older version" in str(await couch.plan(Item))
        await items.migrate()
        assert "older version" not in str(await couch.plan(Item))


# --- old and new programs at once


async def test_the_edits_of_an_old_program_are_merged_by_a_new_one(items: Repository[Item]) -> None:
    async with items.edit("1") as item:
        item.amount += 3
        async with Repository(Old, items.database).edit("1") as old:
            old.count += 2
            old.tags += " c"
    item = await items.get("1")
    assert (item.amount, item.tags) == (9, {"a", "b", "c"})


async def test_an_old_program_does_not_merge_with_a_version_that_it_does_not_know(items: Repository[Item]) -> None:
    olds = Repository(Old, items.database)
    old = await olds.get("1")
    old.count += 2
    async with items.edit("1") as item:
        item.amount += 3
    with pytest.raises(ConflictError, match="version 3") as caught:
        await olds.save(old)
    assert caught.value.fields == {"count"}
    with pytest.raises(ConfigurationError, match="newer program"):
        caught.value.merged(prefer="mine")
    assert (await items.get("1")).amount == 7


async def test_an_edit_of_an_old_program_ends_with_that_conflict(items: Repository[Item]) -> None:
    async def edit_both() -> None:
        async with Repository(Old, items.database).edit("1") as old:
            old.count += 2
            async with items.edit("1") as item:
                item.amount += 3

    with pytest.raises(ConflictError, match="newer program"):
        await edit_both()
    assert (await items.get("1")).amount == 7


class Second(CouchModel, version=2):
    name: Mapped[str] = Field(default="")


async def test_a_document_of_a_newer_version_keeps_it(items: Repository[Item]) -> None:
    seconds = Repository(Second, items.database)
    second = await seconds.get("3")
    second.name = "Screws"
    await seconds.save(second)
    assert (await items.database["3"]).json["schema_version"] == 3
    assert (await seconds.migrate()).upgraded == 1  # only that of version 1
    assert (await items.get("3")).amount == 4


async def test_a_document_of_a_newer_version_that_does_not_fit_says_so(database: Database) -> None:
    await store(database, "4", {"amount": "many", "schema_version": 4})
    with pytest.raises(DocumentError, match="version 4 of the schema, and this program knows version 3"):
        await Repository(Item, database).get("4")


async def test_versions_of_a_conflict_are_upgraded(items: Repository[Item], couch: Connection) -> None:
    there = await couch.create(f"{items.database.id}-there", q=1)
    await synchronize(items.database, there)
    async with Repository(Old, there).edit("1") as old:
        old.count += 2
    async with items.edit("1") as item:
        item.amount += 3
    await synchronize(items.database, there)
    olds = Repository(Old, items.database)
    with pytest.raises(ConflictError, match="newer program"):
        await olds.resolve(await olds.get("1"))
    item = await items.get("1")
    assert {item.amount, *(each.amount for each in await items.conflicts(item))} == {6, 7}
    others = Repository(Item, there)
    other = await others.get("1")
    await items.resolve(item)
    await others.resolve(other)
    assert (item.amount, item.rev, await items.conflicts(item)) == (9, other.rev, [])
    await there.delete()


# --- several types


async def test_each_type_has_upgrades_of_its_own(database: Database) -> None:
    await store(database, "a", {"type": "animal"})
    await store(database, "c", {"type": "cat"})
    await store(database, "d", {"type": "cat", "name": "Tom", "schema_version": 2})
    animals = Repository(Animal, database)
    await animals.save(Cat(id="e", name="Kit", lives=8))
    found = await animals.find().sort("id")
    assert [(type(each), each.name) for each in found] == [
        (Animal, "nameless"),
        (Cat, "nameless"),
        (Cat, "Tom"),
        (Cat, "Kit"),
    ]
    assert [each.lives for each in found if isinstance(each, Cat)] == [9, 9, 8]
    assert (await animals.migrate()).upgraded == 3


# --- what an upgrade may do


def model_of(step: Callable[[dict[str, Any]], Any]) -> type[CouchModel]:
    class Thing(CouchModel, version=2):
        size: Mapped[int] = Field(default=0)

        change = upgrade(to=2)(staticmethod(step))

    return Thing


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (lambda stored: stored.__setitem__("size", stored.pop("gone")), "raised KeyError: 'gone'"),
        (lambda stored: {"size": 1}, "returned dict"),
        (lambda stored: stored.__setitem__("size", object()), "no JSON"),
        (lambda stored: stored.__setitem__("size", float("nan")), "no JSON"),
    ],
)
def test_an_upgrade_that_fails_names_the_document(step: Any, said: str) -> None:
    with pytest.raises(DocumentError, match="Thing 'x' cannot be upgraded") as caught:
        codec.load(model_of(step), b'{"_id":"x","_rev":"1-a"}')
    assert said in str(caught.value)
    assert caught.value.document_id == "x"


def test_an_upgrade_that_fails_names_the_versions() -> None:
    with pytest.raises(DocumentError, match=r"from version 1 to 3: rename_count\(\), the upgrade to version 2, raised"):
        codec.load(Item, b'{"_id":"x"}')


def test_an_upgrade_does_not_change_what_is_couchdbs() -> None:
    thing = codec.load(model_of(lambda stored: stored.clear()), b'{"_id":"x","_rev":"1-a","size":3}')
    assert (thing.id, thing.rev, thing.size) == ("x", "1-a", 0)  # type: ignore[attr-defined]


@pytest.mark.parametrize("version", ["2", None, True, 0, 1.5, [], {}])
def test_a_version_that_is_no_number_is_refused(version: Any) -> None:
    with pytest.raises(DocumentError, match="schema_version"):
        codec.load(Item, encode({"_id": "x", "schema_version": version}))


@pytest.mark.parametrize(
    "body",
    [
        b'{"_id":"x","schema_version":3,"amount":1}',
        b'{"amount":1,"schema_version":3.0,"_id":"x"}',
        b'{"_id":"a\\"b","_rev":"1-a","schema_version":3,"amount":1}',
        b'{"_id":"x","schema_version":12,"amount":1}',
    ],
)
def test_a_document_of_the_newest_version_is_not_upgraded(body: bytes) -> None:
    assert codec.load(Item, body).amount == 1


@pytest.mark.parametrize("body", [b'{"_id":"x","type":[]}', b'{"_id":"x","type":{}}', b"[]", b"5", b"{", b'{"_id":5}'])
@pytest.mark.parametrize("model", [Animal, Item])
def test_what_is_no_document_of_the_model_is_told_by_its_validation(model: type[CouchModel], body: bytes) -> None:
    with pytest.raises(DocumentError):
        codec.load(model, body)


def test_the_version_of_an_embedded_object_does_not_count() -> None:
    body = b'{"_id":"x","other":{"schema_version":3},"count":2,"tags":""}'
    assert codec.load(Item, body).amount == 2


# --- declarations


def declare(version: int | None, *steps: int) -> None:
    members = {f"to_{n}": upgrade(to=to)(staticmethod(lambda stored: None)) for n, to in enumerate(steps)}
    new_class("Thing", (CouchModel,), {"version": version}, lambda namespace: namespace.update(members))


@pytest.mark.parametrize(
    ("version", "steps", "said"),
    [
        (3, [3], "no upgrade to version 2"),
        (4, [2, 4], "no upgrade to version 3"),
        (3, [2], "no upgrade to version 3"),
        (2, [2, 2], r"to_0\(\) and to_1\(\) both upgrade to version 2"),
        (2, [2, 3], r"to_1\(\) upgrades to version 3, and the class is of version 2"),
        (None, [2], r"of version 1: write version=2"),
    ],
)
def test_upgrades_that_do_not_lead_to_the_version_are_refused(version: int | None, steps: list[int], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        declare(version, *steps)


@pytest.mark.parametrize("to", [1, 0, True, "2", 2.0, None])
def test_the_version_of_an_upgrade_is_a_number(to: Any) -> None:
    with pytest.raises(ConfigurationError, match="from 2"):
        upgrade(to=to)


def test_an_upgrade_is_a_static_method() -> None:
    members = {"change": upgrade(to=2)(lambda stored: None)}
    with pytest.raises(ConfigurationError, match="@staticmethod"):
        new_class("Thing", (CouchModel,), {"version": 2}, lambda namespace: namespace.update(members))


def test_an_upgrade_is_not_asynchronous() -> None:
    async def change(stored: dict[str, Any]) -> None: ...

    with pytest.raises(ConfigurationError, match="asynchronous"):
        upgrade(to=2)(staticmethod(change))


def test_a_property_is_no_upgrade() -> None:
    with pytest.raises(ConfigurationError, match="static method"):
        upgrade(to=2)(property(lambda self: None))  # type: ignore[type-var]


def test_the_decorators_may_stand_in_either_order() -> None:
    class Thing(CouchModel, version=2):
        size: Mapped[int] = Field(default=0)

        @staticmethod
        @upgrade(to=2)
        def change(stored: dict[str, Any]) -> None:
            stored["size"] = 7

    assert codec.load(Thing, b'{"_id":"x"}').size == 7
    stored: dict[str, Any] = {}
    Thing.change(stored)
    assert stored == {"size": 7}
