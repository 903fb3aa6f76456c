"""Views that need no JavaScript: fields of documents as keys, and built-in reduce functions."""

from typing import Any

import pytest

from couchmodel import BadRequestError, NotFoundError, ServerError
from couchmodel.engine import Database, View

FIELDS = {"kind": "asc", "n": "asc"}


async def declare(database: Database, reduce: str = "_count", **view: Any) -> View:
    """A view of the documents that have a kind and a number."""
    views = {"fields": {"map": {"fields": FIELDS, **view}, "reduce": reduce}}
    await (await database.create("_design/by", data={"language": "query", "views": views})).save()
    return database.view("by", "fields")


async def fill(database: Database, *rows: tuple[str, str, Any]) -> None:
    """Documents, each with an id, a kind and a number."""
    async with database.create_docs() as bulk:
        for id, kind, n in rows:
            bulk.create(id, data={"kind": kind, "n": n})


@pytest.fixture
async def view(database: Database) -> View:
    """A view of five documents; a sixth has no number."""
    await fill(database, ("a", "pie", 2), ("b", "pie", 1), ("c", "cake", 3), ("d", "cake", "x"), ("e", "ale", None))
    await (await database.create("f", data={"kind": "pie"})).save()
    return await declare(database)


async def ids(view: View, **parameters: Any) -> str:
    """The ids of the rows that a query gives."""
    return "".join([str(row.get("id")) for row in (await view.get(reduce=False, **parameters)).rows])


async def groups(view: View, **parameters: Any) -> list[tuple[Any, Any]]:
    """The reduced rows that a query gives."""
    return [(row["key"], row.get("value")) async for row in view.rows(**parameters)]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, "ecdba"),
        ({"descending": True}, "abdce"),
        ({"startkey": ["cake"], "endkey": ["pie", 1]}, "cdb"),
        ({"startkey": ["cake"], "endkey": ["pie", 1], "inclusive_end": False}, "cd"),
        ({"startkey": ["pie", 1], "descending": True}, "bdce"),
        ({"keys": [["pie", 2], ["nothing"], ["ale", None]]}, "ae"),
        ({"skip": 1, "limit": 2}, "cd"),
        ({"skip": 4, "descending": True}, "e"),
        ({"key": ["cake", 3]}, "c"),
    ],
)
async def test_rows_come_in_the_order_of_their_keys(view: View, parameters: dict[str, Any], expected: str) -> None:
    assert await ids(view, **parameters) == expected


@pytest.mark.parametrize(
    ("parameters", "offset"),
    [
        ({}, 0),
        ({"startkey": ["cake"]}, 1),
        ({"startkey": ["cake"], "skip": 2}, 3),
        ({"startkey": ["cake", 3], "descending": True}, 3),
        ({"skip": 100}, 5),
        ({"keys": [["pie", 2], ["ale", None]]}, 4),
        ({"keys": [["nothing"], ["pie", 1]]}, 3),
        ({"key": ["zoo"]}, 5),
    ],
)
async def test_an_answer_says_how_many_rows_come_before(view: View, parameters: dict[str, Any], offset: int) -> None:
    response = await view.get(reduce=False, **parameters)
    assert (response.total_rows, response.offset) == (5, offset)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, [(None, 5)]),
        ({"group_level": 1}, [(["ale"], 1), (["cake"], 2), (["pie"], 2)]),
        ({"group_level": 1, "descending": True, "limit": 2}, [(["pie"], 2), (["cake"], 2)]),
        ({"group_level": 1, "skip": 1, "limit": 1}, [(["cake"], 2)]),
        ({"group": True, "startkey": ["pie"]}, [(["pie", 1], 1), (["pie", 2], 1)]),
        ({"group": True, "keys": [["pie", 2], ["cake", 3]]}, [(["pie", 2], 1), (["cake", 3], 1)]),
        ({"startkey": ["zoo"]}, []),
        ({"limit": 0}, []),
    ],
)
async def test_rows_are_reduced_in_groups(view: View, parameters: dict[str, Any], expected: list[Any]) -> None:
    assert await groups(view, **parameters) == expected


async def test_keys_that_collate_alike_are_one_group(database: Database) -> None:
    view = await declare(database)
    await fill(database, ("a", "ab", 1), ("b", "a\u200bb", 1), ("c", "AB", 1))
    assert [value for _, value in await groups(view, group_level=1)] == [2, 1]


async def test_a_view_follows_its_documents(database: Database, view: View) -> None:
    assert await ids(view) == "ecdba"
    document = await database["b"]
    document["n"] = 9
    await document.save()
    await (await database["c"]).delete()
    await fill(database, ("g", "ale", 0))
    assert await ids(view) == "egdab"
    assert (await view.get(reduce=False)).total_rows == 5


async def test_a_purged_document_has_no_rows(database: Database, view: View) -> None:
    assert await ids(view) == "ecdba"
    document = await database["c"]
    await database.purge({"c": [document.rev or ""]})
    assert await ids(view) == "edba"
    assert (await view.get(reduce=False)).total_rows == 4


async def test_a_view_that_need_not_be_fresh_is_as_it_was(database: Database, view: View) -> None:
    assert await ids(view, update="false") == ""
    assert await ids(view) == "ecdba"
    await (await database["c"]).delete()
    assert await ids(view, stale="ok") == "ecdba"
    assert await ids(view) == "edba"


async def test_a_changed_design_document_has_other_rows(database: Database, view: View) -> None:
    assert await ids(view) == "ecdba"
    design = await database["_design/by"]
    design["views"]["fields"]["map"] = {"fields": {"n": "asc"}, "partial_filter_selector": {"kind": "pie"}}
    await design.save()
    assert await ids(view) == "ba"


async def test_rows_bring_their_documents(view: View) -> None:
    response = await view.get(reduce=False, include_docs=True, limit=2)
    assert [document["kind"] for document in response.docs()] == ["ale", "cake"]


@pytest.mark.parametrize("reduce", ["_sum", "_stats"])
async def test_rows_without_numbers_have_no_sum(database: Database, reduce: str) -> None:
    view = await declare(database, reduce)
    await fill(database, ("a", "pie", 1))
    if reduce == "_stats":
        with pytest.raises(ServerError, match="non-numeric _stats input: null"):
            await view.get()
    else:
        [(_, value)] = await groups(view)
        assert (value["error"], value["caused_by"]) == ("builtin_reduce_error", None)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"startkey": ["b"], "endkey": ["a"]}, "No rows can match your key range, reverse your start_key"),
        ({"reduce": False, "group": True}, "Invalid use of grouping on a map view."),
        ({"keys": [[1], [2]]}, "Multi-key fetches for reduce views must use `group=true`"),
        ({"include_docs": True}, "`include_docs` is invalid for reduce"),
        ({"keys": [[1], [2]], "startkey": [1], "group": True}, "`keys` is incompatible with `key`"),
        ({"group_level": -1}, 'Invalid value for positive integer: "-1"'),
        ({"update": "often"}, "Invalid value for `update`."),
    ],
)
async def test_what_makes_no_sense_is_refused(view: View, parameters: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        await view.get(**parameters)
    assert caught.value.reason.startswith(reason)


async def test_what_is_not_there_is_missing(database: Database, view: View) -> None:
    with pytest.raises(NotFoundError, match="missing_named_view"):
        await database.view("by", "nobody").get()
    await (await database["_design/by"]).delete()
    with pytest.raises(NotFoundError, match="deleted"):
        await view.get()


async def test_large_results_come_in_pieces(database: Database) -> None:
    view = await declare(database)
    await fill(database, *((f"{n:04}", "pie", n % 7) for n in range(2500)))
    assert [row["key"][1] for row in (await view.get(reduce=False)).rows] == sorted(n % 7 for n in range(2500))
    assert sum(value for _, value in await groups(view, group=True)) == 2500
    assert len(await ids(view, skip=1200)) == 1300 * 4
