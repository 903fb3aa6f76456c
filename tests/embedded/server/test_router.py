"""The router: who answers, who is let in, and what an error looks like."""

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from couchmodel._embedded.server.handlers.server import server
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.users import ANONYMOUS
from couchmodel.errors import StoreFileError
from tests.embedded.conftest import Client


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        ("PATCH", "/", "GET,HEAD"),
        ("PUT", "/_uuids", "GET"),
        ("PATCH", "/db", "DELETE,GET,HEAD,POST"),
        ("PATCH", "/db/id", "DELETE,GET,HEAD,POST,PUT,COPY"),
        ("PATCH", "/db/_design/id", "DELETE,GET,HEAD,POST,PUT,COPY"),
        ("POST", "/db/id/file", "DELETE,GET,HEAD,PUT"),
        ("GET", "/db/_bulk_docs", "POST"),
        ("GET", "/db/_find", "POST"),
        ("PUT", "/db/_index", "GET,POST"),
        ("GET", "/db/_index/ddoc/json/name", "DELETE"),
        ("GET", "/db/_index/_design/ddoc/json/name", "DELETE"),
        ("PUT", "/db/_all_docs", "GET,HEAD,POST"),
        ("DELETE", "/db/_security", "PUT,GET"),
    ],
)
async def test_another_method_is_answered_with_the_ones_that_are_allowed(
    client: Client, database: str, method: str, target: str, allow: str
) -> None:
    answer = await client.ask(method, target)
    assert (answer.status, answer.headers["allow"]) == (405, allow)
    assert answer.json() == {"error": "method_not_allowed", "reason": f"Only {allow} allowed"}


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE", "PATCH", "COPY"])
@pytest.mark.parametrize("target", ["/db/_index/a", "/db/_index/a/b", "/db/_index/a/b/c/d", "/db/_index/a/b/c/d/e"])
async def test_a_path_of_no_index_leads_nowhere(client: Client, database: str, method: str, target: str) -> None:
    answer = await client.ask(method, target, {})
    assert (answer.status, answer.json()) == (404, {"error": "not_found", "reason": "missing"})


async def test_more_behind_a_query_means_nothing(client: Client, database: str) -> None:
    assert (await client.ask("POST", "/db/_find/more", {"selector": {}})).status == 200
    assert (await client.ask("GET", "/db/_explain/more")).headers["allow"] == "POST"


async def test_parameters_may_have_semicolons_between_them(client: Client, database: str) -> None:
    await client.ask("POST", "/db/_bulk_docs", {"docs": [{"_id": id} for id in "a;c"]})
    rows = (await client.json("GET", "/db/_all_docs?limit=1;skip=1;"))["rows"]
    assert [row["id"] for row in rows] == ["a"]
    assert len((await client.json("GET", '/db/_all_docs?key="%3B"'))["rows"]) == 1


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/db/_design/app/_show/it"),
        ("GET", "/db/_design/app/_list/it/view"),
        ("GET", "/db/_design/app/_rewrite/it"),
        ("GET", "/_reshard"),
        ("PUT", "/_reshard/state"),
        ("GET", "/_node/_local/_stats"),
        ("GET", "/_node/_local/_system"),
        ("POST", "/_node/_local/_restart"),
        ("POST", "/_node/_local/_config/_reload"),
    ],
)
async def test_what_the_store_does_not_do_is_named(client: Client, database: str, method: str, target: str) -> None:
    await client.ask("PUT", "/db/_design/app", {})
    assert (await client.json(method, target, {}))["error"] == "not_implemented"


async def test_feeds_of_databases_want_a_database_that_is_not_there_from_the_start(client: Client) -> None:
    assert (await client.ask("GET", "/_db_updates")).status == 404
    await client.ask("PUT", "/_global_changes")
    assert (await client.json("GET", "/_db_updates"))["results"] == []


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("PUT", "/db"),
        ("DELETE", "/db"),
        ("GET", "/db"),
        ("GET", "/db/id"),
        ("PUT", "/db/id"),
        ("GET", "/db/id/file"),
        ("POST", "/db/_find"),
        ("GET", "/_all_dbs"),
    ],
)
async def test_a_stranger_is_not_let_in(client: Client, database: str, method: str, target: str) -> None:
    answer = await client.ask(method, target, {}, user=ANONYMOUS)
    assert (answer.status, answer.json()["error"]) == (401, "unauthorized")


@pytest.mark.parametrize("target", ["/", "/_up", "/_session", "/_uuids"])
async def test_a_stranger_may_ask_who_is_there(client: Client, target: str) -> None:
    assert (await client.ask("GET", target, user=ANONYMOUS)).status == 200


async def test_a_fault_of_the_store_is_an_answer_and_in_the_log(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> list[str]:
        raise ZeroDivisionError

    monkeypatch.setattr(server, "_database_names", fail)
    with caplog.at_level(logging.ERROR, "couchmodel.embedded"):
        answer = await client.ask("GET", "/_all_dbs")
    assert (answer.status, answer.json()["reason"]) == (500, "ZeroDivisionError")
    assert "ZeroDivisionError" in caplog.text


async def test_a_head_is_a_get_without_its_body(client: Client, database: str) -> None:
    await client.ask("PUT", "/db/id", {"a": 1})
    got, head = await client.ask("GET", "/db/id"), await client.ask("HEAD", "/db/id")
    assert (head.status, head.body, head.stream) == (200, b"", None)
    assert head.headers == {**got.headers, "content-length": str(len(got.body))}


async def test_a_head_of_an_attachment_says_how_long_it_is(client: Client, database: str) -> None:
    await client.ask("PUT", "/db/id/file", b"x" * 1000, headers={"content-type": "image/png"})
    head = await client.ask("HEAD", "/db/id/file")
    assert (head.status, head.stream, head.headers["content-length"]) == (200, None, "1000")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'"x"', b"\xff", b'{"a": 1e999}', b'{"a": NaN}'])
@pytest.mark.parametrize("target", ["/db/id", "/db"])
async def test_a_bad_body_is_refused_and_writes_nothing(
    client: Client, database: str, target: str, text: bytes
) -> None:
    assert (await client.ask("PUT" if target == "/db/id" else "POST", target, text)).status == 400
    assert (await client.json("GET", "/db"))["update_seq"].startswith("0-")


@pytest.mark.parametrize(
    "body",
    [
        {"docs": [{"_id": "a"}, {"_id": "_bad"}]},
        {"docs": [{"_id": "a"}, {"_id": "b", "_attachments": {"x": {"stub": True}}}]},
        {"docs": [{"_id": "a"}, {"_id": "b", "_rev": "x"}]},
        {"docs": [{"_id": "a", "_rev": "1-a"}, {"_id": "b"}], "new_edits": False},
    ],
)
async def test_a_bulk_request_that_fails_writes_nothing(client: Client, database: str, body: Any) -> None:
    assert (await client.ask("POST", "/db/_bulk_docs", body)).status in (400, 412)
    assert (await client.json("GET", "/db"))["doc_count"] == 0


@pytest.mark.parametrize(
    ("method", "target", "status", "error", "reason"),
    [
        ("PUT", "/db/%ff", 400, "illegal_docid", "Document id must be valid UTF-8"),
        ("GET", "/db/%ff", 404, "not_found", "missing"),
        ("PUT", "/db/a/%ff", 400, "bad_request", "Attachment name is not UTF-8 encoded"),
        ("GET", "/db/a/%ff", 404, "not_found", "missing"),
        ("PUT", "/%ff", 400, "illegal_database_name", "Name must be valid UTF-8"),
        ("GET", "/db/_all_docs?startkey=%ff", 400, "bad_request", "invalid UTF-8 JSON"),
        (
            "GET",
            f"/db/_all_docs?limit={10**30}",
            400,
            "query_parse_error",
            "Limit is too large, must not exceed 576460752303423487",
        ),
        (
            "GET",
            f"/db/_changes?since={10**30}",
            400,
            "bad_request",
            "Malformed sequence supplied in 'since' parameter.",
        ),
    ],
)
async def test_what_makes_no_sense_is_refused_as_couchdb_refuses_it(
    client: Client, database: str, method: str, target: str, status: int, error: str, reason: str
) -> None:
    answer = await client.ask(method, target, {})
    assert (answer.status, answer.json()) == (status, {"error": error, "reason": reason})


@pytest.mark.parametrize(
    "text", [b"[" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b'{"a": 1%b}' % (b"0" * 100_000)]
)
async def test_a_bomb_is_defused(client: Client, database: str, text: bytes) -> None:
    assert (await client.ask("PUT", "/db/bomb", text)).status == 400


async def test_too_many_documents_at_once_are_refused_and_none_is_written(client: Client, database: str) -> None:
    answer = await client.ask("POST", f"/{database}/_bulk_docs", b'{"docs":[%b{}]}' % (b"{}," * 500_000))
    assert (answer.status, answer.json()["error"]) == (413, "too_large")
    assert (await client.ask("GET", f"/{database}")).json()["doc_count"] == 0


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("_revs_diff", {"a": "x" * 8_400_000}),
        ("_revs_diff", {"a": [[]] * 500_000}),
        ("_all_docs", {"keys": [[]] * 500_000}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_asks_for_too_much_is_refused(client: Client, database: str, target: str, body: object) -> None:
    answer = await client.ask("POST", f"/{database}/{target}", body)
    assert (answer.status, answer.json()["error"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("target", "document"),
    [
        ("/db/_design/large", {"views": {}, "lists": [[]] * 100_000}),
        ("/_users/org.couchdb.user:ada", {"name": "ada", "type": "user", "roles": [], "more": [[]] * 100_000}),
        ("/db/large", {"_attachments": {f"a{n}": {"data": ""} for n in range(60_000)}}),
        ("/db/large", {"_revisions": {"start": 200_000, "ids": ["a" * 8] * 120_000}}),
    ],
)
async def test_what_the_store_would_have_to_read_at_once_may_not_have_too_much(
    client: Client, database: str, target: str, document: object
) -> None:
    answer = await client.ask("PUT", target, document)
    assert (answer.status, answer.json()["error"]) == (413, "document_too_large")
    assert (await client.ask("GET", target)).status == 404


@pytest.mark.parametrize(
    ("target", "body", "reason"),
    [
        (
            "_find",
            {"selector": {"title": "x" * 262_144}},
            "a query may have 262144 bytes, and this one has 262169",
        ),
        (
            "_changes?filter=_selector",
            {"selector": {"n": {"$in": [*range(50_000)]}}},
            "a query may have 262144 bytes, and this one has 288918",
        ),
        (
            "_find",
            {"selector": {"$or": [{}] * 5000}},
            "a query may have 5000 arrays, objects and members, and this one has 5005",
        ),
        (
            "_explain",
            {"selector": {f"n{n}": n for n in range(5000)}},
            "a query may have 5000 arrays, objects and members, and this one has 5003",
        ),
        (
            "_index",
            {"index": {"fields": ["n"], "partial_filter_selector": {"$nor": [{"n": 1}] * 2500}}},
            "a query may have 5000 arrays, objects and members, and this one has 5009",
        ),
        ("_find", {"selector": {}, "fields": ["n"] * 1001}, "a query may have 1000 fields, and this one has 1001"),
        (
            "_index",
            {"index": {"fields": ["n"] * 1001}},
            "a query may have 1000 fields to sort by, and this one has 1001",
        ),
    ],
)
async def test_a_query_that_is_too_large_is_refused_with_the_limit(
    client: Client, database: str, target: str, body: object, reason: str
) -> None:
    answer = await client.ask("POST", f"/{database}/{target}", json.dumps(body, separators=(",", ":")).encode())
    assert (answer.status, answer.json()) == (413, {"error": "too_large", "reason": reason})


async def test_a_query_may_have_many_values_in_one_list(client: Client, database: str) -> None:
    await client.ask("PUT", f"/{database}/pie", {"n": 29_999})
    found = await client.json("POST", f"/{database}/_find", {"selector": {"n": {"$in": list(range(30_000))}}})
    assert [document["_id"] for document in found["docs"]] == ["pie"]


async def test_a_query_may_look_for_a_long_array(client: Client, database: str) -> None:
    await client.ask("PUT", f"/{database}/pie", {"n": list(range(10_000))})
    await client.ask("POST", f"/{database}/_index", {"index": {"fields": ["n"]}})
    found = await client.json("POST", f"/{database}/_find", {"selector": {"n": list(range(10_000))}})
    assert [document["_id"] for document in found["docs"]] == ["pie"]


async def test_a_document_that_is_too_large_is_refused(client: Client, database: str) -> None:
    answer = await client.ask("PUT", "/db/large", {"text": "x" * 8_000_001})
    assert (answer.status, answer.json()) == (413, {"error": "document_too_large", "reason": ""})


async def test_a_body_may_come_in_pieces(client: Client, database: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b'{"a"', b": 1", b"}"):
            yield piece

    assert (await client.ask("PUT", "/db/id", pieces())).status == 201
    assert (await client.json("GET", "/db/id"))["a"] == 1


@pytest.mark.parametrize("id", ["..", ".", "a/b", "a?b", "☃", "_design/a", "a\x00b", "x" * 5000])
async def test_any_id_comes_back_as_it_was(client: Client, database: str, id: str) -> None:
    rows = await client.json("POST", "/db/_bulk_docs", {"docs": [{"_id": id, "a": 1}]})
    assert rows[0]["ok"]
    found = await client.json("POST", "/db/_all_docs", {"keys": [id], "include_docs": True})
    assert found["rows"][0]["doc"]["_id"] == id


async def test_a_revision_that_is_no_hash_is_still_json(client: Client, database: str) -> None:
    rev = '1-"\\☃'
    await client.ask("POST", "/db/_bulk_docs", {"new_edits": False, "docs": [{"_id": "a", "_rev": rev}]})
    assert (await client.json("GET", "/db/a"))["_rev"] == rev
    assert (await client.json("GET", "/db/_all_docs"))["rows"][0]["value"] == {"rev": rev}
    assert (await client.json("GET", "/db/_changes"))["results"][0]["changes"] == [{"rev": rev}]
    missing = (await client.json("POST", "/db/_revs_diff", {"a": [rev, "2-'"]}))["a"]["missing"]
    assert missing == ["2-'"]


async def test_a_database_that_is_made_again_is_empty_and_another_one(client: Client, database: str) -> None:
    await client.ask("PUT", "/db/id", {})
    await client.ask("PUT", "/db/_local/id", {})
    await client.ask("DELETE", "/db")
    await client.ask("PUT", "/db")
    info = await client.json("GET", "/db")
    assert (info["doc_count"], info["update_seq"].partition("-")[0]) == (0, "0")
    assert (await client.ask("GET", "/db/_local/id")).status == 404


async def test_a_write_to_a_database_that_was_just_dropped_is_refused(database: str, client: Client) -> None:
    held = client.store.database("db")
    await client.ask("DELETE", "/db")
    client.store.databases["db"] = held
    assert (await client.ask("PUT", "/db/id", {})).status == 404
    assert (await client.ask("GET", "/db")).status == 404


async def test_a_store_that_cannot_be_opened_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(StoreFileError, match="there is no folder"):
        await Client(Store(tmp_path / "missing" / "store.db")).ask("GET", "/")


@pytest.mark.parametrize("target", ["//db/a", "/db//a", "/db/a/", "/db///a//"])
async def test_of_several_slashes_one_counts(client: Client, database: str, target: str) -> None:
    await client.ask("PUT", "/db/a", {})
    assert (await client.json("GET", target))["_id"] == "a"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("/db/_design%2Fa", "http://here/db/_design/a"),
        ("/db/_design%2fa?rev=1-x", "http://here/db/_design/a?rev=1-x"),
        ("/db/_design%2Fa/_view/b?key=%22c+d%22", "http://here/db/_design/a/_view/b?key=%22c+d%22"),
    ],
)
async def test_a_design_document_has_one_address(
    client: Client, database: str, method: str, target: str, address: str
) -> None:
    answer = await client.ask(method, target, headers={"host": "here"})
    assert (answer.status, answer.headers["location"]) == (301, address)
    assert (await client.ask("PUT", "/db/_design%2Fa", {})).status == 201


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ({}, "http://here"),
        ({"x-forwarded-host": "proxy.example:81"}, "http://proxy.example:81"),
        ({"x-forwarded-proto": "https"}, "https://here"),
        ({"x-forwarded-proto": "ftp"}, "http://here"),
        ({"x-forwarded-ssl": "on"}, "https://here"),
        ({"x-forwarded-ssl": "off", "x-forwarded-proto": "https"}, "https://here"),
        ({"x-forwarded-host": "proxy.example", "x-forwarded-ssl": "on"}, "https://proxy.example"),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    ("method", "target", "more", "path"),
    [
        ("PUT", "/other", {}, "/other"),
        ("PUT", "/db/a", {}, "/db/a"),
        ("PUT", "/db/a/file", {}, "/db/a/file"),
        ("COPY", "/db/_design%2Fd", {"destination": "b"}, "/db/b"),
        ("GET", "/db/_design%2Fd", {}, "/db/_design/d"),
    ],
)
async def test_an_address_is_the_one_that_the_client_knows(
    client: Client,
    database: str,
    method: str,
    target: str,
    more: dict[str, str],
    path: str,
    headers: dict[str, str],
    origin: str,
) -> None:
    await client.ask("PUT", "/db/_design/d", {})
    answer = await client.ask(
        method, target, {} if method == "PUT" else None, headers={"host": "here", **more, **headers}
    )
    assert answer.headers["location"] == origin + path


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "POST", "COPY"])
@pytest.mark.parametrize("target", ["/db/_local%2F", "/db/_local/", "/db/_local"])
async def test_a_local_document_has_a_name(client: Client, database: str, method: str, target: str) -> None:
    answer = await client.ask(method, target, {})
    assert answer.status == 400
    if method != "HEAD":
        assert answer.json() == {"error": "bad_request", "reason": "Invalid _local document id."}
