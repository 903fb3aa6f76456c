"""A plan narrows, and never misses what the selector matches."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from couchmodel._embedded.budget import Budget
from couchmodel._embedded.mango.fields import parse_sort
from couchmodel._embedded.mango.planner import ALL_DOCS, Index, Plan, choose, survey
from couchmodel._embedded.mango.selector import compile_selector
from couchmodel._embedded.rules.collation import sort_key

ONE = Index("_design/one", "one", ("a",))
TWO = Index("_design/two", "two", ("a", "b"))
OTHER = Index("_design/other", "other", ("c",))


def plan_for(
    indexes: list[Index], selector: dict[str, Any], sort: Sequence[str] = (), asked: tuple[str, ...] = ()
) -> Plan:
    compiled, order = compile_selector(selector), parse_sort(list(sort))
    return choose(survey(indexes, compiled, order, asked), compiled, order)


values = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "A", "ab", "b"]) | st.just([1])
operators = st.sampled_from(["$lt", "$lte", "$eq", "$gte", "$gt"])
conditions = st.dictionaries(operators, values, min_size=1, max_size=3)
selectors = st.fixed_dictionaries({"a": conditions}, optional={"b": conditions})
documents = st.fixed_dictionaries({"a": values, "b": values})


@given(selector=selectors, document=documents)
def test_what_matches_lies_in_the_range(selector: dict[str, Any], document: dict[str, Any]) -> None:
    compiled = compile_selector(selector)
    plan = plan_for([ONE, TWO], selector)
    if compiled.matches(document, Budget()):
        key = sort_key([document[column] for column in plan.index.columns])
        low, high = plan.key_bounds()
        assert not plan.nothing
        assert low <= key <= high


@pytest.mark.parametrize(
    ("selector", "sort", "name"),
    [
        ({}, [], "_all_docs"),
        ({"d": 1}, [], "_all_docs"),
        ({"a": 1}, [], "one"),
        ({"a": 1, "b": 2}, [], "two"),
        ({"a": {"$gt": None}, "b": {"$exists": True}}, ["a"], "two"),
        ({"a": 1}, ["b"], "two"),
        ({"a": 1}, ["a", "b"], "two"),
        ({"$or": [{"a": 1}, {"a": 2}]}, [], "one"),
        ({"a": {"$ne": 1}}, [], "one"),
        ({"a": {"$exists": False}}, [], "_all_docs"),
        ({"_id": {"$gt": "a"}}, ["_id"], "_all_docs"),
    ],
)
def test_the_index_is_couchdbs_choice(selector: dict[str, Any], sort: list[str], name: str) -> None:
    plan = plan_for([ONE, OTHER, TWO], selector, sort)
    assert plan.index.name == name


@pytest.mark.parametrize(
    ("selector", "sort"),
    [({"a": 1}, ["d"]), ({}, ["_id"]), ({"a": {"$gt": 1}}, ["b"]), ({"a": 1}, ["b", "a"])],
)
def test_no_index_serves_a_sort_by_other_fields(selector: dict[str, Any], sort: list[str]) -> None:
    found = survey([ONE, TWO], compile_selector(selector), parse_sort(sort), ())
    assert found.usable == []


@pytest.mark.parametrize(
    ("asked", "index", "vain"),
    [
        ((), "one", None),
        (("two",), "one", ("two",)),
        (("_design/one",), "one", None),
        (("one", "nope"), "one", ("one", "nope")),
    ],
)
def test_a_hint_that_does_not_fit_is_passed_over(
    asked: tuple[str, ...], index: str, vain: tuple[str, ...] | None
) -> None:
    plan = plan_for([ONE, TWO, OTHER], {"a": 1, "c": {"$exists": False}}, asked=asked)
    assert (plan.index.name, plan.asked) == (index, vain)


@pytest.mark.parametrize("selector", [{"a": {"$gt": 3, "$lt": 1}}, {"a": {"$gt": 3, "$eq": 3}}, {"$or": []}])
def test_what_nothing_can_match_is_not_looked_for(selector: dict[str, Any]) -> None:
    assert plan_for([ONE], selector).nothing


def test_ids_bound_a_scan() -> None:
    plan = plan_for([], {"_id": {"$gt": "a", "$lt": "b"}})
    assert (plan.index, plan.id_bounds()) == (ALL_DOCS, (("a",), ("b",)))
