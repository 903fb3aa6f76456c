"""Views whose rows are reduced: by the built-in functions, and by functions of their own."""

from typing import Any

import pytest

from couchmodel import ServerError
from couchmodel.engine import Database, View

NUMBERS = "function (doc) { emit([doc.n % 2, doc.n], doc.n / 2); }"
TWICE = "function (doc) { emit(doc.n % 2, doc.n); emit(doc.n % 2, doc.n + 100); }"
ROWS = "function (keys, values, rereduce) { return [rereduce, keys, values]; }"
LONG = "function (keys, values) { return new Array(6000).join('x'); }"


@pytest.fixture
async def numbers(database: Database) -> Database:
    """A database of six numbered documents."""
    async with database.create_docs() as bulk:
        for n in range(6):
            bulk.create(f"d{n}", data={"n": n})
    return database


async def reduced(database: Database, map: str, reduce: str, **parameters: Any) -> list[Any]:
    """The keys and the values, or errors, of a view's reduced rows."""
    await (await database.create("_design/by", data={"views": {"it": {"map": map, "reduce": reduce}}})).save()
    rows = (await View(database, "by", "it").get(**parameters)).rows
    return [(row["key"], row.get("value", row.get("error"))) for row in rows]


@pytest.mark.parametrize(
    ("reduce", "expected"),
    [
        ("_sum", [([0], 3), ([1], 4.5)]),
        ("_count", [([0], 3), ([1], 3)]),
        ("_top_2", [([0], [2, 1]), ([1], [2.5, 1.5])]),
        ("_bottom_2", [([0], [0, 1]), ([1], [0.5, 1.5])]),
        ("_first", [([0], 0), ([1], 0.5)]),
        ("_last", [([0], 2), ([1], 2.5)]),
        ("_approx_count_distinct", [([0], 3), ([1], 3)]),
    ],
)
async def test_there_are_built_in_functions(numbers: Database, reduce: str, expected: list[Any]) -> None:
    assert await reduced(numbers, NUMBERS, reduce, group_level=1) == expected


async def test_statistics_are_five_figures(numbers: Database) -> None:
    [(_, figures)] = await reduced(numbers, NUMBERS, "_stats")
    assert figures == {"sum": 7.5, "count": 6, "min": 0, "max": 2.5, "sumsqr": 13.75}


@pytest.mark.parametrize(("reduce", "odd", "even"), [("_first", 1, 0), ("_last", 105, 104)])
@pytest.mark.parametrize("descending", [False, True])
async def test_first_and_last_are_the_views(
    numbers: Database, reduce: str, odd: int, even: int, descending: bool
) -> None:
    rows = await reduced(numbers, TWICE, reduce, group=True, descending=descending)
    assert dict(rows) == {1: odd, 0: even}


@pytest.mark.parametrize(
    ("value", "other", "expected"),
    [
        ("1", "[1, 2, 3]", [2, 2, 3]),
        ("{a: 1}", "{b: 2}", {"a": 1, "b": 2}),
        ("{a: {b: 1}}", "{a: {b: [5]}}", {"a": {"b": [6]}}),
        ("[]", "[]", [0]),
        ("null", "1", "builtin_reduce_error"),
        ("[[1]]", "1", "builtin_reduce_error"),
        ("{a: 'x'}", "{a: 1}", "builtin_reduce_error"),
    ],
)
async def test_sums_are_made_of_numbers_arrays_and_objects(
    database: Database, value: str, other: str, expected: Any
) -> None:
    await (await database.create("a")).save()
    [(_, total)] = await reduced(database, f"function (doc) {{ emit(1, {value}); emit(2, {other}); }}", "_sum")
    assert (total.get("error", total) if isinstance(total, dict) else total) == expected


async def test_statistics_of_what_is_no_number_are_refused(numbers: Database) -> None:
    with pytest.raises(ServerError, match="non-numeric _stats input"):
        await reduced(numbers, "function (doc) { emit(doc.n, 'x'); }", "_stats")


async def test_what_is_wrong_with_an_index_is_said_by_several_queries_too(numbers: Database) -> None:
    with pytest.raises(ServerError):
        await reduced(numbers, "function (doc) { emit(doc.n, 'x'); }", "_stats")
    with pytest.raises(ServerError):
        await numbers.view("by", "it").queries([{}, {"group": True}])
    # CouchDB closes the connection after this answer without saying so: a read finds out, and is repeated.
    assert (await numbers.info())["doc_count"]


async def test_a_function_gets_the_rows_and_then_its_own_results(numbers: Database) -> None:
    [(_, value)] = await reduced(numbers, NUMBERS, ROWS, key=[1, 3])
    assert value == [True, None, [[False, [[[1, 3], "d3"]], [1.5]]]]


async def test_a_function_that_throws_gives_null(numbers: Database) -> None:
    assert await reduced(numbers, NUMBERS, "function () { throw 1; }") == [(None, None)]


async def test_a_result_that_does_not_shrink_is_an_error(numbers: Database) -> None:
    assert await reduced(numbers, NUMBERS, LONG) == [(None, "reduce_overflow_error")]


async def test_a_result_is_reduced_over_many_batches(database: Database) -> None:
    async with database.create_docs() as bulk:
        for n in range(2300):
            bulk.create(f"{n:05}", data={"n": n})
    map = "function (doc) { emit(doc.n % 3, doc.n); }"
    plus = "function (keys, values) { return sum(values); }"
    rows = await reduced(database, map, plus, group=True)
    assert rows == [(rest, sum(range(rest, 2300, 3))) for rest in range(3)]
