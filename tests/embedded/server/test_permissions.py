"""Who may ask what, and who may write what."""

from pathlib import Path
from typing import Any

import pytest

from couchmodel._embedded.storage.store import Store
from couchmodel._wire.users import ADMIN, ANONYMOUS, User
from tests.embedded.conftest import Client

ADA, BOB, METER = User("ada"), User("bob", ("cook",)), User("meter", ("_metrics",))
SECURITY = {"admins": {"names": ["ada"]}, "members": {"names": [], "roles": ["cook"]}}


@pytest.fixture
async def database(client: Client) -> str:
    """The target of a database that Ada administers and cooks may use."""
    await client.ask("PUT", "/db")
    await client.ask("PUT", "/db/a", {})
    await client.ask("PUT", "/db/_security", SECURITY)
    return "/db"


async def refusal(client: Client, method: str, target: str, body: Any, user: User) -> tuple[int, str]:
    answer = await client.ask(method, target, body, user=user)
    await answer.collect()
    return answer.status, answer.json()["reason"]


@pytest.mark.parametrize("user", [ADA, BOB, ADMIN])
async def test_members_read_and_write(client: Client, database: str, user: User) -> None:
    assert (await client.ask("GET", "/db/a", user=user)).status == 200
    assert (await client.ask("PUT", "/db/b", {}, user=user)).status == 201


@pytest.mark.parametrize("target", ["/db", "/db/a", "/db/_all_docs", "/db/_security", "/db/_changes", "/db/a/file"])
async def test_others_are_refused(client: Client, database: str, target: str) -> None:
    stranger = await refusal(client, "GET", target, None, ANONYMOUS)
    assert stranger == (401, "You are not authorized to access this db.")
    eve = await refusal(client, "GET", target, None, User("eve", ("waiter",)))
    assert eve == (403, "You are not allowed to access this db.")


@pytest.mark.parametrize(
    ("method", "target", "body", "expected"),
    [
        ("PUT", "/db/_design/x", {}, (403, "You are not a db or server admin.")),
        ("PUT", "/db/_design/x?new_edits=false", {"_rev": "1-abc"}, (403, "You are not a db or server admin.")),
        ("PUT", "/db/_design/x/file", {}, (403, "You are not a db or server admin.")),
        ("POST", "/db", {"_id": "_design/x"}, (403, "You are not a db or server admin.")),
        ("PUT", "/db/_security", {}, (403, "You are not a db or server admin.")),
        ("PUT", "/db/_revs_limit", 5, (403, "You are not a db or server admin.")),
        ("POST", "/db/_index", {"index": {"fields": ["a"]}}, (403, "You are not a db or server admin.")),
        ("POST", "/db/_compact", {}, (401, "You are not a server or db admin.")),
        ("POST", "/db/_view_cleanup", {}, (401, "You are not a server or db admin.")),
    ],
)
async def test_only_administrators_change_how_a_database_works(
    client: Client, database: str, method: str, target: str, body: Any, expected: tuple[int, str]
) -> None:
    assert await refusal(client, method, target, body, BOB) == expected
    assert (await client.ask(method, target, body, user=ADA)).status < 300


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("PUT", "/new"),
        ("DELETE", "/db"),
        ("POST", "/db/_purge"),
        ("GET", "/db/_purged_infos_limit"),
        ("GET", "/_all_dbs"),
        ("GET", "/_active_tasks"),
        ("GET", "/_unheard_of"),
        ("GET", "/_users/_all_docs"),
        ("PUT", "/_users"),
    ],
)
@pytest.mark.parametrize("user", [ANONYMOUS, ADA, BOB])
async def test_what_is_for_administrators_of_the_server(
    client: Client, database: str, method: str, target: str, user: User
) -> None:
    assert await refusal(client, method, target, {}, user) == (401, "You are not a server admin.")


async def test_a_copy_may_not_become_a_design_document(client: Client, database: str) -> None:
    answer = await client.ask("COPY", "/db/a", headers={"destination": "_design/x"}, user=BOB)
    assert (answer.status, answer.json()["error"]) == (403, "forbidden")


@pytest.mark.parametrize("new_edits", [True, False])
async def test_a_bulk_write_refuses_design_documents_alone(client: Client, database: str, new_edits: bool) -> None:
    documents = [{"_id": "_design/x", "_rev": "1-abc"}, {"_id": "b", "_rev": "1-abc"}]
    if new_edits:
        documents = [{"_id": document["_id"]} for document in documents]
    body = {"docs": documents, "new_edits": new_edits}
    answer = await client.ask("POST", "/db/_bulk_docs", body, user=BOB)
    assert answer.status == 201
    assert answer.json()[0]["reason"] == "You are not a db or server admin."
    assert await client.json("GET", "/db/_design/x") == {"error": "not_found", "reason": "missing"}
    assert (await client.json("GET", "/db/b"))["_id"] == "b"


async def test_a_conflict_is_told_before_a_refusal(client: Client, database: str) -> None:
    await client.ask("PUT", "/db/_design/x", {})
    assert (await client.ask("PUT", "/db/_design/x", {}, user=BOB)).status == 409


@pytest.mark.parametrize("members", [{}, {"members": {}}, {"members": {"names": [], "roles": []}}])
async def test_a_database_without_members_is_open(client: Client, database: str, members: dict[str, Any]) -> None:
    await client.ask("PUT", "/db/_security", members)
    assert (await client.ask("PUT", "/db/b", {}, user=ANONYMOUS)).status == 201
    reason = "You are not a db or server admin."
    assert await refusal(client, "PUT", "/db/_design/x", {}, ANONYMOUS) == (401, reason)


async def test_readers_are_members(client: Client, database: str) -> None:
    await client.ask("PUT", "/db/_security", {"readers": {"names": ["ada"]}})
    assert (await client.ask("GET", "/db/a", user=ADA)).status == 200
    assert (await client.ask("GET", "/db/a", user=ANONYMOUS)).status == 401


@pytest.mark.parametrize(
    "document", [[], 1, {"admins": []}, {"admins": {"names": "x"}}, {"members": {"roles": [1]}}, {"readers": 1}]
)
async def test_what_is_no_security_object_is_refused(client: Client, database: str, document: Any) -> None:
    assert (await client.ask("PUT", "/db/_security", document)).status == 400
    assert await client.json("GET", "/db/_security") == SECURITY


async def test_nobody_else_is_let_into_the_replicators_documents(client: Client) -> None:
    default = {"members": {"roles": ["_admin"]}, "admins": {"roles": ["_admin"]}}
    assert (await client.ask("PUT", "/_replicator/_security", default)).status == 200
    assert (await client.ask("PUT", "/_replicator/_security", SECURITY)).status == 501
    assert await client.json("GET", "/_replicator/_security") == default
    assert (await client.ask("GET", "/_replicator/a", user=BOB)).status == 403


async def test_security_outlives_the_store(tmp_path: Path) -> None:
    for _ in range(2):
        store = Store(tmp_path / "couch.db")
        client = Client(store)
        if (await client.ask("PUT", "/db")).status == 201:
            await client.ask("PUT", "/db/_security", SECURITY)
        assert await client.json("GET", "/db/_security") == SECURITY
        assert (await client.ask("GET", "/db", user=ANONYMOUS)).status == 401
        await store.close()


async def test_a_missing_database_is_missing_for_everybody(client: Client) -> None:
    assert await refusal(client, "GET", "/nowhere", None, ANONYMOUS) == (404, "Database does not exist.")


async def test_metrics_have_a_role_of_their_own(client: Client) -> None:
    reason = "You are not a server admin or read-only metrics user"
    assert await refusal(client, "GET", "/_node/_local/_stats", None, BOB) == (401, reason)
    assert (await client.ask("GET", "/_node/_local/_stats", user=METER)).status != 401


async def test_a_member_replicates_what_they_may_read_and_write(client: Client) -> None:
    for name in ("here", "there", "elsewhere"):
        await client.ask("PUT", f"/{name}")
    for name in ("here", "there"):
        await client.ask("PUT", f"/{name}/_security", {"members": {"names": ["bob"]}})
    await client.ask("PUT", "/here/pie", {})
    answer = await client.ask("POST", "/_replicate", {"source": "here", "target": "there"}, user=BOB)
    refused = await client.ask("POST", "/_replicate", {"source": "here", "target": "elsewhere"}, user=BOB)
    backwards = await client.ask("POST", "/_replicate", {"source": "elsewhere", "target": "here"}, user=BOB)
    assert (answer.status, (await client.ask("GET", "/there/pie")).status) == (200, 200)
    assert [refused.status, backwards.status] == [403, 403]
    assert (await client.ask("GET", "/elsewhere/pie")).status == 404


async def test_a_members_replication_writes_no_design_documents(client: Client) -> None:
    for name in ("here", "there"):
        await client.ask("PUT", f"/{name}")
        await client.ask("PUT", f"/{name}/_security", {"members": {"names": ["bob"]}})
    await client.ask("PUT", "/here/_design/app", {})
    await client.ask("PUT", "/here/pie", {})
    answer = await client.ask("POST", "/_replicate", {"source": "here", "target": "there"}, user=BOB)
    assert (answer.status, answer.json()["history"][0]["doc_write_failures"]) == (200, 1)
    assert (await client.ask("GET", "/there/_design/app")).status == 404
    assert (await client.ask("GET", "/there/pie")).status == 200
