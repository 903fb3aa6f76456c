"""Many documents in one request."""

import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from couchmodel import ConfigurationError, NotFoundError
from couchmodel._wire.messages import Request, Response, encode
from couchmodel.engine import BulkOperation, CouchDB, Database, Document
from couchmodel.engine.bulk import row_error, write_documents
from couchmodel.errors import ProtocolError, ResponseError, ServerError


async def fill(database: Database, ids: str) -> None:
    async with database.create_docs(list(ids)) as bulk:
        pass
    assert [document.id for document in bulk.ok or []] == list(ids)


async def test_documents_are_created_together(database: Database) -> None:
    async with database.create_docs(["a"]) as bulk:
        b = bulk.create("b", data={"n": 1})
        assert (bulk.response, bulk.ok, bulk.error) == (None, None, None)
    assert [row["id"] for row in bulk.response or []] == ["a", "b"]
    assert b.rev == (await database["b"]).rev
    assert await b.save() is None


async def test_only_what_has_changed_is_sent(database: Database) -> None:
    await fill(database, "abc")
    async with database.update_docs(["a", "b", "c"]) as bulk:
        async for document in bulk:
            if document.id == "b":
                document["n"] = 1
    assert [row["id"] for row in bulk.response or []] == ["b"]
    assert [document.id for document in bulk] == ["a", "b", "c"]


async def test_conflicts_are_told_and_do_not_raise(database: Database) -> None:
    await fill(database, "ab")
    async with database.update_docs(["a", "b"]) as bulk:
        await (await database["a"]).delete()
        for document in bulk:
            document["n"] = 1
    assert [document.id for document in bulk.ok or []] == ["b"]
    assert [document.id for document in bulk.error or []] == ["a"]
    assert bulk.status == bulk.response
    assert [row.get("error") for row in bulk.response or []] == ["conflict", None]


async def test_nothing_is_sent_where_an_exception_ends_its_context(database: Database) -> None:
    bulk = BulkOperation(database)
    bulk.create("a")
    with pytest.raises(ZeroDivisionError):
        async with bulk:
            raise ZeroDivisionError
    assert bulk.response is None
    assert [id async for id in database.akeys()] == []


async def test_missing_documents_are_an_error_or_made(database: Database) -> None:
    with pytest.raises(NotFoundError):
        async with database.update_docs(["a"]):
            pass
    async with database.update_docs(["a"], create=True):
        pass
    assert (await database["a"]).exists


async def test_an_id_is_there_once(database: Database) -> None:
    async with database.create_docs(["a"]) as bulk:
        with pytest.raises(ConfigurationError, match="'a' is among"):
            bulk.create("a")
        with pytest.raises(ValueError):
            bulk.update(Document(database, "a"))


async def test_a_deleted_document_is_saved_under_its_id(database: Database) -> None:
    await fill(database, "a")
    a = await database["a"]
    await a.delete()
    async with BulkOperation(database) as bulk:
        bulk.append(a)["n"] = 1
    assert (await database["a"]).json == {"n": 1}


async def test_documents_are_deleted_with_the_rest(database: Database) -> None:
    await fill(database, "abc")
    async with database.update_docs(["a", "b"]) as bulk:
        a, b = bulk
        bulk.delete(a)
        b["n"] = 1
        c = bulk.delete(await database["c"])
        with pytest.raises(ConfigurationError, match="not stored"):
            bulk.delete(Document(database, "d"))
    assert (dict(a), dict(c), b["n"]) == ({"_id": "a"}, {"_id": "c"}, 1)
    assert [id async for id in database.akeys()] == ["b"]


async def test_a_deletion_by_hand_leaves_an_empty_document(database: Database) -> None:
    await fill(database, "a")
    async with database.update_docs(["a"]) as bulk:
        for document in bulk:
            document["_deleted"] = True
    assert [dict(document) for document in bulk] == [{"_id": "a"}]


async def test_documents_are_deleted_by_their_ids(database: Database) -> None:
    await fill(database, "abc")
    await (await database["c"]).delete()
    rows = await database.delete_docs(["b", "nobody", "c", "a"])
    assert [(row["id"], row.get("error")) for row in rows] == [
        ("b", None),
        ("nobody", "not_found"),
        ("c", "not_found"),
        ("a", None),
    ]
    assert [id async for id in database.akeys()] == []


async def test_revisions_are_stored_as_they_are(database: Database) -> None:
    rev = "3-" + 32 * "a"
    async with database.create_docs(new_edits=False) as bulk:
        bulk.create("a", data={"_rev": rev})
    assert bulk.response == [{"ok": True, "id": "a", "rev": rev}]
    assert (await database["a"]).rev == rev


async def test_an_operation_can_be_used_again(database: Database) -> None:
    operation = database.create_docs(["a"])
    for error in (0, 1):
        async with operation:
            pass
        assert (len(operation.response or []), len(operation.error or [])) == (1, error)


async def test_more_than_one_request_holds_is_split_and_joined_in_order(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("couchmodel.engine._io.batches._MAX_DOCUMENTS", 3)
    monkeypatch.setattr("couchmodel.engine._io.batches._MAX_PACK_DOCUMENTS", 2)
    monkeypatch.setattr("couchmodel.engine._io.batches._FIRST_PACK_DOCUMENTS", 2)
    ids = [str(n) for n in range(10)]
    async with database.create_docs(ids) as bulk:
        pass
    assert [row["id"] for row in bulk.response or []] == ids


class Small:
    """A transport to a server that takes two documents a request, and none of 100 bytes."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    async def send(self, request: Request) -> Response:
        body = await request.read()
        count = body.count(b"_id")
        self.sizes.append(count)
        if count > 2 or len(body) > 100:
            return Response(413, body=b'{"error":"too_large","reason":"the request entity is too large"}')
        return Response(201, body=b"[%b]" % b",".join([b'{"id":"%d","rev":"1-a"}' % len(self.sizes)] * count))

    async def close(self) -> None:
        """Nothing to close."""


async def test_a_request_that_is_too_large_is_halved() -> None:
    small = Small()
    database = Database(CouchDB(small), "db")
    rows = await write_documents(database.session, database.path, [b'{"_id":"x"}'] * 5)
    assert (small.sizes, [row["id"] for row in rows]) == ([5, 2, 3, 1, 2], ["2", "2", "4", "5", "5"])


async def test_documents_of_requests_that_were_halved_know_what_is_stored() -> None:
    async with BulkOperation(Database(CouchDB(Small()), "db")) as bulk:
        for id in "abcde":
            bulk.create(id)
    assert ([document.id for document in bulk.ok or []], [document.changed for document in bulk]) == (
        list("abcde"),
        [False] * 5,
    )


async def test_new_changed_and_unchanged_documents_go_together(database: Database) -> None:
    await fill(database, "ab")
    async with database.update_docs(list("abcd"), create=True) as bulk:
        for id, document in zip("abcd", bulk, strict=True):
            document.update({"n": id} if id != "a" else {})
    assert [row["id"] for row in bulk.response or []] == ["b", "c", "d"]
    for document in bulk:
        document["n"] = "b"
    async with BulkOperation(database) as again:
        for document in bulk:
            again.append(document)
    assert [row["id"] for row in again.response or []] == ["a", "c", "d"]
    assert [document["n"] async for document in database.docs()] == ["b"] * 4


async def test_an_answer_without_a_row_for_each_document_is_an_error() -> None:
    class Silent(Small):
        async def send(self, request: Request) -> Response:
            return Response(201, body=b"[]")

    with pytest.raises(ProtocolError, match="1 documents were sent, and 0 rows came"):
        async with BulkOperation(Database(CouchDB(Silent()), "db")) as bulk:
            bulk.create("a")


class Failing(Small):
    """A small server that fails at a document."""

    async def send(self, request: Request) -> Response:
        response = await super().send(request)
        return Response(500) if response.status == 201 and b'"b"' in await request.read() else response


async def test_what_was_stored_before_a_failure_is_known() -> None:
    bulk = BulkOperation(Database(CouchDB(Failing()), "db"))
    for id in "abc":
        bulk.create(id, data={"text": 40 * "x"})
    with pytest.raises(ServerError):
        async with bulk:
            pass
    assert ([document.id for document in bulk.ok or []], bulk.error) == (["a"], [])


def test_adding_documents_takes_the_same_time_for_each() -> None:
    bulk = BulkOperation(Database(CouchDB(Small()), "db"))

    def seconds(start: int, count: int) -> float:
        begin = time.thread_time()  # that of nobody else
        for n in range(start, start + count):
            bulk.create(str(n))
        return time.thread_time() - begin

    first = min(seconds(0, 2000), seconds(2000, 2000))
    seconds(4000, 16_000)
    assert min(seconds(start, 2000) for start in range(20_000, 26_000, 2000)) < 5 * first


LARGE = "x" * 8_500_000


@pytest.mark.parametrize("new_edits", [True, False])
async def test_a_document_that_is_too_large_is_refused_alone(database: Database, new_edits: bool) -> None:
    bulk = BulkOperation(database, new_edits)
    async with bulk:
        for id in ("a", "large", "b"):
            bulk.create(id, {"text": LARGE if id == "large" else id} | ({} if new_edits else {"_rev": "1-aa"}))
    assert [row.get("error") for row in bulk.response or []] == [None, "document_too_large", None]
    assert ([each.id for each in bulk.ok or []], [each.id for each in bulk.error or []]) == (["a", "b"], ["large"])
    assert [id async for id in database.akeys()] == ["a", "b"]


async def test_a_document_that_no_request_can_hold_is_refused_alone() -> None:
    async with BulkOperation(Database(CouchDB(Small()), "db")) as bulk:
        for id in "abcde":
            bulk.create(id, {"text": "x" * 100 * (id == "c")})
    assert ([each.id for each in bulk.ok or []], [each.id for each in bulk.error or []]) == (list("abde"), ["c"])
    assert [(row["id"], row["error"]) for row in bulk.response or [] if "error" in row] == [("c", "too_large")]


STUB = {"f": {"stub": True, "content_type": "text/plain", "length": 3, "digest": "md5-AAAA"}}


@pytest.fixture
async def sharded(couch: CouchDB) -> AsyncIterator[Database]:
    """A database of several shards, each of which refuses or stores its documents by itself."""
    database = await couch.create(f"test-{secrets.token_hex(6)}", q=4)
    yield database
    await database.delete()


@pytest.mark.parametrize(
    ("wrong", "statuses"),
    [
        ({"_id": "new", "_attachments": STUB}, [412]),
        ({"_id": "old", "_attachments": STUB}, [412]),
        ({"_id": "gone", "_attachments": STUB}, [412, 500]),  # CouchDB's own answer is 500
        ({"_id": "new", "_rev": "garbage"}, [400]),
    ],
)
async def test_a_document_for_which_a_whole_request_is_refused_is_refused_alone(
    sharded: Database, wrong: dict[str, Any], statuses: list[int]
) -> None:
    """CouchDB may have stored some of the documents before it refuses all of them."""
    texts = [encode({"_id": f"{n}"}) for n in range(12)]
    ids = ["old", "gone", "deleted"]
    old = dict(zip(ids, await write(sharded, [encode({"_id": id}) for id in ids]), strict=True))
    await write(sharded, [encode({"_id": "gone", "_rev": old["gone"], "_deleted": True})])
    if wrong["_id"] == "old":
        wrong = {**wrong, "_rev": old["old"]}
    deletion = encode({"_id": "deleted", "_rev": old["deleted"], "_deleted": True})
    rows = await write_documents(sharded.session, sharded.path, [*texts, encode(wrong), deletion])
    assert [row.get("error") for row in rows if row["id"] != wrong["_id"]] == [None] * 13
    error = row_error(rows[12], "/db")
    assert isinstance(error, ResponseError)
    assert error.status in statuses
    assert rows[12]["id"] == wrong["_id"]
    found: list[Any] = [row async for row in sharded.all_docs.rows()]
    written: list[Any] = [*rows[:12]]
    assert {(row["id"], row["rev"]) for row in written} <= {(row["id"], row["value"]["rev"]) for row in found}


async def test_a_conflict_beside_a_document_for_which_all_are_refused_is_one(sharded: Database) -> None:
    await write(sharded, [encode({"_id": f"{n}", "n": 1}) for n in range(6)])
    texts = [*(encode({"_id": f"{n}", "n": 2}) for n in range(12)), encode({"_id": "x", "_attachments": STUB})]
    rows = await write_documents(sharded.session, sharded.path, texts)
    assert [row.get("error") for row in rows] == ["conflict"] * 6 + [None] * 6 + ["missing_stub"]


async def write(database: Database, texts: list[bytes]) -> list[str]:
    """Store documents, and return their revisions."""
    rows: list[Any] = [*await write_documents(database.session, database.path, texts)]
    return [row["rev"] for row in rows]
