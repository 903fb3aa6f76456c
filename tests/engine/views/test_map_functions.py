"""What a map function is given, and what becomes of what it emits."""

from typing import Any

import pytest

from couchmodel import BadRequestError
from couchmodel._wire.messages import Request, encode
from couchmodel.engine import Database
from tests.engine.requests import call

EACH = "function (doc) { emit(doc.key, doc.n); }"


async def rows(database: Database, map: str, design: dict[str, Any] | None = None, **parameters: Any) -> list[Any]:
    """The ids, keys and values of a view's rows; ``design`` is what else stands in the design document."""
    view = {"views": {"it": {"map": map, "options": parameters.pop("options", {})}}, **(design or {})}
    await (await database.create("_design/by", data=view)).save()
    response = await database.view("by", "it").get(**parameters)
    return [(row.get("id"), row["key"], row.get("doc", row.get("value"))) for row in response.rows]


async def fill(database: Database, **keys: Any) -> None:
    """Documents with keys."""
    async with database.create_docs() as bulk:
        for n, (id, key) in enumerate(keys.items()):
            bulk.create(id, data={"key": key, "n": n})


MIXED = {"a": {"x": 1}, "b": [2], "c": "B", "d": "a", "e": 1, "f": True, "g": None}


@pytest.mark.parametrize(("options", "order"), [({}, "gfedcba"), ({"collation": "raw"}, "egfabcd")])
async def test_keys_are_in_couchdbs_order_or_in_erlangs(
    database: Database, options: dict[str, Any], order: str
) -> None:
    await fill(database, **MIXED)
    assert "".join(id for id, *_ in await rows(database, EACH, options=options)) == order


async def test_it_may_see_design_documents_and_sequences(database: Database) -> None:
    await fill(database, a=1)
    options = {"options": {"include_design": True, "local_seq": True}}
    found = await rows(database, "function (doc) { emit(doc._id, doc._local_seq); }", options)
    assert [key for _, key, _ in found] == ["_design/by", "a"]
    assert all(isinstance(value, int) for *_, value in found)
    await (await database["_design/by"]).delete()
    assert await rows(database, "function (doc) { emit(doc._id, doc._local_seq); }") == [("a", "a", None)]


async def test_it_sees_conflicts(database: Database) -> None:
    await fill(database, a=1)
    other = {"_rev": "1-00000000000000000000000000000000", "key": 2}
    body = encode({"docs": [{"_id": "a", **other}], "new_edits": False})
    await database.session.json(Request("POST", (*database.path, "_bulk_docs"), body=body))
    found = await rows(database, "function (doc) { emit(doc._conflicts, null); }")
    assert found == [("a", ["1-00000000000000000000000000000000"], None)]


async def test_rows_of_one_key_and_document_are_in_erlangs_order_of_their_values(database: Database) -> None:
    await fill(database, a=1, b=1)
    often = "function (doc) { for (const value of ['x', [2], {b: 1}, {a: 2}, true, null, 10, 9]) emit(1, value); }"
    order = [9, 10, None, True, {"a": 2}, {"b": 1}, [2], "x"]
    forward = await rows(database, often)
    assert [(id, value) for id, _, value in forward] == [(id, value) for id in "ab" for value in order]
    backward = await database.view("by", "it").get(descending=True, limit=len(order))
    assert [(row.get("id"), row.get("value")) for row in backward.rows] == [("b", value) for value in order]


async def test_a_document_at_which_it_throws_has_no_rows(database: Database) -> None:
    await fill(database, a=1, b=2)
    found = await rows(database, "function (doc) { if (doc.key == 1) throw 'no'; emit(doc.key, null); }")
    assert [id for id, *_ in found] == ["b"]


async def test_a_row_may_link_to_an_old_revision(database: Database) -> None:
    await fill(database, a=1)
    document = await database["a"]
    old = document.rev
    document["key"] = 2
    await document.save()
    link = (
        f"function (doc) {{ emit(1, {{_id: 'a', _rev: '{old}'}}); emit(2, {{_id: 'nobody'}}); emit(3, {{_id: 7}}); }}"
    )
    found = await rows(database, link, include_docs=True)
    assert [doc and (doc["_rev"], doc["key"]) for *_, doc in found] == [(old, 1), None, None]


LOST: dict[str, Any] = {"_rev": "5-abcdef0123456789abcdef0123456789"}


async def test_a_row_may_show_another_revision(database: Database) -> None:
    first = (await call(database, "PUT", "a", {"n": 1}))["rev"]
    await call(database, "PUT", "a", {"_rev": first, "n": 2, "was": first})
    show = (
        "function (doc) { if (doc.was) { emit(1, {_rev: doc.was}); emit(2, {_id: 'a', _rev: doc.was}); emit(3, {}); } }"
    )
    assert [doc["n"] for *_, doc in await rows(database, show, include_docs=True)] == [1, 1, 2]


@pytest.mark.parametrize("value", [LOST, {"_id": "b", **LOST}, {"_id": 7, **LOST}, {"_id": None}], ids=str)
async def test_a_row_shows_null_for_what_is_missing(database: Database, value: dict[str, Any]) -> None:
    await fill(database, a=value)
    found = await rows(database, "function (doc) { emit(1, doc.key); }", include_docs=True)
    assert found == [("a", 1, None)]


@pytest.mark.parametrize("rev", ["xyz", "", 7, None, ["1-x"]], ids=str)
@pytest.mark.parametrize("link", [{}, {"_id": "a"}], ids=["own", "linked"])
async def test_a_row_that_names_no_revision_fails_the_query(database: Database, link: dict[str, str], rev: Any) -> None:
    await fill(database, a={**link, "_rev": rev})
    with pytest.raises(BadRequestError) as caught:
        await rows(database, "function (doc) { emit(1, doc.key); }", include_docs=True)
    assert caught.value.code == "Invalid rev format"
