"""What ``_explain`` says: the same of every store."""

from typing import Any

import pytest

from couchmodel.engine import Database


@pytest.fixture
async def indexed(database: Database) -> Database:
    await database.index({"fields": ["a"]}, name="a", ddoc="a")
    await database.index({"fields": ["a", "b"]}, name="ab", ddoc="b")
    await database.index({"fields": ["b"], "partial_filter_selector": {"c": 1}}, name="p", ddoc="p")
    await database.index({"fields": ["z"]}, name="z", ddoc="z")
    return database


async def test_the_indexes_that_are_not_taken_are_told_with_a_reason(indexed: Database) -> None:
    answer = await indexed.explain({"a": 1, "b": {"$gt": 2}}, fields=["a", "b"], sort=[{"a": "desc"}])
    told = [(each["index"]["name"], each["analysis"]) for each in answer["index_candidates"]]
    assert [(name, said["reasons"][0]["name"], said["ranking"], said["usable"]) for name, said in told] == [
        ("z", "field_mismatch", 2, False),
        ("p", "is_partial", 3, False),
        ("a", "less_overlap", 1, True),
        ("_all_docs", "field_mismatch", 2, False),
    ]


async def test_the_range_that_is_read_is_shown(indexed: Database) -> None:
    answer = await indexed.explain({"a": 1, "b": {"$gt": 2}}, fields=["a", "b"], sort=[{"a": "desc"}])
    said = answer["mrargs"]
    assert (said["start_key"], said["end_key"], said["direction"]) == ([1, "<MAX>"], [1, 2], "rev")


@pytest.mark.parametrize(("fields", "covering"), [(["a", "_id"], True), (["a", "c"], False), ([], False)])
async def test_an_index_covers_a_query_of_its_own_fields(indexed: Database, fields: list[str], covering: bool) -> None:
    answer = await indexed.explain({"a": 1}, fields=fields)
    assert (answer["covering"], answer["mrargs"]["include_docs"]) == (covering, not covering)


@pytest.mark.parametrize(
    ("selector", "start", "end"),
    [
        ({"_id": {"$gt": None}}, None, "<MAX>"),
        ({"_id": {"$lt": "z"}}, "", "z"),
        ({"_id": {"$gt": "b", "$lt": "a"}}, None, None),
        ({"a": {"$beginsWith": "x"}}, ["x"], ["x\uffff", "<MAX>"]),
        ({"q": 1}, None, "<MAX>"),
    ],
)
async def test_open_ends_are_marked(indexed: Database, selector: dict[str, Any], start: object, end: object) -> None:
    said = (await indexed.explain(selector))["mrargs"]
    assert (said["start_key"], said["end_key"]) == (start, end)


async def test_a_query_without_an_index_for_its_sort_is_explained_without_one(indexed: Database) -> None:
    answer = await indexed.explain({"q": 1, "$or": [{"a": 1}]}, sort=["q"])
    assert answer["index"] is None
    assert "mrargs" not in answer
    assert answer["selector_hints"] == [{"type": "json", "indexable_fields": ["q"], "unindexable_fields": ["a"]}]


async def test_a_large_selector_is_shown_whole(indexed: Database) -> None:
    selector = {"$or": [{"a": {"$eq": n}, "é": {"$in": [n, {"x": []}]}} for n in range(400)]}
    answer = await indexed.explain(selector)
    assert len(answer["selector"]["$or"]) == 400
    assert answer["selector"]["$or"][7] == {"$and": [{"a": {"$eq": 7}}, {"é": {"$in": [7, {"x": []}]}}]}
