"""Which selectors are refused, and what is said of them."""

from typing import Any

import pytest

from couchmodel._embedded.budget import Budget
from couchmodel._embedded.mango.selector import compile_selector
from couchmodel._embedded.rules.erlang import erlang_term
from couchmodel.errors import BadRequestError, ServerError


@pytest.mark.parametrize(
    ("selector", "code", "reason"),
    [
        ("x", "invalid_selector_json", "Selector must be a JSON object, not: <<120>>"),
        ([1], "invalid_selector_json", "Selector must be a JSON object, not: [1]"),
        (None, "invalid_selector_json", "Selector must be a JSON object, not: null"),
        ({"$gt": 1}, "invalid_selector", "One or more conditions is missing a field name."),
        ({"": 1}, "invalid_selector", "One or more conditions is missing a field name."),
        ({"$not": {}}, "invalid_selector", "One or more conditions is missing a field name."),
        ({"a": {"$foo": 1}}, "invalid_operator", "Invalid operator: $foo"),
        ({"a": {"$": 1}}, "invalid_operator", "Invalid operator: $"),
        ({"a": {"$regex": 5}}, "invalid_operator", "Invalid operator: $regex"),
        ({"a": {"$beginsWith": 5}}, "invalid_operator", "Invalid operator: $beginsWith"),
        ({"$where": "x"}, "not_supported", "Unsupported operator: $where"),
        ({"a": {"$near": 1}}, "not_supported", "Unsupported operator: $near"),
        ({"$and": {}}, "bad_arg", "Bad argument for operator $and: {[]}"),
        ({"$or": 1}, "bad_arg", "Bad argument for operator $or: 1"),
        ({"$nor": 1.0}, "bad_arg", "Bad argument for operator $nor: 1.0"),
        ({"a": {"$not": "é"}}, "bad_arg", "Bad argument for operator $not: <<195,169>>"),
        ({"a": {"$in": {"x": None}}}, "bad_arg", "Bad argument for operator $in: {[{<<120>>,null}]}"),
        ({"a": {"$nin": ""}}, "bad_arg", "Bad argument for operator $nin: <<>>"),
        ({"a": {"$all": True}}, "bad_arg", "Bad argument for operator $all: true"),
        ({"a": {"$exists": 1}}, "bad_arg", "Bad argument for operator $exists: 1"),
        ({"a": {"$type": 1}}, "bad_arg", "Bad argument for operator $type: 1"),
        ({"a": {"$mod": [1.0, 1]}}, "bad_arg", "Bad argument for operator $mod: [1.0,1]"),
        ({"a": {"$mod": [1]}}, "bad_arg", "Bad argument for operator $mod: [1]"),
        ({"a": {"$size": -1}}, "bad_arg", "Bad argument for operator $size: -1"),
        ({"a": {"$size": True}}, "bad_arg", "Bad argument for operator $size: true"),
        ({"a": {"$elemMatch": [1]}}, "bad_arg", "Bad argument for operator $elemMatch: [1]"),
        ({"a": {"$allMatch": 1}}, "bad_arg", "Bad argument for operator $allMatch: 1"),
        ({"a": {"$keyMapMatch": 1}}, "bad_arg", "Bad argument for operator $keyMapMatch: 1"),
        ({"$text": []}, "bad_arg", "Bad argument for operator $text: []"),
        ({"$default": 5}, "bad_field", f"Invalid field normalization on selector: {erlang_term({'$default': 5})}"),
    ],
)
def test_a_selector_without_sense_is_refused_in_couchdbs_words(selector: Any, code: str, reason: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        compile_selector(selector)
    assert (caught.value.code, caught.value.reason) == (code, reason)


def test_text_is_neither_asked_of_a_field_nor_negated() -> None:
    with pytest.raises(BadRequestError, match="bad_field"):
        compile_selector({"a": {"$text": "x"}})
    with pytest.raises(BadRequestError, match=r"Bad argument for operator \$not: "):
        compile_selector({"$not": {"$text": "x"}})


def test_some_errors_take_a_document() -> None:
    path = compile_selector({"$and": [{"b": 1}, {"a..b": 1}]})
    assert not path.matches({"b": 2}, Budget())
    with pytest.raises(BadRequestError, match=r"invalid_field_name: Invalid field name: a\.\.b"):
        path.matches({"b": 1}, Budget())
    division = compile_selector({"a": {"$mod": [0, 1]}})
    assert not division.matches({"a": 1.0}, Budget())
    with pytest.raises(ServerError, match="500 unknown_error: badarith"):
        division.matches({"a": 1}, Budget())


@pytest.mark.parametrize(
    ("value", "term"),
    [
        (0.1, "0.1"),
        (100.0, "100.0"),
        (1000.0, "1.0e3"),
        (123456.789, "123456.789"),
        (1e-7, "1.0e-7"),
        (-0.0, "-0.0"),
        (2.0**53, "9.007199254740992e15"),
        (10**25, "10000000000000000000000000"),
        ("a" * 5000, "<<" + ",".join(["97"] * 5000) + ">>"),
        ({"é": [True, {}, []]}, "{[{<<195,169>>,[true,{[]},[]]}]}"),
    ],
)
def test_messages_spell_values_as_erlang_terms(value: Any, term: str) -> None:
    assert erlang_term(value) == term


@pytest.mark.parametrize("count", ["99999", "0000099999"])
def test_a_pattern_that_repeats_too_often_is_refused(count: str) -> None:
    with pytest.raises(BadRequestError, match="regex"):
        compile_selector({"a": {"$regex": f"a{{{count}}}"}})
