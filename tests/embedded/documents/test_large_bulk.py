"""Many documents in one request, which are taken apart as they are read."""

import json
from typing import Any

import pytest

from tests.embedded.conftest import Client

_HASH = "a" * 32
_REVISIONS = {"start": 3, "ids": ["c" * 32, "b" * 32, _HASH]}
_NEW: list[dict[str, Any]] = [
    {"_id": "plain", "n": 1.50, "name": "é"},
    {"_id": "tombstone", "_deleted": True},
    {"_id": "file", "_attachments": {"a": {"data": "aGVsbG8="}}},
    {"_id": "stub", "_attachments": {"a": {"stub": True}}},
    {"_id": "conflict", "_rev": f"1-{_HASH}"},
    {"_id": "_local/note", "n": 1},
    {"_id": "plain", "n": 2},
]
_REPLICATED: list[dict[str, Any]] = [
    {"_id": "plain", "_rev": f"1-{_HASH}", "n": 1},
    {"_id": "history", "_revisions": _REVISIONS, "n": 1},
    {"_id": "tombstone", "_revisions": _REVISIONS, "_deleted": True},
    {"_id": "file", "_rev": f"2-{_HASH}", "_attachments": {"a": {"data": "aGVsbG8=", "revpos": 2}}},
]


def _large(documents: object, **members: Any) -> bytes:
    """A body with other members, too, of which it is large."""
    return json.dumps({"junk": [[]] * 30_000, "more": 1, "docs": documents, **members}).encode()


@pytest.mark.parametrize(
    ("documents", "new_edits"), [(_NEW[:3], True), (_NEW[3:4], True), (_NEW[4:], True), (_REPLICATED, False)]
)
async def test_a_large_request_writes_what_a_small_one_writes(
    client: Client, documents: list[dict[str, Any]], new_edits: bool
) -> None:
    told = []
    for name, body in [
        ("small", {"docs": documents, "new_edits": new_edits}),
        ("large", _large(documents, new_edits=new_edits)),
    ]:
        await client.ask("PUT", f"/{name}")
        answer = await client.ask("POST", f"/{name}/_bulk_docs", body)
        wanted = [{"id": document["_id"], "rev": document.get("_rev")} for document in documents]
        rows = await client.json("GET", f"/{name}/_changes?include_docs=true&style=all_docs&attachments=true")
        history = await client.json("POST", f"/{name}/_bulk_get?revs=true", {"docs": wanted[:3]})
        told.append((answer.status, answer.json(), [row["doc"] for row in rows["results"]], history))
    assert told[0] == told[1]


async def test_documents_without_an_id_get_one_each(client: Client, database: str) -> None:
    rows = (await client.ask("POST", f"{database}/_bulk_docs", _large([{}] * 50))).json()
    assert len({row["id"] for row in rows}) == 50


@pytest.mark.parametrize("bad", [5, {"_id": ""}, {"_rev": "x"}, {"_unknown": 1}, {"_attachments": {"a": {"data": 5}}}])
async def test_a_document_that_is_refused_keeps_all_from_being_written(
    client: Client, database: str, bad: object
) -> None:
    bodies = [_large([{"_id": "good"}, bad, {"_id": "late"}, 6]), {"docs": [{"_id": "good"}, bad, 6]}]
    large, small = [await client.ask("POST", f"{database}/_bulk_docs", body) for body in bodies]
    assert (large.status, large.json()) == (small.status, small.json())
    assert large.status == 400
    assert (await client.json("GET", database))["doc_count"] == 0


async def test_of_two_lists_of_documents_the_last_one_counts(client: Client, database: str) -> None:
    refused, good = [json.dumps([{"_id": f"{start}{n}"} for n in range(15_000)]) for start in ("_", "pie")]
    await client.ask("POST", f"{database}/_bulk_docs", f'{{"docs":{refused},"docs":{good}}}'.encode())
    assert (await client.json("GET", database))["doc_count"] == 15_000


async def test_what_is_no_json_in_the_end_is_refused(client: Client, database: str) -> None:
    answer = await client.ask("POST", f"{database}/_bulk_docs", _large([{"_id": "good"}])[:-1])
    assert (answer.status, answer.json()["reason"]) == (400, "invalid UTF-8 JSON")


async def test_there_are_no_transactions(client: Client, database: str) -> None:
    answer = await client.ask("POST", f"{database}/_bulk_docs", _large(_NEW[:2], all_or_nothing=True))
    assert answer.status == 417
    assert [row["id"] for row in answer.json()] == ["plain", "tombstone"]


async def test_what_was_only_accepted_is_told(client: Client, database: str) -> None:
    answer = await client.ask("POST", f"{database}/_bulk_docs", _large(_NEW[:1], w=2))
    assert (answer.status, answer.json()[0]["accepted"]) == (202, True)


_FILLERS = [b'{"_id":"filler%03d","text":"%s"}' % (n, b"x" * 900) for n in range(400)]


@pytest.mark.parametrize(
    "document",
    [
        '{"_id":"odd"}',
        '{"_id":"odd","n":-0.0}',
        '{"_id":"odd","n":[1e16,1E3,1.50,0.000001,5e-324]}',
        '{"_id":"odd","n":{"a":1,"b":2,"a":3}}',
        '{"_id":"odd","a":"\\u0022","a":"\\""}',
        '{"_id":"odd","a":"\\u00e9\\/"}',
        ' { "_id" : "odd" , "a" : [ ] } ',
        '{"_id":"odd","a":[{"_id":"x"},{"_id":"y"}]}',
        '{"_id":"odd","_replication_state":"x","n":1}',
        '{"_replication_state":"x","_id":"odd","n":1}',
        '{"n":1,"_id":"odd","_deleted":true}',
        '{"_id":"odd","_attachments":{"a":{"data":"aGVsbG8="}},"n":1}',
    ],
)
async def test_a_document_among_many_is_stored_as_it_is_alone(client: Client, document: str) -> None:
    many = b'{"docs":[%b]}' % b",".join([*_FILLERS[:300], document.encode(), *_FILLERS[300:]])
    stored = []
    for name, body in [("many", many), ("one", b'{"docs":[%b]}' % document.encode())]:
        await client.ask("PUT", f"/{name}")
        rows = (await client.ask("POST", f"/{name}/_bulk_docs", body)).json()
        rev = next(row["rev"] for row in rows if row["id"] == "odd")
        answer = await client.ask("GET", f"/{name}/odd?attachments=true&rev={rev}")
        stored.append((answer.status, answer.body))
    assert stored[0] == stored[1]
    assert stored[0][0] == 200


async def test_a_number_beyond_all_floats_among_many_documents_is_refused(client: Client, database: str) -> None:
    body = b'{"docs":[%b]}' % b",".join([*_FILLERS[:300], b'{"_id":"odd","n":1e400}', *_FILLERS[300:]])
    answer = await client.ask("POST", f"{database}/_bulk_docs", body)
    assert (answer.status, answer.json()["reason"]) == (400, "invalid UTF-8 JSON")


@pytest.mark.parametrize("new_edits", [True, False])
async def test_many_documents_meet_the_stored_ones_as_a_few_do(client: Client, new_edits: bool) -> None:
    documents: list[dict[str, Any]] = [
        {"_id": f"pie{n:03}", "_rev": f"2-{n:032x}"} if n % 5 else {"_id": f"pie{n:03}"} for n in range(250)
    ]
    if not new_edits:
        documents = [{"_rev": f"1-{_HASH}", **document} for document in documents]
    documents += [{**document, "again": True} for document in documents[40:45]]
    told = []
    for name, step in [("many", len(documents)), ("few", 51)]:
        await client.ask("PUT", f"/{name}")
        stored = [{"_id": f"pie{n:03}", "_deleted": n % 6 == 0} for n in range(0, 250, 3)]
        await client.ask("POST", f"/{name}/_bulk_docs", {"docs": [*stored, {"_id": "_local/pie"}]})
        rows: list[Any] = []
        for start in range(0, len(documents), step):
            part = {"docs": documents[start : start + step], "new_edits": new_edits}
            rows += (await client.ask("POST", f"/{name}/_bulk_docs", part)).json()
        leaves = await client.json("GET", f"/{name}/_changes?style=all_docs")
        told.append((rows, {row["id"]: row["changes"] for row in leaves["results"]}))
    assert told[0] == told[1]
