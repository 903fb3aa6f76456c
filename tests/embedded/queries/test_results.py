"""Large results come in pieces, and pages join without a gap or an overlap."""

import asyncio
import json
from typing import Any

import pytest

from couchmodel._embedded import limits
from couchmodel._embedded.queries.search import FindBatch
from couchmodel._wire.messages import Response
from couchmodel.errors import ServerError
from tests.embedded.conftest import Client

COUNT = 25


@pytest.fixture
async def numbers(client: Client, database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The target of a database of numbers, some of them alike; results come in batches of seven."""
    monkeypatch.setattr(limits, "BATCH_ROWS", 7)
    documents = [{"_id": f"n{number:02}", "n": number, "mod": number % 4} for number in range(COUNT)]
    await client.ask("POST", f"{database}/_bulk_docs", {"docs": documents})
    await client.ask("POST", f"{database}/_index", {"index": {"fields": ["mod"]}})
    return database


async def streamed(answer: Response) -> tuple[int, Any]:
    """How many pieces an answer has come in, and its decoded body."""
    if answer.stream is None:
        return 1, answer.json()
    pieces = [piece async for piece in answer.stream]
    answer.body, answer.stream = b"".join(pieces), None
    return len(pieces), answer.json()


@pytest.mark.parametrize("parameters", ["", "?include_docs=true", "?descending=true", "?skip=3", '?startkey="n02"'])
async def test_all_docs_come_in_pieces(client: Client, numbers: str, parameters: str) -> None:
    pieces, body = await streamed(await client.ask("GET", f"{numbers}/_all_docs{parameters}"))
    ids = [row["id"] for row in body["rows"]]
    assert pieces > 3
    assert ids == sorted(set(ids), reverse="descending" in parameters)
    assert len(ids) == COUNT + 1 - (3 if parameters.startswith(("?skip", "?startkey")) else 0)


async def test_a_limit_holds_across_the_pieces(client: Client, numbers: str) -> None:
    _, body = await streamed(await client.ask("GET", f"{numbers}/_all_docs?limit=20"))
    assert len(body["rows"]) == 20


async def test_many_keys_come_in_pieces(client: Client, numbers: str) -> None:
    keys = [f"n{number:02}" for number in range(COUNT)] * 2
    pieces, body = await streamed(await client.ask("POST", f"{numbers}/_all_docs", {"keys": keys}))
    assert pieces > 3
    assert [row["key"] for row in body["rows"]] == keys


@pytest.mark.parametrize("parameters", ["", "?descending=true", "?limit=20"])
async def test_changes_come_in_pieces(client: Client, numbers: str, parameters: str) -> None:
    pieces, body = await streamed(await client.ask("GET", f"{numbers}/_changes{parameters}"))
    assert pieces > 2
    assert len({row["id"] for row in body["results"]}) == (20 if "limit" in parameters else COUNT + 1)


async def test_documents_that_change_between_two_pieces_are_told_as_they_are_then(client: Client, numbers: str) -> None:
    answer = await client.ask("GET", f"{numbers}/_all_docs")
    assert answer.stream is not None
    pieces = aiter(answer.stream)
    first = await anext(pieces)
    await client.ask("PUT", f"{numbers}/n99", {})
    assert b"n99" in first + b"".join([piece async for piece in pieces])


@pytest.mark.parametrize(
    "query",
    [
        {"selector": {"n": {"$gte": 0}}},
        {"selector": {"mod": {"$gte": 0}}, "sort": ["mod"]},
        {"selector": {"mod": {"$gte": 0}}, "sort": [{"mod": "desc"}], "fields": ["_id", "mod"]},
        {"selector": {"_id": {"$gt": None}}, "sort": [{"_id": "desc"}]},
    ],
)
async def test_found_documents_come_in_pieces_and_in_pages_alike(
    client: Client, numbers: str, query: dict[str, Any]
) -> None:
    pieces, body = await streamed(await client.ask("POST", f"{numbers}/_find", {**query, "limit": 1000}))
    assert pieces > 3
    assert len({document["_id"] for document in body["docs"]}) == COUNT
    paged: list[Any] = []
    bookmark = None
    while len(paged) < COUNT:
        page = await client.json("POST", f"{numbers}/_find", {**query, "limit": 4, "bookmark": bookmark})
        paged += page["docs"]
        bookmark = page["bookmark"]
    assert paged == body["docs"]


@pytest.mark.parametrize("reduce", ["_sum", "_stats"])
async def test_a_result_beyond_all_numbers_is_an_error_with_the_code_of_couchdb(
    client: Client, database: str, reduce: str
) -> None:
    for id, number in (("a", 1e308), ("b", 1.7e308)):
        await client.ask("PUT", f"{database}/{id}", {"n": number})
    views = {"v": {"map": "function (doc) { emit(null, doc.n); }", "reduce": reduce}}
    await client.ask("PUT", f"{database}/_design/d", {"views": views})
    for query in ("", "?group=true"):
        answer = await client.ask("GET", f"{database}/_design/d/_view/v{query}")
        assert (answer.status, answer.json()["error"]) == (500, "badarith")


async def test_a_page_after_the_last_is_empty_and_keeps_its_bookmark(client: Client, numbers: str) -> None:
    query = {"selector": {"n": {"$gt": 20}}, "limit": 10}
    bookmark = (await client.json("POST", f"{numbers}/_find", query))["bookmark"]
    last = await client.json("POST", f"{numbers}/_find", {**query, "bookmark": bookmark})
    assert (last["docs"], last["bookmark"]) == ([], bookmark)


async def test_a_page_goes_on_behind_a_document_that_is_gone(client: Client, numbers: str) -> None:
    query = {"selector": {"n": {"$gte": 0}}, "limit": 2, "fields": ["_id", "_rev"]}
    page = await client.json("POST", f"{numbers}/_find", query)
    await client.ask("DELETE", f"{numbers}/n01?rev={page['docs'][1]['_rev']}")
    page = await client.json("POST", f"{numbers}/_find", {**query, "bookmark": page["bookmark"]})
    assert [document["_id"] for document in page["docs"]] == ["n02", "n03"]


@pytest.mark.parametrize("bookmark", ["garbage", "W10", "W251bGwsNV0", "é", 5])
async def test_what_is_no_bookmark_is_refused(client: Client, numbers: str, bookmark: object) -> None:
    answer = await client.ask("POST", f"{numbers}/_find", {"selector": {}, "bookmark": bookmark})
    assert (answer.status, answer.json()["error"]) == (400, "invalid_bookmark")


async def test_the_bookmark_of_another_query_is_refused(client: Client, numbers: str) -> None:
    page = await client.json("POST", f"{numbers}/_find", {"selector": {"n": 1}})
    query = {"selector": {"mod": 1}, "sort": ["mod"], "bookmark": page["bookmark"]}
    assert (await client.ask("POST", f"{numbers}/_find", query)).status == 400


async def test_an_index_holds_only_documents_that_have_its_fields(client: Client, numbers: str) -> None:
    await client.ask("PUT", f"{numbers}/odd", {"mod": "one"})
    await client.ask("PUT", f"{numbers}/none", {})
    query = {"selector": {"mod": {"$gt": 2}}, "sort": ["mod"], "fields": ["_id"], "limit": 100}
    found = await client.json("POST", f"{numbers}/_find", query)
    ids = [document["_id"] for document in found["docs"]]
    assert ids[-1] == "odd"
    assert "none" not in ids


async def test_a_partial_index_holds_only_what_its_filter_matches(client: Client, numbers: str) -> None:
    index = {"fields": ["n"], "partial_filter_selector": {"mod": 0}}
    await client.ask("POST", f"{numbers}/_index", {"index": index, "ddoc": "part", "name": "fours"})
    query = {"selector": {"n": {"$gt": 3}}, "sort": ["n"], "use_index": ["part", "fours"], "fields": ["n"]}
    found = await client.json("POST", f"{numbers}/_find", query)
    assert [document["n"] for document in found["docs"]] == [4, 8, 12, 16, 20, 24]


async def test_a_pattern_that_takes_long_is_in_nobodys_way(
    client: Client, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("couchmodel._embedded.limits.REGEX_SECONDS", 0.2)
    await client.ask("PUT", "/db/a", {"x": "x" * 60})
    query = {"selector": {"_id": "a", "x": {"$regex": "(x|xx)+!"}}}
    asking = asyncio.create_task(client.json("POST", "/db/_find", query))
    turns = 0
    while not asking.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert (await asking)["error"] == "regex_timeout"
    assert turns > 2


async def test_a_query_that_goes_on_for_too_long_is_ended(
    client: Client, numbers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("couchmodel._embedded.limits.QUERY_SECONDS", 0.0)
    answer = await client.ask("POST", f"{numbers}/_find", {"selector": {"n": -1}})
    assert (answer.status, answer.json()) == (
        500,
        {"error": "timeout", "reason": "The request could not be processed in a reasonable amount of time."},
    )


@pytest.mark.parametrize("least", [0, COUNT])
async def test_a_query_may_take_long_as_long_as_it_finds_something(
    client: Client, numbers: str, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    monkeypatch.setattr(FindBatch, "seconds", 30.0)
    answer = await client.ask("POST", f"{numbers}/_find", {"selector": {"n": {"$gte": least}}, "limit": 100})
    assert len((await streamed(answer))[1].get("docs", ())) == COUNT - least
    assert (answer.status == 500) == (least == COUNT)


@pytest.mark.parametrize("condition", [{"$regex": "y|(x|xx)+!"}, {"$not": {"$elemMatch": {"$regex": "y|(x|xx)+!"}}}])
async def test_an_answer_that_goes_on_for_too_long_breaks_off(
    client: Client, database: str, condition: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("couchmodel._embedded.limits.QUERY_SECONDS", 0.5)
    monkeypatch.setattr("couchmodel._embedded.limits.BATCH_ROWS", 1)
    hard: Any = "x" * 60
    docs = [{"x": "y"}, {"x": hard}] if "$regex" in condition else [{"x": []}, {"x": [hard]}]
    docs = [{"_id": f"d{n}", **doc} for n, doc in enumerate(docs)]
    await client.ask("POST", f"{database}/_bulk_docs", {"docs": docs})
    answer = await client.ask("POST", f"{database}/_find", {"selector": {"x": condition}})
    assert answer.stream is not None
    with pytest.raises(ServerError, match="500 timeout: "):
        _ = [piece async for piece in answer.stream]


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("_find", {"selector": {"mod": 1}, "limit": 5, "execution_stats": True, "sort": ["mod"]}),
        ("_find", {"selector": {"n": {"$in": [3, 4]}}}),
        ("_changes?filter=_selector", {"selector": {"mod": 1}}),
        ("_changes?filter=_selector&limit=3&descending=true", {"selector": {"mod": 1}}),
    ],
)
async def test_a_read_that_takes_long_goes_on_in_its_next_turn(
    client: Client, numbers: str, target: str, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await client.json("POST", f"{numbers}/{target}", body)
    monkeypatch.setattr("couchmodel._embedded.limits.TURN_SECONDS", 0.0)
    found = await client.json("POST", f"{numbers}/{target}", body)
    for answer in (expected, found):
        answer.get("execution_stats", {}).pop("execution_time_ms", None)
    assert found == expected


async def test_documents_that_are_large_are_read_a_few_at_a_time(client: Client, database: str) -> None:
    docs = [{"_id": f"d{n}", "text": "x" * 400_000} for n in range(30)]
    await client.ask("POST", f"{database}/_bulk_docs", {"docs": docs})
    answer = await client.ask("POST", f"{database}/_bulk_get", {"docs": [{"id": doc["_id"]} for doc in docs]})
    assert answer.stream is not None
    pieces = [piece async for piece in answer.stream]
    assert [row["docs"][0]["ok"]["_id"] for row in json.loads(b"".join(pieces))["results"]] == [d["_id"] for d in docs]
    assert max(map(len, pieces)) < 2_000_000
