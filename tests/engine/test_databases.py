"""Servers and databases of the engine."""

import pytest

from couchmodel import BadRequestError, Connection, NotFoundError, PreconditionFailedError, QueryError
from couchmodel.engine import Database


async def test_a_server_says_who_it_is(couch: Connection) -> None:
    assert (await couch.info())["couchdb"] == "Welcome"
    await couch.check_credentials()


async def test_a_database_is_created_once(couch: Connection, database: Database) -> None:
    assert database.id in await couch.keys()
    assert (await couch[database.id]).id == database.id
    with pytest.raises(PreconditionFailedError):
        await couch.create(database.id)
    await couch.create(database.id, exists_ok=True)


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


async def test_keys_and_documents_come_in_the_order_of_their_ids(database: Database) -> None:
    for id in ("b", "ä", "B", "a", "_design/x"):
        await (await database.create(id, data={"n": id})).save()
    assert [id async for id in database.akeys()] == ["B", "a", "b", "ä"]
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
    changes = [(change["id"], change.get("deleted", False)) async for change in database.changes(since)]
    assert changes == [("b", False), ("a", True)]
    assert [change["id"] async for change in database.changes()] == ["b", "a"]


async def test_an_index_is_created_once(database: Database) -> None:
    assert (await database.index({"fields": ["n"]}, name="by-n"))["result"] == "created"
    assert (await database.index({"fields": ["n"]}, name="by-n"))["result"] == "exists"
