"""Rules of CouchDB's that few programs meet, as it answers them."""

import random
from collections.abc import Mapping
from typing import Any

import pytest

from couchmodel import BadRequestError, ConflictError, NotFoundError, ResponseError
from couchmodel._wire.messages import Request, encode
from couchmodel.engine import Database
from tests.engine.requests import call

UNKNOWN = f"1-{'f' * 32}"


async def ask(
    database: Database,
    method: str,
    *path: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
    **query: str,
) -> Any:
    raw = None if body is None else encode(body)
    sent = {"accept": "application/json", "content-type": "application/json", **(headers or {})}
    return await database.session.json(Request(method, (*database.path, *path), query, sent, raw))


async def is_taken(database: Database, id: str) -> bool:
    """Whether a write is taken that names a revision of a document which is not there."""
    try:
        await ask(database, "PUT", id, body={"_rev": UNKNOWN})
    except ConflictError:
        return False
    return True


async def test_a_revision_of_no_document_is_taken_once_functions_are_known(database: Database) -> None:
    assert not await is_taken(database, "a")
    await ask(database, "PUT", "_local/x", body={})
    assert not await is_taken(database, "b")
    await ask(database, "PUT", "first", body={})
    assert await is_taken(database, "c")
    await ask(database, "PUT", "_design/app", body={})
    assert not await is_taken(database, "d")
    await ask(database, "PUT", "next", body={})
    assert await is_taken(database, "e")


@pytest.mark.parametrize("other", [{"_id": "z", "_attachments": {"a": {"data": ""}}}, {"_id": "_design/z"}])
async def test_one_write_of_a_request_may_have_all_looked_up(database: Database, other: dict[str, Any]) -> None:
    await ask(database, "PUT", "first", body={})
    docs = [{"_id": "a", "_rev": UNKNOWN}, other]
    rows = await ask(database, "POST", "_bulk_docs", body={"docs": docs})
    assert [row.get("error") for row in rows] == ["conflict", None]


async def test_a_weak_tag_is_a_tag(database: Database) -> None:
    rev = (await ask(database, "PUT", "a", body={}))["rev"]
    for tag in f'"{rev}"', f'W/"{rev}"', f'"x", "{rev}"':
        request = Request("GET", (*database.path, "a"), headers={"if-none-match": tag})
        assert (await database.session.send(request)).status == 304


async def test_a_local_document_has_one_revision_and_no_leaves(database: Database) -> None:
    await ask(database, "PUT", "_local/x", body={"n": 1})
    assert (await ask(database, "GET", "_local/x", revs="true"))["_revisions"] == {"start": 0, "ids": ["1"]}
    with pytest.raises(NotFoundError):
        await ask(database, "GET", "_local/x", rev="0-1")
    with pytest.raises(NotFoundError):
        await ask(database, "GET", "_local/x", open_revs="all")


async def test_a_local_document_that_cannot_be_written_is_told_in_its_row(database: Database) -> None:
    docs = [{"_id": "_local/a", "_rev": "1-a"}, {"_id": "_local/b"}]
    rows = await ask(database, "POST", "_bulk_docs", body={"docs": docs})
    assert rows == [
        {"id": "_local/a", "error": "error", "reason": "Invalid rev format"},
        {"ok": True, "id": "_local/b", "rev": "0-1"},
    ]


async def test_a_local_document_is_copied(database: Database) -> None:
    await ask(database, "PUT", "_local/x", body={"n": 1})
    await ask(database, "COPY", "_local/x", headers={"destination": "y"})
    assert (await ask(database, "GET", "y"))["n"] == 1


async def test_a_copy_of_a_tombstone_is_one(database: Database) -> None:
    rev = (await ask(database, "PUT", "a", body={}))["rev"]
    tombstone = (await ask(database, "DELETE", "a", rev=rev))["rev"]
    await ask(database, "COPY", "a", headers={"destination": "/b"}, rev=tombstone)
    with pytest.raises(NotFoundError, match="deleted"):
        await ask(database, "GET", "/b")


@pytest.mark.parametrize("wanted", ["all", ["3-c", "1-a", "2-b"]])
async def test_revisions_come_by_rank(database: Database, wanted: object) -> None:
    for rev, deleted in ("3-c", True), ("1-a", False), ("2-b", False):
        await ask(database, "PUT", "a", body={"_rev": rev, "_deleted": deleted}, new_edits="false")
    found = await ask(database, "GET", "a", open_revs=wanted if isinstance(wanted, str) else encode(wanted).decode())
    assert [row["ok"]["_rev"] for row in found] == ["1-a", "2-b", "3-c"]


async def test_a_history_is_as_long_as_the_limit(database: Database) -> None:
    ids = [letter * 32 for letter in "cba"]
    await ask(database, "PUT", "a", body={"_revisions": {"start": 3, "ids": ids}}, new_edits="false")
    await ask(database, "PUT", "_revs_limit", body=2)
    assert (await ask(database, "GET", "a", revs="true"))["_revisions"]["ids"] == ids[:2]
    assert len((await ask(database, "GET", "a", revs_info="true"))["_revs_info"]) == 3


async def test_an_attachment_that_is_no_object_is_passed_over(database: Database) -> None:
    stubs = {"a": 5, "b": None, "c": {"data": "Zg==", "revpos": "x"}}
    await ask(database, "PUT", "x", body={"_attachments": stubs})
    assert [*(await ask(database, "GET", "x"))["_attachments"]] == ["c"]


async def test_there_are_no_transactions(database: Database) -> None:
    with pytest.raises(ResponseError) as caught:
        await ask(database, "POST", "_bulk_docs", body={"docs": [{"_id": "a"}], "all_or_nothing": True})
    assert caught.value.status == 417
    assert [id async for id in database.akeys()] == []


@pytest.mark.parametrize("seed", range(3))
async def test_revisions_in_one_request_are_what_they_are_one_by_one(database: Database, seed: int) -> None:
    chance = random.Random(seed)
    revisions = [_revision(chance) for _ in range(40)]
    together = [{**revision, "_id": "together"} for revision in revisions]
    await ask(database, "POST", "_bulk_docs", body={"docs": together, "new_edits": False})
    for revision in revisions:
        await ask(database, "PUT", "apart", body=revision, new_edits="false")
    assert await _shown(database, "together") == await _shown(database, "apart")


async def _shown(database: Database, id: str) -> list[Any]:
    meta = await ask(database, "GET", id, conflicts="true", deleted_conflicts="true", revs="true")
    changes = await ask(database, "GET", "_changes", style="all_docs")
    leaves = [row["changes"] for row in changes["results"] if row["id"] == id]
    return [{**meta, "_id": ""}, leaves, str(await ask(database, "GET", id, open_revs="all")).replace(id, "")]


def _revision(chance: random.Random) -> dict[str, Any]:
    """One of a tree in which each revision of a generation may descend from each of the one before."""
    generation = chance.randrange(1, 5)
    history = [f"{generation - age:x}{chance.randrange(3):x}" * 16 for age in range(generation)]
    ids = [digest if age else digest[:30] + f"{chance.randrange(100):02}" for age, digest in enumerate(history)]
    deleted = chance.random() < 0.3 and generation < 4
    return {"_revisions": {"start": generation, "ids": ids}, "_deleted": deleted, "n": chance.randrange(9)}


@pytest.mark.parametrize("target", ["a?batch=ok", "?batch=ok"])
async def test_what_is_only_accepted_may_be_refused_later(database: Database, target: str) -> None:
    method = "PUT" if target.startswith("a") else "POST"
    for n in (1, 2):
        assert await call(database, method, target, {"_id": "a", "n": n}) == {"ok": True, "id": "a"}
    assert (await wait_for_document(database, "a"))["n"] in (1, 2)


async def test_what_is_no_document_is_not_accepted(database: Database) -> None:
    with pytest.raises(BadRequestError, match="Bad special document member: _n"):
        await call(database, "PUT", "a?batch=ok", {"_n": 1})


async def test_what_is_accepted_has_a_new_revision(database: Database) -> None:
    first = (await call(database, "PUT", "a", {}))["rev"]
    last = (await call(database, "GET", "_changes"))["last_seq"]
    await call(database, "PUT", "a?batch=ok&new_edits=false", {"_rev": first})
    assert (await wait_for_document(database, "a", since=last))["_rev"].startswith("2-")


async def wait_for_document(database: Database, id: str, since: str = "0") -> Any:
    """Return a document that may not be written yet."""
    feed = f"_changes?feed=longpoll&include_docs=true&timeout=20000&since={since}"
    (row,) = (await call(database, "GET", feed))["results"]
    assert row["id"] == id
    return row["doc"]
