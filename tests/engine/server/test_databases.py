"""Servers and databases of the engine."""

import asyncio
import secrets
from contextlib import aclosing
from typing import Any

import pytest

from couchmodel import BadRequestError, Connection, NotFoundError, PreconditionFailedError, QueryError
from couchmodel.engine import CouchDB, Database, UnauthorizedError
from couchmodel.types import JSONObject


async def test_a_server_says_who_it_is(couch: Connection) -> None:
    assert (await couch.info())["couchdb"] == "Welcome"
    await couch.check_credentials()


async def test_a_database_is_created_once(couch: Connection, database: Database) -> None:
    assert database.id in await couch.keys()
    assert (await couch[database.id]).id == database.id
    with pytest.raises(PreconditionFailedError):
        await couch.create(database.id)
    await couch.create(database.id, exists_ok=True)


async def test_whoever_may_not_create_a_database_may_want_it_to_be_there(
    live: None, url: str, database: Database
) -> None:
    security = await database.security()
    security.clear()
    await security.save()
    scheme, _, rest = url.partition("://")
    async with CouchDB(f"{scheme}://{rest.rpartition('@')[2]}") as anonymous:
        assert (await anonymous.create(database.id, exists_ok=True)).id == database.id
        for name, exists_ok in ((database.id, False), (database.id + "x", True)):
            with pytest.raises(UnauthorizedError):
                await anonymous.create(name, exists_ok=exists_ok)


async def test_a_deleted_database_is_gone(couch: Connection, database: Database) -> None:
    await database.delete()
    assert not await database.exists()
    with pytest.raises(NotFoundError):
        await couch[database.id]
    with pytest.raises(NotFoundError):
        await database.delete()


async def test_a_database_name_may_need_quoting(couch: Connection, database: Database) -> None:
    odd = await couch.create(f"{database.id}/a+b$(c)")
    await (await odd.create("x")).save()
    assert [id async for id in odd.akeys()] == ["x"]
    await odd.delete()


@pytest.mark.parametrize("name", ["", ".", "..", "Upper", "1st", "_mine", "a b", "ä"])
async def test_a_name_that_no_database_may_have_is_refused(couch: Connection, name: str) -> None:
    with pytest.raises(BadRequestError):
        await couch.create(name)


async def test_info_counts_documents(database: Database) -> None:
    for id in "abc":
        await (await database.create(id)).save()
    await (await database.get("a")).delete()
    info = await database.info()
    assert (info["doc_count"], info["doc_del_count"]) == (2, 1)


async def test_a_compacted_database_forgets_the_bodies_of_old_revisions(database: Database) -> None:
    document = await database.create("a", data={"n": 1})
    await document.save()
    old = document.rev
    document["n"] = 2
    await document.save()
    await database.compact()
    async with asyncio.timeout(20):
        while (await database.info())["compact_running"]:  # noqa: ASYNC110 - nothing tells when it is done
            await asyncio.sleep(0.05)
    assert (await database["a"])["n"] == 2
    with pytest.raises(NotFoundError):
        await database.get("a", rev=old)


async def test_keys_and_documents_come_in_the_order_of_their_ids(database: Database) -> None:
    for id in ("b", "ä", "B", "a", "_design/x"):
        await (await database.create(id, data={"n": id})).save()
    assert [id async for id in database.akeys()] == ["B", "_design/x", "a", "b", "ä"]
    assert [document["n"] async for document in database.docs()] == ["B", "a", "b", "ä"]
    assert [document.id async for document in database.docs(["b", "B"])] == ["b", "B"]
    with pytest.raises(NotFoundError, match="nobody"):
        [document async for document in database.docs(["b", "nobody"])]


async def test_find_gives_documents_that_can_be_saved(database: Database) -> None:
    for n in range(4):
        await (await database.create(str(n), data={"n": n})).save()
    async for document in database.find({"n": {"$gte": 2}}):
        document["n"] += 10
        await document.save()
    assert [document["n"] async for document in database.find({"n": {"$gte": 2}}, limit=1)] == [12]
    with pytest.raises(QueryError, match="fields"):
        [document async for document in database.find({}, fields=["n"])]


async def test_changes_tell_what_happened_since(database: Database) -> None:
    await (await database.create("a")).save()
    since = (await database.info())["update_seq"]
    await (await database.create("b")).save()
    await (await database.get("a")).delete()
    # Between shards there is no order.
    changes = {change["id"]: change.get("deleted", False) async for change in database.changes(since)}
    assert changes == {"a": True, "b": False}
    assert sorted([change["id"] async for change in database.changes()]) == ["a", "b"]


async def test_indexes_are_listed_explained_and_deleted(database: Database) -> None:
    await database.index({"fields": ["n"]}, name="by-n", ddoc="mine")
    assert [each["name"] for each in await database.indexes()] == ["_all_docs", "by-n"]
    assert (await database.explain({"n": {"$gt": 1}}))["index"]["name"] == "by-n"
    await database.delete_index("_design/mine", "by-n")
    assert [each["name"] for each in await database.indexes()] == ["_all_docs"]
    with pytest.raises(NotFoundError):
        await database.delete_index("mine", "by-n")


@pytest.mark.parametrize("selector", [{"selector": {"n": 1}}, {"selector": {}, "limit": 5}])
async def test_a_selector_in_a_selector_is_refused(database: Database, selector: dict[str, object]) -> None:
    with pytest.raises(QueryError, match=r"without \{'selector'"):
        [document async for document in database.find(selector)]
    with pytest.raises(QueryError):
        await database.explain(selector)


async def test_a_member_may_be_called_selector(database: Database) -> None:
    await (await database.create("a", data={"selector": {"n": 1}, "limit": 1})).save()
    for selector in ({"selector": {"n": 1}, "n": {"$exists": False}}, {"$and": [{"selector": {"n": 1}}]}, {"limit": 1}):
        assert [document.id async for document in database.find(selector)] == ["a"]


@pytest.mark.parametrize(
    ("count", "selector", "params"),
    [
        (10_100, {"n": {"$gte": 0}}, {"sort": ["n"]}),
        (2100, {"n": {"$gte": 0}}, {"sort": [{"n": "desc"}]}),
        (2100, {"kind": "x"}, {}),
        (2100, {"_id": {"$gt": None}}, {}),
    ],
)
@pytest.mark.parametrize("moves", [False, True])
async def test_no_document_that_stays_is_lost_where_those_before_it_go(
    database: Database, count: int, selector: JSONObject, params: dict[str, Any], moves: bool
) -> None:
    await database.index({"fields": ["n"]}, ddoc="by-n")
    await database.index({"fields": ["kind"]}, ddoc="by-kind")
    async with database.create_docs() as bulk:
        for n in range(count):
            bulk.create(f"d{n:04}", data={"n": n // 2, "kind": "x"})
    found = []
    async for document in database.find(selector, skip=1, **params):
        found.append(document.id)
        # Ends of batches, whatever their size, are among them.
        if len(found) % 100 >= 98 or len(found) % 100 == 0:
            if moves:
                document.update(n=-1, kind="a")
                await document.save()
            else:
                await document.delete()
    assert (len(found), len(set(found))) == (count - 1, count - 1)


async def test_a_skip_and_a_limit_count_once(database: Database) -> None:
    async with database.create_docs(list("abcdefg")):
        pass
    everything: JSONObject = {"_id": {"$gt": None}}
    assert [document.id async for document in database.find(everything, skip=3)] == list("defg")
    assert [document.id async for document in database.find(everything, 2, skip=3)] == list("de")
    assert [document.id async for document in database.find(everything, 0)] == []


async def test_a_selector_that_is_none_is_refused(database: Database) -> None:
    with pytest.raises(QueryError, match="str"):
        [document async for document in database.find("n = 1")]  # type: ignore[arg-type]


async def test_revisions_are_compared_and_read_in_bulk(database: Database) -> None:
    pie = await database.create("pie")
    await pie.save()
    absent = "7-" + 32 * "a"
    assert (await database.revs_diff({"pie": [str(pie.rev), absent]}))["pie"]["missing"] == [absent]
    results = await database.bulk_get([{"id": "pie"}, {"id": "nobody"}], revs=True)
    assert results[0]["docs"][0]["ok"]["_revisions"]["start"] == 1
    assert "error" in results[1]["docs"][0]


async def test_a_purged_document_has_never_been(database: Database) -> None:
    pie = await database.create("pie")
    await pie.save()
    assert (await database.purge({"pie": [str(pie.rev)]}))["purged"] == {"pie": [pie.rev]}
    with pytest.raises(NotFoundError, match="missing"):
        await database.get("pie")


async def test_a_database_is_created_with_shards(couch: Connection) -> None:
    database = await couch.create(f"test-{secrets.token_hex(6)}", q=3, n=1)
    assert dict(await database.info())["cluster"] == {"q": 3, "n": 1, "w": 1, "r": 1}
    await database.delete()


async def test_databases_are_listed_by_key(couch: Connection, database: Database) -> None:
    assert await couch.keys(startkey=database.id, endkey=f'"{database.id}"') == [database.id]


async def test_an_awaitable_database_can_be_a_task(couch: Connection, database: Database) -> None:
    assert (await asyncio.create_task(couch[database.id])).endpoint == f"/{database.id}"


async def test_an_index_is_created_once(database: Database) -> None:
    assert (await database.index({"fields": ["n"]}, name="by-n"))["result"] == "created"
    assert (await database.index({"fields": ["n"]}, name="by-n"))["result"] == "exists"


async def test_what_is_said_beside_the_documents_found_is_told(database: Database) -> None:
    async with database.create_docs(list("abc")):
        pass
    found = database.find({"_id": {"$gt": None}}, limit=2, execution_stats=True)
    assert (found.bookmark, found.execution_stats) == (None, None)
    assert [document.id async for document in found] == ["a", "b"]
    assert (found.execution_stats or {})["results_returned"] == 2
    rest = database.find({"_id": {"$gt": None}}, bookmark=found.bookmark)
    assert [document.id async for document in rest] == ["c"]


async def test_a_query_without_an_index_is_warned_of(database: Database) -> None:
    async with database.create_docs(list("a")):
        pass
    async with aclosing(database.find({"n": {"$exists": False}})) as found:
        assert (await anext(found)).id == "a"
        with pytest.raises(StopAsyncIteration):
            await anext(found)
    assert "No matching index" in (found.warning or "")


async def test_a_database_has_sizes_of_its_own(couch: Connection, database: Database) -> None:
    assert (await database.info())["sizes"]["external"] == 0
    await write(database, "a", {"text": "x" * 10_000})
    other = await couch.create(f"{database.id}-other", q=1)
    try:
        for n in range(5):
            await write(other, str(n), {"text": "x" * 100_000})
        sizes, others = (await database.info())["sizes"], (await other.info())["sizes"]
    finally:
        await other.delete()
    assert 10_000 <= sizes["external"] <= 11_000
    assert 500_000 <= others["external"] <= 505_000
    assert sizes["active"] <= sizes["file"] < 200_000  # CouchDB packs what is stored


async def write(database: Database, id: str, data: dict[str, Any]) -> None:
    await (await database.create(id, data=data)).save()
