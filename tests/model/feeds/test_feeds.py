"""The changes of the documents of a model."""

import asyncio
import logging
from contextlib import aclosing, suppress
from typing import Any, ClassVar

import pytest

from couchmodel import (
    BadRequestError,
    Change,
    ChangeFeed,
    CouchModel,
    DocumentError,
    Field,
    Mapped,
    NotFoundError,
    QueryError,
    Repository,
    SoftDelete,
    View,
    upgrade,
    using,
)
from couchmodel._wire.messages import Request
from couchmodel.engine import Database


class Item(SoftDelete, CouchModel, type="item", database="items"):
    name: Mapped[str] = Field(default="")
    amount: Mapped[int] = Field(default=0)

    by_name: ClassVar = View[str, None, None]("name")


class Tool(Item, type="tool"):
    size: Mapped[int]


class Other(CouchModel, type="other"):
    name: Mapped[str] = Field(default="")


class Anything(CouchModel):
    name: Mapped[str] = Field(default="")


@pytest.fixture
async def items(database: Database) -> Repository[Item]:
    """A database with a view, two items, a tool, and a document of another model."""
    items = Repository(Item, database)
    await items.apply()
    for document in (Item(id="a", amount=1), Tool(id="b", size=2), Item(id="c", amount=3)):
        await items.save(document)
    await Repository(Other, database).save(Other(id="x"))
    return items


async def read(feed: ChangeFeed[Any]) -> list[Change[Any]]:
    return [each async for each in feed]


async def take(feed: ChangeFeed[Any], count: int) -> list[str]:
    async with asyncio.timeout(20):
        return [(await anext(feed)).id for _ in range(count)]


async def put(database: Database, id: str, body: bytes) -> None:
    await database.session.send(Request("PUT", (*database.path, id), body=body))


# --- what is given


async def test_changes_are_those_of_the_model(items: Repository[Item]) -> None:
    changes = await read(items.changes(live=False))
    assert [(each.id, type(each.document), each.deleted) for each in changes] == [
        ("a", Item, False),
        ("b", Tool, False),
        ("c", Item, False),
    ]
    assert changes[0].document is not None
    assert changes[0].rev == changes[0].document.rev
    assert not changes[0].document.is_changed


async def test_a_model_without_a_type_sees_all_but_design_documents(items: Repository[Item]) -> None:
    anything = Repository(Anything, items.database)
    assert [each.id for each in await read(anything.changes(live=False))] == ["a", "b", "c", "x"]


async def test_the_class_gives_those_of_its_database(items: Repository[Item]) -> None:
    with using(items.database):
        assert [each.id async for each in Tool.changes(live=False)] == ["b"]


async def test_the_document_of_a_change_can_be_saved(items: Repository[Item]) -> None:
    change = await anext(items.changes(live=False))
    assert change.document is not None
    change.document.amount = 9
    await change.document.save()
    assert (await items.get("a")).amount == 9


async def test_a_deletion_has_the_document_of_the_tombstone_or_none(items: Repository[Item]) -> None:
    await (await items.get("a")).delete(reason="sold")
    await (await Repository(Other, items.database).get("x")).delete()
    (gone,) = [each for each in await read(items.changes(live=False)) if each.deleted]
    assert gone.document is not None
    assert (gone.id, gone.document.amount, gone.document.rev) == ("a", 1, None)
    (other,) = await read(Repository(Other, items.database).changes(live=False))
    assert (other.id, other.deleted, other.document) == ("x", True, None)


async def test_conditions_choose(items: Repository[Item]) -> None:
    await (await items.get("c")).delete()
    changes = await read(items.changes(Item.amount >= 1, {"amount": {"$lt": 9}}, live=False))
    assert [(each.id, each.deleted) for each in changes] == [("a", False), ("c", True)]


async def test_documents_of_older_versions_are_upgraded(database: Database) -> None:
    class Thing(CouchModel, version=2):
        amount: Mapped[int] = Field(default=0)

        @upgrade(to=2)
        @staticmethod
        def rename(stored: dict[str, Any]) -> None:
            stored["amount"] = stored.pop("count")

    await put(database, "t", b'{"count":5}')
    (change,) = await read(Repository(Thing, database).changes(live=False))
    assert change.document is not None
    assert change.document.amount == 5


# --- where it begins and ends


async def test_a_feed_goes_on_from_a_sequence(items: Repository[Item]) -> None:
    changes = await read(items.changes(live=False))
    assert [each.id for each in await read(items.changes(since=changes[0].seq, live=False))] == ["b", "c"]
    feed = items.changes(live=False)
    await read(feed)
    assert feed.last_seq is not None
    await items.save(Item(id="d"))
    assert [each.id for each in await read(items.changes(since=feed.last_seq, live=False))] == ["d"]


async def test_a_feed_from_now_has_no_old_changes(items: Repository[Item]) -> None:
    assert await read(items.changes(since="now", live=False)) == []


async def test_a_live_feed_waits_for_changes(items: Repository[Item]) -> None:
    async with aclosing(items.changes()) as feed:
        assert await take(feed, 3) == ["a", "b", "c"]
        await Repository(Other, items.database).save(Other(id="y"))
        await items.save(Item(id="d"))
        assert await take(feed, 1) == ["d"]


async def test_a_wait_can_be_cancelled_and_the_next_one_goes_on(items: Repository[Item]) -> None:
    async with aclosing(items.changes()) as feed:
        await take(feed, 3)
        waiting = asyncio.ensure_future(anext(feed))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await items.save(Item(id="d"))
        assert await take(feed, 1) == ["d"]


async def test_a_feed_ends_when_the_database_is_deleted(items: Repository[Item]) -> None:
    async with aclosing(items.changes()) as feed:
        await take(feed, 3)
        await items.database.delete()
        with pytest.raises(NotFoundError):
            await take(feed, 1)


async def test_a_missing_database_is_told_with_the_advice(items: Repository[Item]) -> None:
    await items.database.delete()
    with pytest.raises(NotFoundError, match=r"couch\.apply\(Item\)"):
        await read(items.changes(live=False))


# --- documents that cannot be read


@pytest.fixture
async def broken(items: Repository[Item]) -> Repository[Item]:
    """The same with two documents that cannot be read, and one behind them."""
    await put(items.database, "bad", b'{"type":"item","amount":"many"}')
    for depth in (400, *range(200, 190, -1)):  # as deep as the server takes
        with suppress(BadRequestError):
            await put(items.database, "deep", b'{"type":"item","more":%b1%b}' % (b"[" * depth, b"]" * depth))
            break
    await items.save(Item(id="d"))
    return items


async def test_a_document_that_does_not_fit_does_not_end_the_feed(broken: Repository[Item]) -> None:
    feed = broken.changes(live=False)
    assert await take(feed, 3) == ["a", "b", "c"]
    for id in ("bad", "deep"):
        with pytest.raises(DocumentError) as caught:
            await anext(feed)
        assert caught.value.document_id == id
    assert await take(feed, 1) == ["d"]


@pytest.mark.parametrize("waits", [True, False])
async def test_a_document_that_does_not_fit_can_be_left_out(
    broken: Repository[Item], waits: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "couchmodel.changes")
    async with aclosing(broken.changes(live=waits, on_invalid="skip")) as feed:
        assert await take(feed, 4) == ["a", "b", "c", "d"]
    assert ["'bad'" in caplog.messages[0], "'deep'" in caplog.messages[1]] == [True, True]


# --- arguments


@pytest.mark.parametrize("since", [None, 5, ""])
async def test_a_sequence_is_a_text(items: Repository[Item], since: Any) -> None:
    with pytest.raises(QueryError, match="since"):
        items.changes(since=since)


async def test_a_condition_is_one_of_the_model(items: Repository[Item]) -> None:
    with pytest.raises(QueryError):
        items.changes(Other.name == "x")
    with pytest.raises(QueryError):
        items.changes("amount")  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="on_invalid"):
        items.changes(on_invalid="collect")  # type: ignore[arg-type]
