"""Soft deletion: tombstones that keep their document, with remarks, and documents that are restored from them."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from types import new_class
from typing import Any, ClassVar

import pytest
from pydantic import ConfigDict, create_model

from couchmodel import (
    Attachment,
    BackLink,
    ConfigurationError,
    ConflictError,
    Connection,
    CouchModel,
    DocumentError,
    Field,
    Link,
    Mapped,
    NotFoundError,
    QueryError,
    Repository,
    SoftDelete,
    Timestamps,
    View,
    attachment,
    before_delete,
    upgrade,
)
from couchmodel._wire.messages import Request, encode
from couchmodel.engine import Database
from couchmodel.sync import synchronize


class Item(SoftDelete, CouchModel, type="item"):
    name: Mapped[str] = Field(default="")
    amount: Mapped[int] = Field(default=0)
    photo: Attachment = attachment()

    by_name: ClassVar = View[str, None, int]("name", reduce="_count")


class Tool(Item, type="tool"):
    size: Mapped[int]


class Plain(CouchModel, type="plain"):
    name: Mapped[str] = Field(default="")


class Untyped(CouchModel):
    name: Mapped[str] = Field(default="")


class Animal(CouchModel, type="animal"):
    pass


class Cat(SoftDelete, Animal, type="cat"):
    lives: Mapped[int]


class Shelf(SoftDelete, Timestamps, type="shelf"):
    boxes: ClassVar[BackLink["Box"]] = BackLink("shelf", on_delete="delete")


class Box(SoftDelete, CouchModel, type="box"):
    shelf: Link[Shelf]


@pytest.fixture
async def items(database: Database) -> Repository[Item]:
    """A database with two items, a tool, and a document of another model."""
    items = Repository(Item, database)
    await items.apply()
    await items.save_all([Item(id="nails", name="Nails", amount=7), Item(id="bolts", name="Bolts")])
    await items.save(Tool(id="saw", name="Saw", size=3))
    await Repository(Plain, database).save(Plain(id="plain", name="Nails"))
    return items


async def deleted(items: Repository[Any]) -> dict[str, dict[str, Any]]:
    return {each.id: each.remarks async for each in items.deleted()}


# --- what a deletion keeps


async def test_a_tombstone_keeps_the_document_and_the_remarks(items: Repository[Item]) -> None:
    nails = await items.get("nails")
    await nails.delete(reason="sold out", by=["ada"])
    assert nails.rev is None
    (gone,) = [each async for each in items.deleted()]
    assert (gone.id, gone.document.name, gone.document.amount) == ("nails", "Nails", 7)
    assert gone.remarks == {"reason": "sold out", "by": ["ada"]}
    assert gone.rev.startswith("2-")
    assert (gone.document.rev, gone.document.is_changed) == (None, True)


async def test_a_tombstone_keeps_what_is_stored_and_what_the_model_does_not_know(items: Repository[Item]) -> None:
    document = await items.database["nails"]
    document["other"] = [1]
    await document.save()
    nails = await items.get("nails")
    nails.amount = 99  # not saved
    await items.delete(nails)
    restored = await items.restore("nails")
    assert restored.amount == 7
    assert (await items.database["nails"])["other"] == [1]


async def test_what_is_deleted_is_seen_by_nothing_else(items: Repository[Item]) -> None:
    await (await items.get("nails")).delete()
    assert await items.get_or_none("nails") is None
    assert await items.get_many(["nails"]) == [None]
    assert await items.find(Item.name == "Nails").count() == 0
    assert await items.view(Item.by_name).total() == 2
    assert [each async for each in items.view(Item.by_name).rows(key="Nails")] == []
    with pytest.raises(NotFoundError):
        await items.get("nails")


async def test_each_way_to_delete_keeps_the_document(items: Repository[Item]) -> None:
    assert await items.find(Item.amount == 7).delete() == 1
    async with items.edit("bolts") as bolts:
        await bolts.delete(reason="rust")
    await items.delete(await items.get("saw"), by="ada")
    assert await deleted(items) == {"nails": {}, "bolts": {"reason": "rust"}, "saw": {"by": "ada"}}
    assert isinstance(await items.restore("saw"), Tool)
    assert (await items.restore("nails")).amount == 7


async def test_many_are_deleted_by_a_query(items: Repository[Item]) -> None:
    await items.save_all([Item(id=f"{n:04}", name="many", amount=n) for n in range(1100)])
    assert await items.find(Item.name == "many").delete() == 1100
    assert len(await deleted(items)) == 1100
    assert (await items.restore("1099")).amount == 1099


async def test_a_query_does_not_delete_what_has_changed_meanwhile(
    items: Repository[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    get_many, changed = items.get_many, list[int]()

    async def change_first(ids: Any) -> Any:
        if not changed:
            changed.append(1)
            await items.find(Item.name == "Nails").update(Item.amount.set(1))
        return await get_many(ids)

    monkeypatch.setattr(items, "get_many", change_first)
    assert await items.find(Item.amount == 7).delete() == 0
    assert (await items.get("nails")).amount == 1


async def test_delete_rules_keep_what_they_delete(database: Database) -> None:
    shelves, boxes = Repository(Shelf, database), Repository(Box, database)
    await shelves.save(Shelf(id="s"))
    await boxes.save(Box(id="b", shelf="s"))
    await (await shelves.get("s")).delete(reason="moved")
    assert await deleted(shelves) == {"s": {"reason": "moved"}}
    assert await deleted(boxes) == {"b": {}}
    await boxes.restore("b")
    assert (await boxes.get("b")).shelf.id == "s"


async def test_a_document_that_was_not_loaded_is_kept_whole(items: Repository[Item]) -> None:
    rev = (await items.get("nails")).rev
    await items.delete(Item(id="nails", rev=rev, name="from a form"))
    assert (await items.restore("nails")).name == "Nails"


async def test_a_type_may_be_kept_where_its_base_is_not(database: Database) -> None:
    animals = Repository(Animal, database)
    await animals.save_all([Animal(id="a"), Cat(id="c", lives=9)])
    assert await animals.find().delete() == 2
    assert await deleted(animals) == {"c": {}}
    restored = await animals.restore("c")
    assert isinstance(restored, Cat)
    assert restored.lives == 9


async def test_a_class_may_have_a_deletion_of_its_own(database: Database) -> None:
    class Signed(SoftDelete, CouchModel):
        async def delete(self, /, **remarks: Any) -> None:
            await super().delete(**remarks, by="ada")

    signed = Repository(Signed, database)
    await signed.save_all([Signed(id="a"), Signed(id="b"), Signed(id="c")])
    await (await signed.get("a")).delete(reason="old")
    await signed.delete_all([await signed.get("b")], remarks={"reason": "older"})
    assert await signed.find().delete() == 1
    assert await deleted(signed) == {
        "a": {"reason": "old", "by": "ada"},
        "b": {"reason": "older", "by": "ada"},
        "c": {"by": "ada"},
    }


async def test_a_deletion_of_its_own_is_used_by_rules_of_links(database: Database) -> None:
    class Marked(Box, type="marked"):
        async def delete(self, /, **remarks: Any) -> None:
            await super().delete(**remarks, by="rule")

    shelves, marked = Repository(Shelf, database), Repository(Marked, database)
    shelf = Shelf(id="s")
    await shelves.save(shelf)
    await marked.save(Marked(id="m", shelf=shelf))
    await shelves.delete(shelf)
    assert await deleted(marked) == {"m": {"by": "rule"}}


async def test_hooks_run_around_it(database: Database) -> None:
    class Kept(SoftDelete, CouchModel, type="kept"):
        @before_delete
        def refuse(self) -> None:
            raise ValueError("it is kept")

    kept = Repository(Kept, database)
    await kept.save(Kept(id="k"))
    with pytest.raises(ValueError, match="it is kept"):
        await (await kept.get("k")).delete()
    assert await deleted(kept) == {}


async def test_a_deletion_of_another_revision_is_a_conflict(items: Repository[Item]) -> None:
    first, second = await items.get("nails"), await items.get("nails")
    first.amount = 8
    await first.save()
    with pytest.raises(ConflictError) as caught:
        await second.delete(reason="old")
    assert (caught.value.mine, caught.value.theirs.amount) == (second, 8)
    assert await deleted(items) == {}


@pytest.mark.parametrize("model", [Item, Plain, Untyped])
async def test_a_deletion_that_was_cancelled_can_be_repeated(
    database: Database, lost: Callable[[BaseException], None], model: type[CouchModel]
) -> None:
    documents = Repository(model, database)
    document, other = model(id="a"), model(id="b")
    await documents.save_all([document, other])
    lost(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await documents.delete(document)
    await documents.delete(document)
    assert (document.rev, await documents.get_or_none("a")) == (None, None)
    await (await documents.get("b")).delete()
    with pytest.raises(NotFoundError, match="deleted"):
        await documents.delete(other)


async def test_an_upgraded_document_is_kept_in_the_newest_version(database: Database) -> None:
    class Thing(SoftDelete, CouchModel, version=2):
        amount: Mapped[int] = Field(default=0)

        @upgrade(to=2)
        @staticmethod
        def rename(stored: dict[str, Any]) -> None:
            stored["amount"] = stored.pop("count")

    things = Repository(Thing, database)
    await (await database.create("t", data={"count": 5})).save()
    await (await things.get("t")).delete()
    (gone,) = [each async for each in things.deleted()]
    assert gone.document.amount == 5
    assert (await things.restore("t")).amount == 5
    assert (await database["t"])["schema_version"] == 2


# --- tombstones


async def test_only_tombstones_of_the_model_that_have_kept_something_are_given(items: Repository[Item]) -> None:
    plain = await Repository(Plain, items.database).get("plain")
    await plain.delete()
    await (await items.database["nails"]).delete()
    await (await items.get("saw")).delete()
    assert list(await deleted(items)) == ["saw"]
    assert list(await deleted(Repository(Tool, items.database))) == ["saw"]
    assert await deleted(Repository(Plain, items.database)) == {}


async def test_a_tombstone_that_does_not_fit_is_told_or_left_out(items: Repository[Item]) -> None:
    for id, amount in [("a", "many"), ("b", 3)]:
        document = await items.database.create(id, data={"type": "item", "amount": amount})
        await document.save()
        data = {"type": "item", "amount": amount, "_rev": document.rev, "_deleted": True, "deletion_remarks": {}}
        await items.database.session.send(Request("PUT", (*items.database.path, id), body=encode(data)))
    with pytest.raises(DocumentError, match="'a'"):
        await deleted(items)
    assert [each.id async for each in items.deleted(on_invalid="skip")] == ["b"]


@pytest.mark.parametrize("remarks", ["broken", 5, ["broken"]])
async def test_remarks_that_another_program_wrote_as_no_object_are_a_misfit(
    items: Repository[Item], remarks: Any
) -> None:
    await (await items.get("nails")).delete(reason="old")
    odd = encode({"_deleted": True, "type": "item", "deletion_remarks": remarks})
    await items.database.session.send(Request("PUT", (*items.database.path, "odd"), body=odd))
    with pytest.raises(DocumentError, match="the tombstone of Item 'odd' cannot be read"):
        await deleted(items)
    assert [each.id async for each in items.deleted(on_invalid="skip")] == ["nails"]
    assert (await items.restore("odd")).name == ""
    wrong: Any = "ignore"
    with pytest.raises(QueryError, match="on_invalid is 'raise' or 'skip', not 'ignore'"):
        await anext(items.deleted(on_invalid=wrong))


async def test_a_model_that_allows_more_members_does_not_see_the_remarks(database: Database) -> None:
    class Open(SoftDelete, CouchModel):
        model_config = ConfigDict(extra="allow")

    opens = Repository(Open, database)
    await opens.save(Open.model_validate({"id": "o", "more": 1}))
    await (await opens.get("o")).delete(by="ada")
    (gone,) = [each async for each in opens.deleted()]
    assert gone.document.model_extra == {"more": 1}
    assert (await opens.restore("o")).model_extra == {"more": 1}


async def test_a_tombstone_is_replicated_with_its_document(items: Repository[Item], couch: Connection) -> None:
    nails = await items.get("nails")
    await nails.photo.save(b"rusty" * 5000, "image/png")
    await nails.delete(by="ada")
    there = await couch.create(f"{items.database.id}-there", q=1)
    await synchronize(items.database, there)
    others = Repository(Item, there)
    assert await deleted(others) == {"nails": {"by": "ada"}}
    assert await (await others.restore("nails")).photo.fetch() == b"rusty" * 5000
    await there.delete()


# --- restoring


async def test_a_restored_document_has_its_attachments(items: Repository[Item]) -> None:
    nails = await items.get("nails")
    content = bytes(range(256)) * 9000
    await nails.photo.save(content, "image/png")
    document = await items.database["nails"]
    await document.attachment("empty").save(b"", "text/plain")
    await document.attachment("ä/b.txt").save(b"text " * 1000, "text/plain")
    await (await items.get("nails")).delete()
    restored = await items.restore("nails")
    assert await restored.photo.fetch() == content
    assert restored.photo.content_type == "image/png"
    document = await items.database["nails"]
    assert await document.attachment("empty").fetch() == b""
    assert await document.attachment("ä/b.txt").fetch() == b"text " * 1000


async def test_a_document_can_be_deleted_and_restored_again_and_again(items: Repository[Item]) -> None:
    for n in range(3):
        nails = await items.get("nails")
        await nails.delete(n=n)
        assert (await deleted(items))["nails"] == {"n": n}
        assert (await items.restore("nails")).rev is not None
    assert await deleted(items) == {}


async def test_the_document_of_a_tombstone_can_be_saved(items: Repository[Item]) -> None:
    await (await items.get("nails")).delete()
    (gone,) = [each async for each in items.deleted()]
    gone.document.amount = 3
    await items.save(gone.document)
    assert (await items.get("nails")).amount == 3


async def test_what_is_not_deleted_is_not_restored(items: Repository[Item]) -> None:
    with pytest.raises(ConflictError, match="not deleted"):
        await items.restore("nails")
    with pytest.raises(NotFoundError):
        await items.restore("unknown")
    await (await items.database["nails"]).delete()
    with pytest.raises(NotFoundError, match="kept nothing"):
        await items.restore("nails")


async def test_one_of_two_programs_that_restore_at_once_is_refused(items: Repository[Item]) -> None:
    await (await items.get("nails")).delete()
    results = await asyncio.gather(*(items.restore("nails") for _ in range(2)), return_exceptions=True)
    assert sum(isinstance(each, ConflictError) for each in results) <= 1
    assert (await items.get("nails")).amount == 7


async def test_a_document_of_another_model_is_not_restored(items: Repository[Item]) -> None:
    await (await items.get("nails")).delete()
    with pytest.raises(DocumentError, match="type"):
        await Repository(Shelf, items.database).restore("nails")


async def test_the_tombstone_that_has_kept_the_document_is_found_among_those_of_branches(
    items: Repository[Item], couch: Connection
) -> None:
    there = await couch.create(f"{items.database.id}-there", q=1)
    await synchronize(items.database, there)
    for database, amount in ((items.database, 10), (there, 20)):
        async with Repository(Item, database).edit("nails") as nails:
            nails.amount = amount
    await synchronize(items.database, there)
    nails = await items.get("nails")
    (other,) = await items.conflicts(nails)
    await nails.delete(reason="soft")
    session = items.database.session
    await session.send(Request("DELETE", (*items.database.path, "nails"), {"rev": str(other.rev)}))
    assert (await items.restore("nails")).amount == nails.amount
    await there.delete()


# --- declarations and remarks


def test_soft_deletion_stands_first() -> None:
    with pytest.raises(ConfigurationError, match=r"class Wrong\(SoftDelete, CouchModel\)"):
        new_class("Wrong", (CouchModel, SoftDelete))


def test_soft_deletion_is_no_model_by_itself() -> None:
    with pytest.raises(ConfigurationError, match=r"class Wrong\(SoftDelete, CouchModel, …\)"):
        new_class("Wrong", (SoftDelete,), {"database": "tools"})


def test_the_name_of_the_remarks_is_taken() -> None:
    with pytest.raises(ConfigurationError, match="the remarks of a deletion"):
        create_model("Wrong", __base__=Item, deletion_remarks=(str, ""))


@pytest.mark.parametrize("remark", [object(), float("nan"), {1, object()}])
async def test_remarks_are_json(items: Repository[Item], remark: Any) -> None:
    nails = await items.get("nails")
    with pytest.raises(DocumentError, match="remarks that are no JSON"):
        await nails.delete(at=remark)
    assert nails.rev == (await items.get("nails")).rev


async def test_remarks_may_have_any_name(items: Repository[Item]) -> None:
    await (await items.get("nails")).delete(document=1, self=2, at=datetime(2030, 1, 1, tzinfo=UTC))
    assert (await deleted(items))["nails"] == {"document": 1, "self": 2, "at": "2030-01-01T00:00:00Z"}


async def test_a_model_that_keeps_nothing_takes_no_remarks(items: Repository[Item]) -> None:
    plains = Repository(Plain, items.database)
    plain = await plains.get("plain")
    with pytest.raises(ConfigurationError, match="Plain keeps no remarks"):
        await plains.delete(plain, reason="x")


async def test_a_deletion_of_many_may_have_remarks(items: Repository[Item]) -> None:
    assert await items.find(Item.name == "Nails").delete(reason="recall") == 1
    others = [each async for each in items.find()]
    await items.delete_all(others, remarks={"by": "ada"})
    assert await deleted(items) == {"nails": {"reason": "recall"}, "bolts": {"by": "ada"}, "saw": {"by": "ada"}}
    plains = Repository(Plain, items.database)
    with pytest.raises(ConfigurationError, match="keeps no remarks"):
        await plains.find().delete(reason="x")
    with pytest.raises(ConfigurationError, match="keeps no remarks"):
        await plains.delete_all([await plains.get("plain")], remarks={"reason": "x"})
