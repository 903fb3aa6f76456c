"""Short queries are answered without judging each document where their range proves it, and from memory."""

import asyncio
import random
from typing import Any, Final

import pytest

from tests.embedded.conftest import Client

VALUES: Final = [
    None,
    False,
    True,
    0,
    1,
    1.0,
    1.5,
    2,
    -3,
    2**60,
    "",
    "a",
    "A",
    "ä",
    "a\u0301",
    "b c",
    [],
    [1],
    {},
    {"d": 1},
]
IDS: Final = ["1", "2", "a", "B", "b", "ä", "z", "_design/a", "_design/z"]
OPERATORS: Final = ("$eq", "$gte", "$lte", "$gt", "$lt")
INDEXES: Final = (["a"], ["a", "b"], ["b", "a"], ["c.d"], ["a", "_id"])
PATHS: Final = ("a", "b", "c.d", "_id")


def made_document(made: random.Random, id: str) -> dict[str, Any]:
    """Return a document, in which any member may be missing."""
    document: dict[str, Any] = {"_id": id}
    for name in ("a", "b"):
        if made.random() < 0.9:
            document[name] = made.choice(VALUES)
    return document | ({"c": {"d": made.choice(VALUES)}} if made.random() < 0.5 else {})


def made_query(made: random.Random) -> dict[str, Any]:
    """Return a query of plain comparisons, with or without an order."""
    paths = made.sample(PATHS, made.randint(1, 2))
    parts: list[dict[str, Any]] = []
    for path in paths:
        operand = made.choice(IDS) if path == "_id" else made.choice(VALUES)
        chosen = dict.fromkeys(made.sample(OPERATORS, made.randint(1, 2)), operand)
        parts.append({path: {"$exists": True} if made.random() < 0.1 else chosen})
    query: dict[str, Any] = {"selector": parts[0] if len(parts) == 1 else {"$and": parts}, "limit": made.randint(1, 5)}
    if made.random() < 0.5:
        query["sort"] = [{path: made.choice(("asc", "desc"))} for path in paths[:1]]
    if made.random() < 0.2:
        query["skip"] = 1
    return query


@pytest.mark.parametrize("seed", range(4))
async def test_documents_that_a_range_proves_are_those_that_the_selector_matches(
    client: Client, database: str, seed: int
) -> None:
    made = random.Random(seed)
    ids = [*IDS, *(f"n{n}" for n in range(30))]
    await client.ask("POST", f"{database}/_bulk_docs", {"docs": [made_document(made, id) for id in ids]})
    for fields in INDEXES:
        await client.ask("POST", f"{database}/_index", {"index": {"fields": fields}})
    found = 0
    for _ in range(150):
        query = made_query(made)
        for _ in range(4):
            # Documents are judged one by one where they are counted.
            judged = await client.json("POST", f"{database}/_find", {**query, "execution_stats": True})
            judged.pop("execution_stats", None)
            judged.pop("warning", None)
            answers = [await client.json("POST", f"{database}/_find", query) for _ in range(2)]
            for answer in answers:
                answer.pop("warning", None)
                assert answer == judged, query
            found += len(judged.get("docs", ()))
            query["bookmark"] = judged.get("bookmark")
    assert found > 300


async def titles(client: Client, database: str, query: dict[str, Any]) -> list[str]:
    """Return the ids of the documents that a query finds."""
    answer = await client.json("POST", f"{database}/_find", query)
    return [document["_id"] for document in answer["docs"]]


RATED: Final[dict[str, Any]] = {"selector": {"rating": {"$gte": 3}}, "sort": ["rating"], "limit": 10}


@pytest.fixture
async def rated(client: Client, database: str) -> str:
    """The target of a database of three documents by rating, which were found once."""
    documents = [{"_id": f"r{n}", "rating": n} for n in (3, 4, 5)]
    await client.ask("POST", f"{database}/_bulk_docs", {"docs": documents})
    await client.ask("POST", f"{database}/_index", {"index": {"fields": ["rating"]}, "ddoc": "rating"})
    assert await titles(client, database, RATED) == ["r3", "r4", "r5"]
    return database


async def test_a_known_query_sees_each_write(client: Client, rated: str) -> None:
    await client.ask("PUT", f"{rated}/r6", {"rating": 6})
    assert await titles(client, rated, RATED) == ["r3", "r4", "r5", "r6"]
    revs = {id: (await client.json("GET", f"{rated}/{id}"))["_rev"] for id in ("r3", "r4", "r5")}
    await client.ask("PUT", f"{rated}/r3", {"_rev": revs["r3"], "rating": 9})
    assert await titles(client, rated, RATED) == ["r4", "r5", "r6", "r3"]
    await client.ask("DELETE", f"{rated}/r4?rev={revs['r4']}")
    assert await titles(client, rated, RATED) == ["r5", "r6", "r3"]
    await client.ask("POST", f"{rated}/_purge", {"r5": [revs["r5"]]})
    assert await titles(client, rated, RATED) == ["r6", "r3"]


async def test_a_known_query_sees_that_its_index_is_gone(client: Client, rated: str) -> None:
    names = [each["name"] for each in (await client.json("GET", f"{rated}/_index"))["indexes"] if each["ddoc"]]
    await client.ask("DELETE", f"{rated}/_index/_design/rating/json/{names[0]}")
    answer = await client.json("POST", f"{rated}/_find", RATED)
    assert answer["error"] == "no_usable_index"


async def test_a_known_query_sees_a_database_of_the_same_name(client: Client, rated: str) -> None:
    await client.ask("DELETE", rated)
    assert (await client.json("POST", f"{rated}/_find", RATED))["error"] == "not_found"
    await client.ask("PUT", rated)
    await client.ask("POST", f"{rated}/_index", {"index": {"fields": ["rating"]}})
    assert await titles(client, rated, RATED) == []


async def test_statistics_are_those_of_each_request(client: Client, rated: str) -> None:
    query = {**RATED, "execution_stats": True}
    for size in (3, 4):
        answer = await client.json("POST", f"{rated}/_find", query)
        assert answer["execution_stats"]["results_returned"] == size
        await client.ask("PUT", f"{rated}/more{size}", {"rating": 7})


async def test_many_known_queries_are_forgotten_and_answered(
    client: Client, rated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("couchmodel._embedded.limits.KNOWN_QUERIES", 2)
    monkeypatch.setattr("couchmodel._embedded.limits.KNOWN_ANSWERS_BYTES", 600)
    for _ in range(2):
        for least in range(7):
            query = {**RATED, "selector": {"rating": {"$gte": least}}}
            assert await titles(client, rated, query) == [f"r{n}" for n in (3, 4, 5) if n >= least]


@pytest.mark.parametrize("selector", [{"rating": {"$gte": 1}}, {"_id": {"$gt": None}}])
@pytest.mark.parametrize("place", [{"limit": 1}, {"limit": 1, "skip": 2}])
async def test_long_documents_are_read_on_a_thread_and_others_go_on_meanwhile(
    client: Client, rated: str, selector: dict[str, Any], place: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [{"_id": f"a{n}", "rating": 2, "text": "x" * 2000} for n in range(3)]
    await client.ask("POST", f"{rated}/_bulk_docs", {"docs": documents})
    assert len(await titles(client, rated, {**RATED, "selector": {"rating": {"$gte": 2}}})) == 6
    monkeypatch.setattr("couchmodel._embedded.limits.BATCH_BYTES", 1000)
    turn = asyncio.create_task(asyncio.sleep(0))
    assert len(await titles(client, rated, {"selector": selector, **place})) == 1
    assert turn.done()
