"""What of a document is shown, and how a sort is read."""

import copy
from typing import Any

import pytest

from couchmodel._embedded.mango.fields import parse_fields, parse_sort
from couchmodel.errors import BadRequestError, ServerError

DOCUMENT = {
    "_id": "d",
    "a": 1,
    "n": None,
    "o": {"x": 1, "y": {"z": 2}},
    "l": [{"n": 1}, {"n": 2}],
    "p.q": 3,
}


@pytest.mark.parametrize(
    ("fields", "picked"),
    [
        ([], DOCUMENT),
        (["a"], {"a": 1}),
        (["n", "zz"], {"n": None}),
        (["a", "_id"], {"a": 1, "_id": "d"}),
        (["o.x"], {"o": {"x": 1}}),
        (["o.x", "a", "o.y.z"], {"o": {"x": 1, "y": {"z": 2}}, "a": 1}),
        (["o.zz", "a.b"], {}),
        (["l.1"], {"l": {"1": {"n": 2}}}),
        (["l.0.n", "l.+1"], {"l": {"0": {"n": 1}, "+1": {"n": 2}}}),
        (["l.7"], {}),
        (["p\\.q", "p.q"], {"p.q": 3}),
        (["o.x", "o"], {"o": {"x": 1, "y": {"z": 2}}}),
        (["o", "o.x"], {"o": {"x": 1, "y": {"z": 2}}}),
        (["l", "l.1"], {"l": [{"n": 1}, {"n": 2}]}),
        (["a", "a"], {"a": 1}),
    ],
)
def test_fields_are_picked(fields: list[str], picked: Any) -> None:
    assert parse_fields(fields).project(DOCUMENT) == picked


def test_a_path_may_be_longer_than_any_document_is_deep() -> None:
    assert parse_fields(["a" + ".a" * 5000, "a"]).project(DOCUMENT) == {"a": 1}


def test_fields_come_in_the_order_in_which_they_are_named() -> None:
    assert [*parse_fields(["o.x", "a", "_id", "o"]).project(DOCUMENT)] == ["o", "a", "_id"]


@pytest.mark.parametrize("fields", [["o.x", "o", "o.y.z", "a"], ["o", "o.x"], ["o.y.z", "o.y", "o.x"]])
def test_picking_leaves_the_document_alone(fields: list[str]) -> None:
    before = copy.deepcopy(DOCUMENT)
    parse_fields(fields).project(DOCUMENT)
    assert before == DOCUMENT


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ("x", "invalid_fields", "Fields must be an array of strings, not: <<120>>"),
        (None, "invalid_fields", "Fields must be an array of strings, not: null"),
        ({"a": 1}, "invalid_fields", "Fields must be an array of strings, not: {[{<<97>>,1}]}"),
        (["a", 5], "invalid_field", "Invalid JSON for field spec: 5"),
        ([["a"]], "invalid_field", "Invalid JSON for field spec: [<<97>>]"),
    ],
)
def test_fields_without_sense_are_refused(fields: Any, code: str, reason: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse_fields(fields)
    assert (caught.value.code, caught.value.reason) == (code, reason)


def test_a_path_that_cannot_be_read_takes_a_document_to_be_found() -> None:
    with pytest.raises(BadRequestError, match=r"invalid_field_name: Invalid field name: a\.\."):
        parse_fields(["a.."]).project(DOCUMENT)
    with pytest.raises(ServerError, match="500 unknown_error: badarg"):
        parse_fields([{"a": 1}]).project(DOCUMENT)


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ([], []),
        (["a", "b.c"], [("a", "asc"), ("b.c", "asc")]),
        (["a", {"b": "asc"}], [("a", "asc"), ("b", "asc")]),
        ([{"a": "desc"}, {"b": "desc"}], [("a", "desc"), ("b", "desc")]),
        ([{"": "asc"}], [("", "asc")]),
    ],
)
def test_a_sort_is_a_list_of_paths_and_directions(sort: Any, expected: Any) -> None:
    assert parse_sort(sort) == expected


@pytest.mark.parametrize(
    ("sort", "code", "reason"),
    [
        ("a", "invalid_sort_json", 'Sort must be an array of sort specs, not: <<"a">>'),
        ({"a": "asc"}, "invalid_sort_json", 'Sort must be an array of sort specs, not: {[{<<"a">>,<<"asc">>}]}'),
        ([""], "invalid_sort_field", "Invalid sort field: <<>>"),
        ([1.5], "invalid_sort_field", "Invalid sort field: 1.5"),
        ([{"a": "up"}], "invalid_sort_field", 'Invalid sort field: {[{<<"a">>,<<"up">>}]}'),
        ([{"a": ["asc"]}], "invalid_sort_field", 'Invalid sort field: {[{<<"a">>,[<<"asc">>]}]}'),
        ([{"é": '\n"'}], "invalid_sort_field", 'Invalid sort field: {[{<<"é">>,<<"\\n\\"">>}]}'),
        ([{"\u0080": 1}], "invalid_sort_field", "Invalid sort field: {[{<<194,128>>,1}]}"),
        ([{"a": "asc", "b": "asc"}], "invalid_sort_field", None),
        ([[97, 98]], "invalid_sort_field", 'Invalid sort field: "ab"'),
        ([[97, 300]], "invalid_sort_field", "Invalid sort field: [97,300]"),
        (
            ["a", {"b": "desc"}],
            "unsupported_mixed_sort",
            "Sorts currently only support a single direction for all fields.",
        ),
    ],
)
def test_a_sort_without_sense_is_refused_in_couchdbs_words(sort: Any, code: str, reason: str | None) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse_sort(sort)
    assert caught.value.code == code
    assert reason in {None, caught.value.reason}
