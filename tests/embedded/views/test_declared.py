"""Declared views: without JavaScript, the embedded store makes the rows that their JavaScript makes."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from couchmodel._embedded.javascript.engine import open_mapper as open_scripts
from couchmodel._embedded.rules.collation import sort_key
from couchmodel._embedded.rules.javascript_values import from_javascript, javascript_text
from couchmodel._embedded.views.changes import ChangedDocument
from couchmodel._embedded.views.declared import compile_views
from couchmodel._embedded.views.designs import Design, parse_design
from couchmodel._embedded.views.emitted import Rows
from couchmodel._embedded.views.map import open_mapper
from couchmodel._model.views.conditions import parse_where
from couchmodel._model.views.javascript import write_map
from couchmodel._wire.declared_views import declaration_digest
from couchmodel._wire.messages import decode, encode

NAMES = st.sampled_from(
    ["a", "b", "stack", "name", "message", "constructor", "__proto__", "toString", "10", "2", "ü.x"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=5)
PATHS = st.lists(NAMES | st.just("_id"), min_size=1, max_size=2)
SIMPLE = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=2) | st.sampled_from([0.5, -1.5])
ORDERS = st.sampled_from(["<", "<=", ">", ">="])


DECLARATION = {
    "keys": [["name"]],
    "list": False,
    "each": None,
    "value": None,
    "numbers": False,
    "linked": False,
    "where": ["all", []],
}


def as_list(parts: tuple[Any, ...]) -> list[Any]:
    return list(parts)


CONDITIONS = st.recursive(
    st.tuples(st.just("in"), PATHS, st.lists(SIMPLE, max_size=3)).map(as_list)
    | st.tuples(st.just("exists"), PATHS).map(as_list)
    | st.tuples(ORDERS, PATHS, st.text(max_size=2) | st.integers(-3, 2**53)).map(as_list),
    lambda inner: (
        st.lists(inner, max_size=2).map(lambda parts: ["all", parts])
        | st.lists(inner, max_size=2).map(lambda parts: ["any", parts])
        | inner.map(lambda part: ["not", part])
    ),
    max_leaves=3,
)


@st.composite
def declarations(draw: st.DrawFn) -> dict[str, Any]:
    keys = draw(st.lists(PATHS, min_size=1, max_size=3))
    is_list = len(keys) > 1 or draw(st.booleans())
    return {
        "keys": keys,
        "list": is_list,
        "each": draw(st.none() | st.integers(0, len(keys) - 1)),
        "value": draw(st.none() | PATHS),
        "numbers": draw(st.booleans()),
        "linked": draw(st.booleans()),
        "where": draw(CONDITIONS),
    }


def design_of(*declarations: dict[str, Any]) -> Design:
    views = {}
    for n, declaration in enumerate(declarations):
        source = write_map(declaration)
        views[f"v{n}"] = {
            "map": source,
            "couchmodel": {**declaration, "digest": declaration_digest(declaration, source)},
        }
    return parse_design("_design/x", decode(encode({"views": views})))


def without_declarations(design: Design) -> Design:
    views = {name: {"map": view["map"]} for name, view in design.body["views"].items()}
    return parse_design(design.id, {"views": views})


def changed(documents: list[dict[str, Any]]) -> list[ChangedDocument]:
    return [ChangedDocument(n, f"d{n}", "1-a", None, encode(document)) for n, document in enumerate(documents)]


def decoded(mapped: list[list[Rows]]) -> list[list[list[tuple[bytes, Any, Any]]]]:
    # The engines write some doubles with a digit more than others do.
    return [[[(key, decode(text), decode(value)) for key, text, value in rows] for rows in views] for views in mapped]


@given(st.lists(declarations(), min_size=1, max_size=3), st.lists(DOCUMENTS, min_size=1, max_size=5))
def test_a_declaration_makes_the_rows_of_its_javascript(
    declared: list[dict[str, Any]], documents: list[dict[str, Any]]
) -> None:
    pytest.importorskip("quickjs")
    design = design_of(*declared)
    assert None not in compile_views(design)
    with closing(open_mapper(design)) as declared_mapper, closing(open_mapper(without_declarations(design))) as scripts:
        rows = decoded(declared_mapper.map(changed(documents)))
        assert repr(rows) == repr(decoded(scripts.map(changed(documents))))


def test_equal_items_of_several_types_have_keys_of_their_own() -> None:
    pytest.importorskip("quickjs")
    design = design_of({**DECLARATION, "list": True})
    items = [1, True, 1.0, "1", 0, False, -0.0, None, "x" * 65, [1], [True], 2**53 + 1, 1]
    documents = changed([{"name": item} for item in items])
    with closing(open_mapper(design)) as mapper, closing(open_mapper(without_declarations(design))) as scripts:
        rows = decoded(mapper.map(documents))
        assert repr(rows) == repr(decoded(scripts.map(documents)))
        assert [row[0] for ((row,),) in rows] == [sort_key([from_javascript(item)]) for item in items]


@given(st.lists(VALUES, min_size=1, max_size=5))
def test_values_are_those_that_javascript_writes(values: list[Any]) -> None:
    pytest.importorskip("quickjs")
    scripts = open_scripts({"views": {"v": {"map": "function (doc) { emit(doc.value, [doc.value]); }"}}})
    try:
        for value, ((row,),) in zip(values, scripts.map([encode({"value": value}) for value in values]), strict=True):
            assert repr((from_javascript(value), decode(javascript_text([value])))) == repr((row[0], decode(row[1])))
    finally:
        scripts.close()


@pytest.mark.parametrize(
    ("value", "text"),
    [(2**53 + 1, b"9007199254740992"), (1.0, b"1"), (-0.0, b"0"), (1e21, b"1e+21"), (1e-7, b"1e-7"), (0.1, b"0.1")],
)
def test_numbers_are_doubles(value: float, text: bytes) -> None:
    assert javascript_text(value) == text


def changes() -> Iterator[dict[str, Any]]:
    source = write_map(DECLARATION)
    digest = declaration_digest(DECLARATION, source)
    yield {"map": source, "couchmodel": {**DECLARATION, "keys": [["other"]], "digest": digest}}
    yield {"map": source.replace('"name"', '"other"'), "couchmodel": {**DECLARATION, "digest": digest}}
    yield {"map": source, "couchmodel": {"digest": digest}}
    yield {"map": source, "couchmodel": "x"}
    later = {**DECLARATION, "where": ["like", ["name"], "x"]}
    yield {"map": source, "couchmodel": {**later, "digest": declaration_digest(later, source)}}


@pytest.mark.parametrize("view", list(changes()))
def test_where_the_digest_does_not_fit_the_javascript_counts(view: dict[str, Any]) -> None:
    assert compile_views(parse_design("_design/x", {"views": {"v": view}})) == [None]


def test_a_where_is_a_selector_that_javascript_can_test() -> None:
    assert parse_where({"a": 1, "b.c": {"$gt": 2.0}, r"d\.e": {"$exists": False}}) == [
        "all",
        [["in", ["a"], [1]], [">", ["b", "c"], 2], ["not", ["exists", ["d.e"]]]],
    ]
    assert json.dumps(parse_where({"$not": {"a": {"$in": [1, None]}}})) == json.dumps(
        ["all", [["exists", ["a"]], ["not", ["in", ["a"], [1, None]]]]]
    )
