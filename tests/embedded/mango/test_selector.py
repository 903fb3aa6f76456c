"""Which documents a selector matches, and what CouchDB makes of it."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from couchmodel._embedded import limits
from couchmodel._embedded.budget import Budget
from couchmodel._embedded.mango.paths import BAD_PATH, MISSING, get_path, parse_path
from couchmodel._embedded.mango.selector import compile_selector
from couchmodel.errors import BadRequestError


def matches(selector: Any, document: Any) -> bool:
    return compile_selector(selector).matches(document, Budget())


def matches_value(condition: Any, value: Any) -> bool:
    return matches({"a": condition}, {"_id": "d", "a": value})


# Comparisons


ASCENDING = [
    None,
    False,
    True,
    -1e30,
    -1,
    0,
    0.5,
    1,
    2**53,
    2**53 + 1,
    10**30,
    "",
    "-",
    "1",
    "a",
    "A",
    "ä",
    "aa",
    "b",
    [],
    [1],
    [1, 0],
    [2],
    {},
    {"a": 1},
    {"a": 2},
    {"b": 0},
]


@pytest.mark.parametrize(("rank", "value"), list(enumerate(ASCENDING)))
def test_values_of_all_types_stand_in_one_order(rank: int, value: Any) -> None:
    for other_rank, operand in enumerate(ASCENDING):
        assert matches_value({"$lt": operand}, value) == (rank < other_rank)
        assert matches_value({"$lte": operand}, value) == (rank <= other_rank)
        assert matches_value({"$eq": operand}, value) == (rank == other_rank)
        assert matches_value({"$ne": operand}, value) == (rank != other_rank)
        assert matches_value({"$gte": operand}, value) == (rank >= other_rank)
        assert matches_value({"$gt": operand}, value) == (rank > other_rank)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (0, -0.0),
        (10**22, 1e22),
        ("ab", "a\u200bb"),
        ("", "\u0000"),
        ("1", "१"),
        ("é", "e\u0301"),
        ({"x": [1, "ab"]}, {"x": [1.0, "a\u0001b"]}),
        ({"ab": 1}, {"a\u200bb": 1.0}),
    ],
)
def test_values_may_be_equal_without_being_the_same(one: Any, other: Any) -> None:
    assert matches_value({"$eq": one}, other)
    assert matches_value({"$in": [None, other]}, one)
    assert matches_value({"$lte": one, "$gte": one}, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (0, False), (0, None), ("1", 1), ("a", "A"), ([], {}), ({"a": 1, "b": 2}, {"b": 2, "a": 1})],
)
def test_values_that_look_alike_may_differ(one: Any, other: Any) -> None:
    assert not matches_value({"$eq": one}, other)
    assert not matches_value({"$in": [one]}, other)
    assert matches_value({"$nin": [one]}, other)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"$gt": "D"}, True),
        ({"$lt": "D"}, False),
        ({"$eq": "d\u200b"}, False),
        ({"$in": ["d\u200b", "d"]}, True),
        ({"$gt": {}}, True),
        ({"$gt": 5}, True),
        ({"$lt": []}, False),
    ],
)
def test_the_id_is_compared_raw(condition: Any, expected: bool) -> None:
    assert matches({"_id": condition}, {"_id": "d"}) == expected


def test_an_inner_id_is_compared_raw_only_where_its_path_is_no_longer_than_that() -> None:
    document = {"a": [{"_id": "b"}], "c": {"_id": "b"}}
    assert matches({"a": {"$elemMatch": {"_id": {"$gt": "C"}}}}, document)
    assert not matches({"c._id": {"$gt": "C"}}, document)


# The other operators


@pytest.mark.parametrize(
    ("condition", "value", "expected"),
    [
        ({"$in": []}, 1, False),
        ({"$in": [1, 2]}, [5, 2], True),
        ({"$in": [[1, 2]]}, [1, 2], False),
        ({"$in": [[1, 2]]}, [[1, 2.0]], True),
        ({"$nin": []}, 1, True),
        ({"$nin": [1, 2]}, [5, 2], False),
        ({"$nin": [1, 2]}, [], True),
        ({"$all": []}, [], False),
        ({"$all": [1]}, 1, False),
        ({"$all": [1, 2]}, [2, 3, 1], True),
        ({"$all": [1]}, [1.0], False),
        ({"$all": [True]}, [1], False),
        ({"$all": ["ab"]}, ["a\u200bb"], False),
        ({"$all": [{"x": 1, "y": [1]}]}, [{"x": 1, "y": [1]}], True),
        ({"$all": [{"x": 1, "y": 2}]}, [{"y": 2, "x": 1}], False),
        ({"$all": [[1, 2]]}, [1, 2], True),
        ({"$all": [[1, 2]]}, [1.0, 2.0], True),
        ({"$all": [[1, 2]]}, [[1, 2]], True),
        ({"$size": 0}, [], True),
        ({"$size": 2}, [1], False),
        ({"$size": 2}, "ab", False),
        ({"$size": 1}, {"x": 1}, False),
        ({"$mod": [2, 1]}, 3, True),
        ({"$mod": [2, 1]}, -3, False),
        ({"$mod": [2, -1]}, -3, True),
        ({"$mod": [-2, 1]}, 3, True),
        ({"$mod": [2, 0]}, 4.0, False),
        ({"$mod": [2, 1]}, True, False),
        ({"$mod": [10, 7]}, 10**40 + 7, True),
        ({"$mod": [0, 1]}, "1", False),
        ({"$exists": True}, None, True),
        ({"$exists": False}, None, False),
        ({"$beginsWith": ""}, "x", True),
        ({"$beginsWith": "ab"}, "abc", True),
        ({"$beginsWith": "ab"}, "ab", True),
        ({"$beginsWith": "ab"}, "Abc", False),
        ({"$beginsWith": "a"}, ["a"], False),
        ({"$beginsWith": "e"}, "e\u0301", False),
        ({"$beginsWith": "e\u0301"}, "e\u0301x", True),
        ({"$beginsWith": "\r"}, "\r\n", False),
        ({"$beginsWith": "👩"}, "👩\u200d🚀", False),
    ],
)
def test_operators_have_couchdbs_meaning(condition: Any, value: Any, expected: bool) -> None:
    assert matches_value(condition, value) == expected


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("null", [None]),
        ("boolean", [True, False]),
        ("number", [0, 1.5]),
        ("string", ["", "x"]),
        ("array", [[], [1]]),
        ("object", [{}, {"x": 1}]),
        ("integer", []),
    ],
)
def test_types_have_the_names_of_json(name: str, values: list[Any]) -> None:
    everything: list[Any] = [None, True, False, 0, 1.5, "", "x", [], [1], {}, {"x": 1}]
    assert [value for value in everything if matches_value({"$type": name}, value)] == values


@pytest.mark.parametrize(
    ("condition", "value", "expected"),
    [
        ({"$elemMatch": {"$gt": 1, "$lt": 3}}, [0, 2], True),
        ({"$elemMatch": {"$gt": 1, "$lt": 3}}, [0, 4], False),
        ({"$elemMatch": {"n": 1, "m": 2}}, [{"n": 1}, {"m": 2}], False),
        ({"$elemMatch": {"n.m": 1}}, [{"n": {"m": 1}}], True),
        ({"$elemMatch": {"$elemMatch": {"$eq": 1}}}, [[0], [1]], True),
        ({"$elemMatch": {}}, [{}], True),
        ({"$elemMatch": {}}, [1], False),
        ({"$elemMatch": {"$gt": 0}}, 1, False),
        ({"$allMatch": {"$gt": 0}}, [1, 2], True),
        ({"$allMatch": {"$gt": 0}}, [1, 0], False),
        ({"$allMatch": {"$gt": 0}}, [], False),
        ({"$allMatch": {"$gt": 0}}, 1, False),
        ({"$keyMapMatch": {"$eq": "x"}}, {"x": 1}, True),
        ({"$keyMapMatch": {"$eq": "y"}}, {"x": 1}, False),
        ({"$keyMapMatch": {"$eq": "x"}}, ["x"], False),
    ],
)
def test_a_selector_may_be_put_to_the_parts_of_a_value(condition: Any, value: Any, expected: bool) -> None:
    assert matches_value(condition, value) == expected


@pytest.mark.parametrize("condition", [{"$mod": [0, 1]}, {"$nor": [{"$eq": 2}]}, {"x..y": 1}])
def test_what_fails_below_elem_match_does_not_match(condition: Any) -> None:
    assert not matches_value({"$elemMatch": condition}, [1, {"x": 1}])
    assert matches_value({"$not": {"$elemMatch": condition}}, [1, {"x": 1}])


# Regular expressions


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        ("b", "abc", True),
        ("^b", "abc", False),
        ("c$", "abc\n", True),
        (r"c\Z", "abc\n", True),
        (r"c\z", "abc\n", False),
        ("(?i)A", "a", True),
        ("(?i)é", "É", False),  # bytes of UTF-8 that are no pairs in Latin-1
        ("a(?i)b", "AB", False),
        ("^.$", "é", False),
        ("^..$", "é", True),
        (r"^\w", "é", True),
        (r"^é$", "é", True),
        (r"\s", "\u00a0", False),
        (r"^\S+$", "\u00a0", True),
        (r"^[\s\w]$", "\v", True),
        ("[[:punct:]]", "²", True),
        (r"\x{61}\e?", "a", True),
        (r"\Q.*\E", "a.*b", True),
        (r"\Q.*\E", "ab", False),
        ("a{,2}", "a", False),
        ("a{,2}", "a{,2}", True),
        ("a{e<=1}", "b", False),
        ("^[a&&b]$", "&", True),
        ("^[[]$", "[", True),
        ("^[+--]$", ",", True),
        (r"^(\w)\g{1}$", "xx", True),
        (r"^(?<n>\w)\k<n>$", "xx", True),
        (r"^(?'n'\w)\k'n'$", "xx", True),
        (r"^\((?:[^()]|(?R))*\)$", "(())", False),  # ^ in the recursion
        (r"^(\((?:[^()]|(?1))*\))$", "(()(()))", True),
        (r"^(\((?:[^()]|(?1))*\))$", "(()", False),
        (r"\m", "m", True),
        (r"\R", "\r\n", True),
        ("", "", True),
        ("1", 1, False),
        ("a", ["a"], False),
    ],
)
def test_regexes_are_erlangs(pattern: str, value: Any, expected: bool) -> None:
    assert matches_value({"$regex": pattern}, value) == expected


@pytest.mark.parametrize(
    "pattern", ["(", "[a", "a)", "*", "a{2,1}", r"\x{100}", r"\u0061", r"(?U)a", r"\g{-1}", "[z-a]"]
)
def test_a_regex_without_a_meaning_is_refused(pattern: str) -> None:
    with pytest.raises(BadRequestError, match="bad_arg: Bad argument for operator \\$regex: <<"):
        compile_selector({"a": {"$regex": pattern}})


@pytest.mark.parametrize(
    "pattern",
    [
        "x" * 40_000,
        "(?#" + "x" * 70_000 + ")",
        "(?:a{65535}){6552}",
        "((?:a{300}b){20}){20}",
        "(a{9})" * 4000,
        "[" + "ab" * 20_000 + "]",
        "a{9999999999}",
    ],
)
def test_a_regex_that_is_too_large_is_refused(pattern: str) -> None:
    with pytest.raises(BadRequestError, match="bad_arg: Bad argument for operator \\$regex: <<"):
        compile_selector({"a": {"$regex": pattern}})


@pytest.mark.parametrize(
    "pattern", ["x{2}" * 5000, "(?:a{150}){150}|ab", r"(?:[(](a{100}\)\{9\}){3,}){9}|ab", "|ab" * 5000]
)
def test_a_regex_may_be_large(pattern: str) -> None:
    assert matches_value({"$regex": f"^(?:{pattern})$|ab"}, "ab")


@pytest.mark.parametrize("condition", [{"$regex": "(x|xx)+!"}, {"$elemMatch": {"$regex": "(x|xx)+!"}}])
def test_a_regex_that_takes_too_long_is_an_error(condition: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REGEX_SECONDS", 0.02)
    selector = compile_selector({"a": condition})
    with pytest.raises(BadRequestError, match=r"regex_timeout: \$regex took longer than 0.02 s on one value"):
        selector.matches({"a": "x" * 60 if "$regex" in condition else ["x" * 60]}, Budget())


# Paths


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", ("a",)),
        ("a.b.0", ("a", "b", "0")),
        (r"a\.b", ("a.b",)),
        (r"a\.b.c", ("a.b", "c")),
        (r"a\\.b", ("a.b",)),
        (r"\a\b", ("ab",)),
        ("a.\\", ("a", "")),
    ],
)
def test_a_backslash_keeps_a_dot_in_a_name(text: str, path: tuple[str, ...]) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", r"a\.b..c"])
def test_no_name_in_a_path_is_empty(text: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse_path(text)
    assert (caught.value.code, caught.value.reason) == ("invalid_field_name", f"Invalid field name: {text}")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.0", 1),
        ("a.+1", 2),
        ("a.01", 2),
        ("a.-0", 1),
        ("a.2", BAD_PATH),
        ("a.-1", BAD_PATH),
        ("a.x", BAD_PATH),
        ("a. 1", BAD_PATH),
        ("a.١", BAD_PATH),
        ("a." + "9" * 5000, BAD_PATH),
        ("o.0", "zero"),
        ("o.x", MISSING),
        ("o.x.y", MISSING),
        ("o.n", None),
        ("o.n.x", BAD_PATH),
        ("s.0", BAD_PATH),
        ("x.y", MISSING),
        (r"d\.e", 5),
    ],
)
def test_a_path_leads_to_a_value_or_says_why_not(path: str, value: Any) -> None:
    document = {"a": [1, 2], "o": {"0": "zero", "n": None}, "s": "text", "d.e": 5}
    assert get_path(document, parse_path(path)) == value


@pytest.mark.parametrize(
    "condition", [{"$ne": 1}, {"$nin": [1]}, {"$not": {"$eq": 1}}, {"$not": {"$size": 1}}, {"$lt": 1}]
)
def test_what_is_missing_matches_nothing(condition: Any) -> None:
    assert not matches({"a": condition}, {})
    assert not matches({"a.b": condition}, {"a": 2})


def test_only_what_is_missing_in_an_object_is_known_not_to_exist() -> None:
    assert matches({"a": {"$exists": False}}, {})
    assert matches({"a.b": {"$not": {"$exists": True}}}, {"a": {}})
    assert not matches({"a.b": {"$exists": False}}, {"a": 1})
    assert not matches({"a.5": {"$exists": False}}, {"a": []})


# Combinations and the normal form


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({}, True),
        ({"a": 1, "b": 2}, True),
        ({"a": 1, "b": 3}, False),
        ({"$or": [{"a": 0}, {"b": 2}]}, True),
        ({"$nor": [{"a": 0}, {"b": 2}]}, False),
        ({"$nor": [{"a": 0}, {"b": 3}]}, True),
        ({"$nor": [{"zz": 0}]}, False),
        ({"$not": {"a": 2}}, True),
        ({"$and": [{}, {"a": 1}]}, False),
        ({"$and": [{"a": 1}, {"$or": []}, {"$and": []}, {"$nor": []}]}, True),
        ({"$text": "anything"}, True),
        ({"o": {"x": 1}}, True),
        ({"o": {}}, False),
        ({"o": {"$eq": {"x": 1, "y": 2}}}, True),
        ({"o": {"x": {"$gt": 0}, "y": {"$gt": 9}}}, False),
        ({"o": {"$or": [{"x": 9}, {"y": 2}]}}, True),
        ({"": {"a": 1}}, True),
    ],
)
def test_selectors_combine(selector: Any, expected: bool) -> None:
    assert matches(selector, {"a": 1, "b": 2, "o": {"x": 1, "y": 2}}) == expected


@pytest.mark.parametrize(
    ("selector", "normalized"),
    [
        ({}, {}),
        ({"a": 1}, {"a": {"$eq": 1}}),
        ({"a": {}}, {"a": {"$eq": {}}}),
        ({"a": {"b": {"$gt": 1}}}, {"a.b": {"$gt": 1}}),
        ({"a": 1, "b": 2}, {"$and": [{"a": {"$eq": 1}}, {"b": {"$eq": 2}}]}),
        ({"a": {"$gt": 1, "$lt": 3}}, {"$and": [{"a": {"$gt": 1}}, {"a": {"$lt": 3}}]}),
        ({"a": {"$not": {"$gt": 1}}}, {"a": {"$lte": 1}}),
        ({"$not": {"a": {"$in": [1]}}}, {"a": {"$nin": [1]}}),
        ({"$not": {"$not": {"a": 1}}}, {"a": {"$eq": 1}}),
        ({"$not": {"$and": [{"a": 1}, {"b": 2}]}}, {"$or": [{"a": {"$ne": 1}}, {"b": {"$ne": 2}}]}),
        ({"$nor": [{"a": 1}, {"$not": {"b": 2}}]}, {"$and": [{"a": {"$ne": 1}}, {"b": {"$eq": 2}}]}),
        ({"$not": {"$nor": [{"a": 1}]}}, {"$or": [{"a": {"$eq": 1}}]}),
        ({"a": {"$not": {"$exists": True}}}, {"a": {"$exists": False}}),
        ({"a": {"$not": {"$size": 1}}}, {"a": {"$not": {"$size": 1}}}),
        ({"a": {"$elemMatch": {"b": {"c": 1}}}}, {"a": {"$elemMatch": {"b.c": {"$eq": 1}}}}),
        ({"a": {"$elemMatch": {"$not": {"b": 1}}}}, {"a": {"$elemMatch": {"$not": {"b": {"$eq": 1}}}}}),
        ({"a": {"$allMatch": {"$gt": 1}}}, {"a": {"$allMatch": {"": {"$gt": 1}}}}),
        ({"$text": "x"}, {"$default": {"$text": "x"}}),
    ],
)
def test_selectors_are_normalized(selector: Any, normalized: Any) -> None:
    assert compile_selector(selector).normalized == normalized
    assert compile_selector(normalized).normalized == normalized
    assert compile_selector(selector).source is selector


def test_below_elem_match_what_is_missing_may_match_a_negation() -> None:
    assert matches_value({"$elemMatch": {"$not": {"x": 1}}}, [{}])
    assert not matches_value({"$elemMatch": {"x": {"$ne": 1}}}, [{}])


@pytest.mark.parametrize("selector", [{"$and": []}, {"$or": []}, {"$nor": []}])
def test_an_empty_combination_matches_everything_and_finds_nothing(selector: Any) -> None:
    compiled = compile_selector(selector)
    assert compiled.matches({}, Budget())
    assert compiled.finds_nothing
    assert not compile_selector({"$or": [selector]}).finds_nothing


EQUALS = [1, 1.0, True, None, "a", "A", "a\u200b", [1], {"b": 1}]


@pytest.mark.parametrize("path", ["a", "_id", "o.a", "l.0"])
@given(values=st.lists(st.sampled_from(EQUALS), min_size=2), value=st.sampled_from(EQUALS))
def test_alternatives_of_one_field_match_as_each_of_them_does(path: str, values: list[Any], value: Any) -> None:
    document = {"_id": value, "a": value, "o": {"a": value}, "l": [value]}
    equal = [{path: {"$eq": operand}} for operand in values]
    expected = any(matches(part, document) for part in equal)
    assert matches({"$or": equal}, document) == expected
    assert matches({"$nor": equal}, document) != expected
    assert not matches({"$nor": equal}, {})


def test_alternatives_are_tried_in_their_order() -> None:
    selector = compile_selector({"$or": [{"a": 1}, {"b": 1}, {"a..b": 1}, {"a": 2}]})
    assert selector.matches({"a": 1}, Budget())
    assert selector.matches({"b": 1}, Budget())
    with pytest.raises(BadRequestError, match="invalid_field_name"):
        selector.matches({"a": 2}, Budget())


# What a planner asks


@pytest.mark.parametrize(
    ("selector", "fields"),
    [
        ({}, set()),
        ({"a": 1, "b": {"c": 1}}, {"a", "b.c"}),
        ({"$or": [{"a": 1}, {"$and": [{"b": 1}, {"a": 2}]}]}, {"a", "b"}),
        ({"a": {"$elemMatch": {"b": 1}}}, {"a"}),
    ],
)
def test_a_selector_names_its_fields(selector: Any, fields: set[str]) -> None:
    assert compile_selector(selector).fields == fields


@pytest.mark.parametrize(
    ("selector", "columns", "expected"),
    [
        ({}, [], True),
        ({}, ["a"], False),
        ({"a": 1}, ["a"], True),
        ({"a": 1}, ["a", "b"], False),
        ({"a": 1, "b": {"$gt": 1}}, ["a", "b"], True),
        ({"a": {"$exists": False}}, ["a"], False),
        ({"a": {"$exists": True}}, ["a"], True),
        ({"$or": [{"a": 1}, {"b": 1}]}, ["a"], False),
        ({"$or": [{"a": 1}, {"a": 2, "b": 1}]}, ["a"], True),
        ({"$or": [{"a": 1}, {"b": 1}], "b": 1}, ["b"], True),
        ({"$or": [{"a": 1}, {"b": 1}], "b": 1}, ["a"], False),
        ({"$or": []}, ["a"], True),
    ],
)
def test_a_selector_says_which_fields_it_requires(selector: Any, columns: list[str], expected: bool) -> None:
    assert compile_selector(selector).has_required_fields(columns) == expected


# Properties


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
COMPARISONS = st.sampled_from(["$eq", "$ne", "$lt", "$lte", "$gt", "$gte"])
CONDITIONS = st.recursive(
    st.builds(lambda name, operand: {name: operand}, COMPARISONS, VALUES),
    lambda inner: (
        st.builds(lambda name, part: {name: part}, st.sampled_from(["$not", "$elemMatch", "$allMatch"]), inner)
        | st.builds(lambda name, parts: {name: parts}, st.sampled_from(["$and", "$or", "$nor"]), st.lists(inner))
    ),
    max_leaves=5,
)


@given(CONDITIONS, VALUES)
def test_a_condition_or_its_negation_holds_of_what_is_there(condition: Any, value: Any) -> None:
    # An empty $and and an empty $or both match, and only one of them may be the negation of the other.
    if "[]" not in json.dumps(condition):
        assert matches_value({"$not": condition}, value) != matches_value(condition, value)


@given(CONDITIONS)
def test_a_normal_form_is_its_own_normal_form(condition: Any) -> None:
    normalized = compile_selector({"a": condition}).normalized
    assert compile_selector(normalized).normalized == normalized


@given(st.dictionaries(st.sampled_from(["a", "$and", "$not", "$in", "$regex", "$elemMatch", "$text"]), VALUES))
def test_whatever_is_put_in_is_compiled_or_refused(selector: Any) -> None:
    with suppress(BadRequestError):
        compile_selector(selector)
