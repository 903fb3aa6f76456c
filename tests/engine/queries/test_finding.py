"""``_find`` through indexes: which rows are looked at, in which order, and where the next page goes on."""

import gc
import weakref
from typing import Any

import pytest

from couchmodel import BadRequestError
from couchmodel._wire.messages import Request, encode
from couchmodel.engine import Database
from tests.engine.requests import call

COUNT = 40
_COUNTS = ("total_keys_examined", "total_docs_examined", "total_quorum_docs_examined", "results_returned")


async def find(database: Database, selector: dict[str, Any], **params: Any) -> dict[str, Any]:
    """The answer to one request."""
    body = encode({"selector": selector, **params})
    answer: dict[str, Any] = await database.session.json(Request("POST", (*database.path, "_find"), body=body))
    return answer


async def numbers(database: Database, selector: dict[str, Any], **params: Any) -> list[Any]:
    """The numbers of the documents that are found."""
    return [document.get("n") for document in (await find(database, selector, **params))["docs"]]


async def save(database: Database, id: str, **data: Any) -> None:
    """Write a document, whatever it was."""
    document = await database.create(id, exists_ok=True)
    document.update(data)
    await document.save()


@pytest.fixture
async def indexed(database: Database) -> Database:
    """Documents with numbers, every other one even, and an index of the numbers."""
    async with database.create_docs() as bulk:
        for n in range(COUNT):
            bulk.create(f"{n:03}", data={"n": n, "even": n % 2 == 0, "in": {"half": n // 2}})
    await database.index({"fields": ["n"]}, name="n", ddoc="n")
    return database


@pytest.mark.parametrize(
    ("selector", "params", "counts"),
    [
        ({"n": {"$gte": 5}}, {"limit": 0}, (1, 1, 0, 0)),
        ({"n": {"$gte": 5}}, {"limit": 2}, (3, 3, 0, 2)),
        ({"n": {"$gte": 5}}, {"limit": 2, "skip": 2}, (5, 5, 0, 2)),
        ({"n": {"$gte": 5}}, {"skip": 200}, (35, 35, 0, 0)),
        ({"n": {"$gte": 5}, "even": True}, {"limit": 2}, (6, 6, 0, 2)),
        ({"n": {"$gte": 5}, "even": True}, {"limit": 2, "r": 2}, (6, 0, 6, 2)),
        ({"n": {"$gte": 5}}, {"limit": 2, "fields": ["n"]}, (3, 0, 0, 2)),
        ({"n": {"$gte": 5}}, {"limit": 2, "fields": ["_id", "n"], "r": 2}, (3, 0, 0, 2)),
        ({"n": {"$in": [1]}}, {"limit": 2}, (40, 40, 0, 1)),
        ({"even": True}, {"limit": 2}, (5, 5, 0, 2)),
        ({"_id": {"$gt": "005"}}, {"limit": 0}, (2, 2, 0, 0)),
    ],
)
async def test_what_is_examined_is_counted(
    indexed: Database, selector: dict[str, Any], params: dict[str, Any], counts: tuple[int, ...]
) -> None:
    answer = await find(indexed, selector, execution_stats=True, **params)
    assert tuple(answer["execution_stats"][name] for name in _COUNTS) == counts


async def test_a_query_that_is_given_up_needs_no_garbage_collector(indexed: Database) -> None:
    found = indexed.find({"_id": {"$gt": None}})
    await anext(found)
    given_up = weakref.ref(found)
    gc.disable()
    try:
        del found
        assert given_up() is None
    finally:
        gc.enable()


async def test_pages_go_on_behind_the_bookmark(indexed: Database) -> None:
    query = {"n": {"$gte": 5}, "even": True}
    first = await find(indexed, query, limit=2, sort=[{"n": "desc"}])
    await indexed.index({"fields": ["other"]})  # which is no reason to lose the place
    second = await find(indexed, query, limit=2, sort=[{"n": "desc"}], bookmark=first["bookmark"], execution_stats=True)
    assert [document["n"] for page in (first, second) for document in page["docs"]] == [38, 36, 34, 32]
    assert second["execution_stats"]["total_keys_examined"] == 6
    assert (await find(indexed, query, limit=0, bookmark=first["bookmark"]))["bookmark"] == first["bookmark"]


async def test_a_page_whose_documents_are_all_skipped_has_a_bookmark(indexed: Database) -> None:
    skipped = await find(indexed, {"n": {"$gte": 35}}, skip=5)
    assert skipped["docs"] == []
    assert skipped["bookmark"] != "nil"
    await save(indexed, "later", n=99)
    assert await numbers(indexed, {"n": {"$gte": 35}}, bookmark=skipped["bookmark"]) == [99]


async def test_documents_of_one_key_come_in_the_order_of_their_ids(database: Database) -> None:
    await database.index({"fields": ["n"]})
    for id in ("b", "B", "a", "\u00e4"):
        await save(database, id, n=1)

    async def ids(direction: str, **params: Any) -> list[str]:
        query = {"n": {"$gt": None}}
        answer = await find(database, query, sort=[{"n": direction}], fields=["_id"], **params)
        return [document["_id"] for document in answer["docs"]]

    assert await ids("asc") == ["B", "a", "b", "\u00e4"]
    assert await ids("desc") == ["\u00e4", "b", "a", "B"]


@pytest.mark.parametrize(
    ("selector", "fields", "found"),
    [
        ({"in.half": 3}, ["in.half"], [{"in": {"half": 3}}, {"in": {"half": 3}}]),
        ({"in.half": {"$gt": 18}, "_id": "039"}, ["_id", "in.half"], [{"_id": "039", "in": {"half": 19}}]),
    ],
)
async def test_an_index_that_has_it_all_is_read_alone(
    indexed: Database, selector: dict[str, Any], fields: list[str], found: list[Any]
) -> None:
    await indexed.index({"fields": ["in.half"]})
    answer = await find(indexed, selector, fields=fields, execution_stats=True)
    assert (answer["docs"], answer["execution_stats"]["total_docs_examined"]) == (found, 0)


@pytest.mark.parametrize("params", [{"update": False}, {"stale": "ok"}])
async def test_without_an_update_the_index_is_as_it_was(
    indexed: Database, params: dict[str, Any], backend: str
) -> None:
    if backend == "live":
        pytest.skip("CouchDB may bring an index up to date by itself, some time")
    query = {"n": {"$gte": 36}}
    assert await numbers(indexed, query) == [36, 37, 38, 39]
    await save(indexed, "later", n=99)
    await (await indexed["039"]).delete()
    await save(indexed, "038", n=1)
    # The keys are old ones; the documents are not, and have to match.
    assert await numbers(indexed, query, fields=["n"], **params) == [36, 37, 38, 39]
    assert await numbers(indexed, query, **params) == [36, 37]
    assert await numbers(indexed, query) == [36, 37, 99]


async def test_an_index_that_was_never_built_is_empty_without_an_update(indexed: Database, backend: str) -> None:
    if backend == "live":
        pytest.skip("CouchDB may build an index by itself, some time")
    assert await numbers(indexed, {"n": {"$gte": 36}}, update=False) == []
    assert await numbers(indexed, {"n": {"$gte": 36}}) == [36, 37, 38, 39]


async def test_a_changed_index_is_another_one(indexed: Database) -> None:
    assert await numbers(indexed, {"n": {"$lt": 2}}, use_index="n") == [0, 1]
    filtered = {"fields": ["n"], "partial_filter_selector": {"even": True}}
    await indexed.index(filtered, name="n", ddoc="n")
    assert await numbers(indexed, {"n": {"$lt": 5}}, use_index="n") == [0, 2, 4]
    await indexed.delete_index("n", "n")
    answer = await find(indexed, {"n": {"$lt": 2}}, use_index="n")
    assert "was not used" in answer["warning"]


async def test_many_documents_come_through_an_index(database: Database) -> None:
    async with database.create_docs() as bulk:
        for n in range(2500):
            bulk.create(f"{n:04}", data={"n": -n})
    await database.index({"fields": ["n"]})
    assert await numbers(database, {"n": {"$lt": 0}}, sort=["n"], limit=2400, skip=50) == [*range(-2449, -49)]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_required_key"),
        ({"docids": "n"}, "invalid_bulk_docs"),
        ({"docids": [1]}, "invalid_index_name"),
        ({"docids": ["n"], "w": 0}, "invalid_pos_integer"),
        ({"docids": ["n"], "more": 1}, "invalid_key"),
    ],
)
async def test_only_indexes_that_are_named_are_removed_together(
    indexed: Database, body: dict[str, Any], code: str
) -> None:
    with pytest.raises(BadRequestError) as caught:
        await call(indexed, "POST", "_index/_bulk_delete", body)
    assert caught.value.code == code
    removed = await call(indexed, "POST", "_index/_bulk_delete", {"docids": ["n", "other"]})
    assert removed["success"] == [{"id": "_design/n", "ok": True}]
    assert removed["fail"] == [{"id": "_design/other", "error": "not_found"}]
    assert len(await indexed.indexes()) == 1


async def test_a_large_query_is_answered_as_a_small_one(indexed: Database) -> None:
    many = {"n": {"$in": [3, 4, *range(1000, 20_000)]}}
    assert await numbers(indexed, many) == [3, 4]
    assert await numbers(indexed, many, limit=1) == [3]
    with pytest.raises(BadRequestError, match="invalid_bookmark"):
        await find(indexed, many, bookmark="?")
    everything = await find(indexed, {"$or": [{"n": {"$gte": 0}}, *[{"n": -n} for n in range(2000)]]}, limit=1000)
    assert len(everything["docs"]) == COUNT
