"""Large groups: what SQLite reduces is what the rows one by one are reduced to."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from couchmodel import connect
from couchmodel._embedded import limits
from couchmodel._model.views.javascript import write_map
from couchmodel._wire.declared_views import declaration_digest

DECLARATION = {
    "keys": [["a"], ["b"]],
    "list": True,
    "each": None,
    "value": ["n"],
    "numbers": False,
    "linked": False,
    "where": ["all", []],
}
WHOLE = st.integers(-100, 100)
FRACTIONS = st.sampled_from([0.5, 1.25, 1e100])
LARGE = st.sampled_from([2**31, 2**53, -(2**52)])
KEYS = st.sampled_from(["x", "X", "xy", None, 1, [1], {"z": 1}])
ROWS = st.lists(st.tuples(KEYS, st.integers(0, 2), WHOLE), min_size=1, max_size=30)
OTHER = st.lists(
    st.tuples(KEYS, st.integers(0, 2), WHOLE | FRACTIONS | LARGE | st.just([1, 2])), min_size=1, max_size=9
)
QUERIES: list[dict[str, Any]] = [
    {"group_level": 1},
    {"group_level": 2},
    {"group": True},
    {},
    {"group_level": 1, "descending": True},
    {"group": True, "descending": True, "startkey": ["X", 1], "endkey": ["x"]},
    {"group_level": 1, "startkey": ["X", 1], "endkey": ["xy", 1]},
    {"group_level": 1, "startkey": ["X", 1], "endkey": ["xy", 1], "inclusive_end": False},
    {"group_level": 1, "limit": 2, "skip": 1},
]


async def answers(rows: list[tuple[Any, int, Any]], reduce: str) -> list[Any]:
    source = write_map(DECLARATION)
    declared = {**DECLARATION, "digest": declaration_digest(DECLARATION, source)}
    async with connect("memory:") as couch:
        database = await couch.create("groups")
        async with database.create_docs() as bulk:
            for number, (a, b, n) in enumerate(rows):
                bulk.create(f"d{number}", data={"a": a, "b": b, "n": n})
        view = {"map": source, "couchmodel": declared, "reduce": reduce}
        await (await database.create("_design/d", data={"views": {"v": view}})).save()
        return [[row async for row in database.view("d", "v").rows(**query)] for query in QUERIES]


@settings(max_examples=15)
@given(ROWS | OTHER, st.sampled_from(["_count", "_sum", "_stats"]))
def test_large_groups_are_reduced_as_small_ones(rows: list[tuple[Any, int, Any]], reduce: str) -> None:
    if reduce == "_stats":
        rows = [row for row in rows if not isinstance(row[2], list)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "SMALL_GROUP", 10**9)
        one_by_one = asyncio.run(answers(rows, reduce))
        patch.setattr(limits, "SMALL_GROUP", 1)
        together = asyncio.run(answers(rows, reduce))
        patch.setattr(limits, "SMALL_GROUP", 3)
        mixed = asyncio.run(answers(rows, reduce))
    assert together == one_by_one
    assert mixed == one_by_one
