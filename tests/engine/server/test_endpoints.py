"""Endpoints that few programs ask for, and what answers where there is nothing."""

import secrets
from collections.abc import Mapping
from typing import Any

import pytest

from couchmodel import Connection
from couchmodel._wire.messages import Request, Response, encode, parse_target
from couchmodel.engine import Database
from couchmodel.errors import ResponseError
from tests.engine import requests
from tests.engine.requests import call

JSON = {"content-type": "application/json"}


async def ask(
    couch: Connection, method: str, target: str, body: object = None, headers: Mapping[str, str] = JSON
) -> Response:
    """The answer to a request to the server."""
    path, query = parse_target(target)
    raw = b"" if body is None else encode(body)
    answer = await couch.session.send(Request(method, path, query, headers, raw))
    await answer.collect()
    return answer


@pytest.mark.parametrize("shards", [1, 2, 3, 7])
async def test_a_document_has_a_shard(couch: Connection, shards: int) -> None:
    database = await couch.create(f"test-{secrets.token_hex(6)}", q=shards)
    ranges = sorted((await call(database, "GET", "_shards"))["shards"])
    of_pie = (await call(database, "GET", "_shards/pie"))["range"]
    await database.delete()
    assert (len(ranges), ranges[0][:8], ranges[-1][9:]) == (shards, "00000000", "ffffffff")
    assert of_pie == next(each for each in ranges if each[:8] <= "2257f47b" <= each[9:])  # its CRC-32


async def test_a_partition_has_a_shard(couch: Connection) -> None:
    database = await couch.create(f"test-{secrets.token_hex(6)}", q=7, partitioned=True)
    found = {(await call(database, "GET", f"_shards/pie:{n}"))["range"] for n in range(5)}
    with pytest.raises(ResponseError, match="partition:id"):
        await call(database, "GET", "_shards/pie")
    await database.delete()
    assert len(found) == 1


async def test_shards_are_in_agreement(database: Database) -> None:
    assert await call(database, "POST", "_sync_shards") == {"ok": True}


@pytest.mark.parametrize(
    ("method", "target", "status", "error", "reason"),
    [
        ("GET", "_temp_view", 410, "gone", "Temporary views are not supported in CouchDB"),
        ("POST", "_temp_view", 410, "gone", "Temporary views are not supported in CouchDB"),
        ("POST", "_shards", 405, "method_not_allowed", "Only GET allowed"),
        ("GET", "_sync_shards", 405, "method_not_allowed", "Only POST allowed"),
        ("GET", "_design/app/_search/it", 503, "service unavailable", "Search is not available"),
        ("POST", "_design/app/_search/it", 503, "service unavailable", "Search is not available"),
        ("GET", "_design/app/_search_info/it", 503, "service unavailable", "Search is not available"),
        ("GET", "_design/app/_nouveau/it", 404, "not_found", "missing"),
        ("GET", "_design/app/_other/it", 404, "not_found", "Document is missing attachment"),
        ("GET", "_design/nope/_search/it", 404, "not_found", "missing"),
        ("GET", "_design/nope/_show/it", 404, "not_found", "missing"),
    ],
)
async def test_what_is_not_there_is_refused(
    database: Database, method: str, target: str, status: int, error: str, reason: str
) -> None:
    await call(database, "PUT", "_design/app", {})
    with pytest.raises(ResponseError) as refusal:
        await call(database, method, target, {} if method == "POST" else None)
    assert (refusal.value.status, refusal.value.code, refusal.value.reason) == (status, error, reason)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/_search_analyze", 503),
        ("GET", "/_nouveau_analyze", 405),
        ("POST", "/_nouveau_analyze", 404),
        ("GET", "/favicon.ico", 404),
        ("GET", "/_nix", 404),
    ],
)
async def test_what_the_server_does_not_have_is_refused(
    couch: Connection, method: str, target: str, status: int
) -> None:
    with pytest.raises(ResponseError) as refusal:
        await ask(couch, method, target, {} if method == "POST" else None)
    assert refusal.value.status == status


async def test_the_cluster_is_one_node(couch: Connection) -> None:
    assert (await ask(couch, "GET", "/_cluster_setup")).json() == {"state": "single_node_enabled"}
    assert (await ask(couch, "GET", "/_node/_local/_versions")).json()["collation_driver"]["name"] == "libicu"


@pytest.mark.parametrize("target", ["/_all_dbs?limit=1", '/_dbs_info?key="_users"'])
async def test_who_has_the_list_of_databases_is_told_so(couch: Connection, target: str) -> None:
    answers = []
    for _ in range(5):  # somebody else may make a database in between
        tag = (await ask(couch, "GET", target)).headers["etag"]
        answers.append(await ask(couch, "GET", target, headers={"if-none-match": tag}))
    assert (304, b"") in [(answer.status, answer.body) for answer in answers]


async def test_ids_are_made_for_one_client(couch: Connection) -> None:
    first, second = [await ask(couch, "GET", "/_uuids") for _ in range(2)]
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["etag"] != second.headers["etag"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [({}, "`keys` member must exist."), ({"keys": "x"}, "`keys` member must be an array.")],
)
async def test_databases_are_named_in_an_array(couch: Connection, body: Any, reason: str) -> None:
    with pytest.raises(ResponseError, match=reason):
        await ask(couch, "POST", "/_dbs_info", body)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "POST body must include `queries` parameter."),
        ({"queries": {}}, "`queries` member must be an array."),
        ({"queries": [{"keys": 1}]}, "`keys` must be an array of strings."),
    ],
)
@pytest.mark.parametrize("target", ["_all_docs/queries", "_design/app/_view/it/queries"])
async def test_queries_are_an_array(database: Database, target: str, body: Any, reason: str) -> None:
    view = {"map": {"fields": {"x": "asc"}}, "options": {"def": {"fields": ["x"]}}}
    await call(database, "PUT", "_design/app", {"language": "query", "views": {"it": view}})
    with pytest.raises(ResponseError) as refusal:
        await call(database, "POST", target, body)
    assert (refusal.value.status, refusal.value.reason) == (400, reason)


@pytest.mark.parametrize("parameters", ["", "?include_docs=true&limit=5"])
async def test_who_has_all_changes_is_told_so(database: Database, parameters: str) -> None:
    await call(database, "PUT", "pie", {})
    target = f"_changes{parameters}"
    tag = (await requests.ask(database, "GET", target)).headers["etag"]
    again = await requests.ask(database, "GET", target, headers={"if-none-match": tag})
    await call(database, "PUT", "pizza", {})
    then = await requests.ask(database, "GET", target, headers={"if-none-match": tag})
    assert (again.status, again.body, then.status) == (304, b"", 200)


@pytest.mark.parametrize(
    ("target", "status", "reason"),
    [
        ("jobs?limit=x", 400, "limit must be an integer"),
        ("jobs?skip=-1", 400, "skip not in range of [0,infinity]"),
        ("docs?states=x,running", 400, "Unknown states [x]. Choose from: [initializing,"),
        ("docs/nobody/_replicator/x", 404, "Database does not exist."),
        ("docs/nobody", 400, ""),
    ],
)
async def test_a_page_of_replications_is_asked_for_in_numbers(
    couch: Connection, target: str, status: int, reason: str
) -> None:
    with pytest.raises(ResponseError) as refusal:
        await ask(couch, "GET", f"/_scheduler/{target}")
    assert (refusal.value.status, refusal.value.reason[: len(reason)]) == (status, reason)


@pytest.mark.parametrize(
    ("parameters", "ids"),
    [
        ("endkey_docid=b", "ab"),
        ("startkey_docid=b&end_key_doc_id=c", "bc"),
        ("start_key_doc_id=c&descending=true", "cba"),
        ('startkey="a"&startkey_docid=c', "abcd"),
        ('endkey="c"&endkey_docid=a', "abc"),
    ],
)
async def test_documents_are_listed_from_an_id(database: Database, parameters: str, ids: str) -> None:
    await call(database, "POST", "_bulk_docs", {"docs": [{"_id": id} for id in "abcd"]})
    assert [row["id"] for row in (await call(database, "GET", f"_all_docs?{parameters}"))["rows"]] == [*ids]


@pytest.mark.parametrize(
    ("parameters", "last", "pending"),
    [("limit=1", "1", 3), ("descending=true&limit=1", "4", 3), ("descending=true&limit=0", "4", 4)],
)
async def test_the_changes_that_are_left_are_counted(
    database: Database, parameters: str, last: str, pending: int
) -> None:
    await call(database, "POST", "_bulk_docs", {"docs": [{"_id": id} for id in "abcd"]})
    answer = await call(database, "GET", f"_changes?{parameters}")
    assert (answer["last_seq"].partition("-")[0], answer["pending"]) == (last, pending)


@pytest.mark.parametrize("parameters", ["timeout=x", "heartbeat=x", "heartbeat=0", "heartbeat=-1"])
async def test_times_are_numbers_whether_somebody_waits_or_not(database: Database, parameters: str) -> None:
    with pytest.raises(ResponseError):
        await call(database, "GET", f"_changes?{parameters}")
