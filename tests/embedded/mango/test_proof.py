"""Which ranges prove that their documents match."""

from typing import Any

import pytest

from couchmodel._embedded.mango.planner import Index, choose, survey
from couchmodel._embedded.mango.proof import Proof, prove
from couchmodel._embedded.mango.selector import compile_selector


def proof_of(selector: Any, *columns: str) -> Proof | None:
    """Return the proof of a query by an index of these columns; by ids without columns."""
    compiled = compile_selector(selector)
    indexes = [Index("_design/i", "i", columns)] if columns else []
    return prove(choose(survey(indexes, compiled, (), ()), compiled, ()), compiled)


@pytest.mark.parametrize(
    ("selector", "columns"),
    [
        ({"a": 1}, ["a"]),
        ({"a": {"$gte": 1, "$lte": 5}}, ["a"]),
        ({"a": 1, "b": {"$gte": "x"}}, ["a", "b"]),
        ({"a": 1, "b": {"$exists": True}}, ["a", "b"]),
        ({"_id": {"$gt": None}}, []),
        ({"_id": {"$gte": "a", "$lte": "b"}}, []),
        ({}, []),
    ],
)
def test_plain_comparisons_of_the_first_columns_are_proven(selector: Any, columns: list[str]) -> None:
    assert proof_of(selector, *columns) == Proof()


def test_the_bound_of_an_id_may_be_excluded() -> None:
    assert proof_of({"_id": {"$gt": "a", "$lt": "b"}}) == Proof(frozenset("ab"))


@pytest.mark.parametrize(
    ("selector", "columns"),
    [
        ({"a": {"$gt": 1}}, ["a"]),
        ({"a": {"$ne": 1}}, ["a"]),
        ({"a": {"$gte": [1]}}, ["a"]),
        ({"a": {"$in": [1]}}, ["a"]),
        ({"a": 1, "c": 1}, ["a"]),
        ({"a": {"$gte": 1}, "b": 1}, ["a", "b"]),
        ({"a": {"$exists": True}, "b": 1}, ["a", "b"]),
        ({"a": 1, "_id": {"$gte": "x"}}, ["a", "_id"]),
        ({"$or": [{"a": 1}, {"a": 2}]}, ["a"]),
        ({"_id": {"$gte": "a"}, "b": 1}, []),
        ({"$and": [{"_id": {"$gte": "a"}}, {"_id": {"$gte": "B"}}]}, []),
        ({"_id": {"$gte": 1}}, []),
    ],
)
def test_everything_else_is_judged(selector: Any, columns: list[str]) -> None:
    assert proof_of(selector, *columns) is None
