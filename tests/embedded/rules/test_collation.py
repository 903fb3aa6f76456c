"""CouchDB's order of JSON values: its laws, orders that are known, and ICU 72.1 itself where PyICU is installed."""

import json
import math
import random
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from couchmodel._embedded.rules import string_collation
from couchmodel._embedded.rules.collation import HIGHEST, compare, raw_compare, raw_key, sort_key
from couchmodel._embedded.rules.string_collation import string_key

Order = Callable[[Any, Any], int]

GOLDEN = Path(__file__).with_name("collation_golden.json")
"""Texts in ICU's order, those that are equal in one list; ``bake_collation.py`` wrote it."""

SURROGATES = range(0xD800, 0xE000)
MARKS = "".join(string_collation._table().marks)
CONTRACTIONS = list(string_collation._table().contractions)
CONTRACTING = "".join(sorted(set("".join(CONTRACTIONS))))

finite = st.floats(allow_nan=False, allow_infinity=False)
numbers = st.one_of(st.integers(), finite, st.sampled_from([2**53, 2.0**53, 2**53 + 1, 10**400, 5e-324]))
# Half of these texts are equal, or nearly so; the others have what makes collation hard.
tricky = st.one_of(st.sampled_from(MARKS), st.sampled_from(CONTRACTING), st.characters(codec="utf-8"))
texts = st.one_of(st.text("aAb\0\u0301", max_size=3), st.text(tricky, max_size=6))
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
runs = st.lists(st.tuples(st.sampled_from("aA"), st.integers(1, 400))).map(lambda runs: "".join(c * n for c, n in runs))
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))


def sign(left: Any, right: Any) -> int:
    """How two things stand that Python can compare."""
    return int(left > right) - int(left < right)


# Types

TYPES = ["null", "false", "true", "number", "string", "array", "object"]
ERLANG_TYPES = ["number", "false", "null", "true", "object", "array", "string"]


def type_of(value: Any) -> str:
    """The type of a JSON value, where true and false are two."""
    match value:
        case None | bool():
            return json.dumps(value)
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return "number"


def walk(left: Any, right: Any, types: list[str], spell: Callable[[str], bytes]) -> int:
    """How two values stand by CouchDB's own way of comparing: types first, then members, then how many there are."""
    if type_of(left) != type_of(right):
        return sign(types.index(type_of(left)), types.index(type_of(right)))
    match left:
        case str():
            return sign(spell(left), spell(right))
        case list():
            pairs = (walk(one, other, types, spell) for one, other in zip(left, right, strict=False))
            return next(filter(None, pairs), sign(len(left), len(right)))
        case dict():
            members, others = ([part for member in value.items() for part in member] for value in (left, right))
            return walk(members, others, types, spell)
        case None:
            return 0
        case _:
            return sign(left, right)


@pytest.mark.parametrize(
    ("order", "ascending"),
    [
        (compare, [None, False, True, -1, 0, 0.5, 1, "", "a", [], [None], {}, {"": None}]),
        (raw_compare, [-1, 0, 0.5, 1, False, None, True, {}, {"": 1}, [], [0], "", "a"]),
    ],
)
def test_types_have_a_fixed_order(order: Order, ascending: list[Any]) -> None:
    assert all(order(low, high) == -1 and order(high, low) == 1 for low, high in combinations(ascending, 2))
    assert all(order(value, value) == 0 for value in ascending)


@pytest.mark.parametrize("order", [compare, raw_compare])
@pytest.mark.parametrize(
    ("low", "high"),
    [
        ([1], [1, 2]),
        ([1, "z"], [2]),
        ([[]], [[[]]]),
        ({"a": 2}, {"b": 1}),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": 1, "b": 1}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": {"a": 1}}, {"a": {"b": 0}}),
    ],
)
def test_arrays_and_objects_compare_member_by_member(order: Order, low: Any, high: Any) -> None:
    assert order(low, high) == -1


@given(values, values)
def test_keys_sort_as_couchdb_compares(left: Any, right: Any) -> None:
    assert compare(left, right) == sign(sort_key(left), sort_key(right)) == walk(left, right, TYPES, string_key)


@given(values, values)
def test_raw_keys_sort_as_erlang_compares(left: Any, right: Any) -> None:
    assert (
        raw_compare(left, right) == sign(raw_key(left), raw_key(right)) == walk(left, right, ERLANG_TYPES, str.encode)
    )


@pytest.mark.parametrize("key", [sort_key, raw_key])
@given(left=values, right=values)
@example(left="a", right="a\0")
def test_no_key_is_the_beginning_of_another(key: Callable[[Any], bytes], left: Any, right: Any) -> None:
    one, other = key(left), key(right)
    assert one == other or not (one.startswith(other) or other.startswith(one))


@given(st.lists(values, min_size=2, max_size=2), st.lists(values, min_size=2, max_size=2))
def test_joined_keys_sort_as_an_array_does(left: list[Any], right: list[Any]) -> None:
    assert sign(b"".join(map(sort_key, left)), b"".join(map(sort_key, right))) == compare(left, right)


@given(values, values)
def test_arrays_that_begin_alike_are_a_range(first: Any, second: Any) -> None:
    beginning = sort_key([first])[:-1]
    assert beginning < sort_key([first]) < sort_key([first, second]) < beginning + HIGHEST


@given(values)
def test_nothing_is_higher_than_the_highest(value: Any) -> None:
    assert max(sort_key(value), raw_key(value)) < HIGHEST


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object()])
def test_what_is_no_json_has_no_key(value: Any) -> None:
    with pytest.raises(TypeError, match="no type of JSON"):
        sort_key([value])


# Numbers


@given(numbers, numbers)
def test_numbers_sort_by_their_exact_values(left: float, right: float) -> None:
    assert sign(sort_key(left), sort_key(right)) == sign(Fraction(left), Fraction(right))


@given(finite, st.sampled_from([-1, 0, 1]))
def test_an_integer_next_to_a_float_is_told_from_it(number: float, step: int) -> None:
    integer = int(number) + step
    assert sign(sort_key(number), sort_key(integer)) == compare(number, integer) == sign(number, integer)


@pytest.mark.parametrize(
    ("integer", "number"), [(1, 1.0), (0, -0.0), (10**22, 1e22), (-(2**53), -(2.0**53)), (2**1000, 2.0**1000)]
)
def test_equal_numbers_have_one_key(integer: int, number: float) -> None:
    assert sort_key(integer) == sort_key(number)
    assert raw_key(integer) == raw_key(number)


def test_numbers_of_any_size_ascend() -> None:
    tiny = [5e-324, 1e-320, 2.3e-308, 2**-66, 2**-65, 2**-64, 2**-63]
    middle = [0.1, 0.5, 1, 1 + 2**-52, 1.5, 2, 127, 128, 2**53, 2**53 + 1, 2**64 - 1, 2.0**64, 2**64 + 1]
    huge = [2**189, 2.0**190, 2**190 + 1, 2**191, 1.7e308, 10**400, 10**4000]
    positive = [*tiny, *middle, *huge]
    ascending = [*(-number for number in reversed(positive)), 0, *positive]
    assert all(sort_key(low) < sort_key(high) for low, high in pairwise(ascending))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_json_has_neither_nan_nor_infinity(number: float) -> None:
    with pytest.raises(ValueError, match="JSON has no"):
        sort_key([number])


# Strings


def test_characters_of_ascii_have_icus_order() -> None:
    ascending = (
        "\t\n\v\f\r _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789aAbBcCdDeEfFgGhHiIjJkKlLmMnNoOpPqQrRsStTuUvVwWxXyYzZ"
    )
    assert all(string_key(low) < string_key(high) for low, high in pairwise(ascending))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("ab", "a\u200bb"),
        ("ab", "a\0b"),
        ("", "".join(map(chr, [*range(9), *range(14, 32), *range(127, 133), *range(134, 160)]))),
        ("1", "\N{DEVANAGARI DIGIT ONE}"),
        ("\N{ANGSTROM SIGN}", "A\N{COMBINING RING ABOVE}"),
        ("\N{CJK COMPATIBILITY IDEOGRAPH-F900}", "\N{CJK UNIFIED IDEOGRAPH-8C48}"),
        # A mark that is in the way of a contraction, but does not block it.
        ("\N{CYRILLIC SMALL LETTER SHORT I}\N{COMBINING CEDILLA}", "\N{CYRILLIC SMALL LETTER I}\u0327\u0306"),
    ],
)
def test_different_strings_may_be_equal(left: str, right: str) -> None:
    assert string_key(left) == string_key(right)
    assert compare([left], [right]) == 0


@pytest.mark.parametrize("key", [sort_key, raw_key])
def test_a_lone_surrogate_counts_as_the_replacement_character(key: Callable[[Any], bytes]) -> None:
    assert key("a\ud800b") == key("a\N{REPLACEMENT CHARACTER}b")


@pytest.mark.parametrize(
    "ascending",
    [
        ["", " ", "-", "1", "a", "\N{GREEK SMALL LETTER ALPHA}", "\N{CYRILLIC SMALL LETTER A}", "\u4e00", "\U0010ffff"],
        ["a", "A", "aa", "aA", "Aa", "b"],
        ["a" * run + "A" + "a" * (500 - run) for run in (499, 252, 248, 130, 125, 124, 123, 6, 1, 0)],
        ["cote", "cot\u00e9", "c\u00f4te", "c\u00f4t\u00e9", "coter"],
        ["re-sume", "resum", "resume", "Resume", "resum\u00e9"],
        ["e\u0301", "e\u0301\u0301", "e\u0301\u0300\u0301"],
        ["a", "a\ufffeb", "ab", "a\uffff"],
        ["\N{HIRAGANA LETTER SMALL A}", "\N{HIRAGANA LETTER A}", "\N{KATAKANA LETTER A}", "\N{HIRAGANA LETTER I}"],
        ["\uac00", "\uac00\u11a8", "\uac02"],
        ["\N{CYRILLIC SMALL LETTER I}\u0301\u0306", "\N{CYRILLIC SMALL LETTER SHORT I}\u0301"],
        ["\N{THAI CHARACTER KO KAI}", "\u0e40\u0e01", "\N{THAI CHARACTER KHO KHAI}", "\u0e40\u0e02"],
    ],
)
def test_strings_sort_by_letters_then_accents_then_case(ascending: list[str]) -> None:
    assert all(string_key(low) < string_key(high) for low, high in pairwise(ascending))


def test_strings_have_the_golden_order() -> None:
    keys = [{string_key(text) for text in equal} for equal in json.loads(GOLDEN.read_text())]
    assert all(len(equal) == 1 for equal in keys)
    assert all(max(low) < min(high) for low, high in pairwise(keys))


@given(texts)
def test_a_string_key_has_no_zero_byte(text: str) -> None:
    assert b"\0" not in string_key(text)


@given(st.text(st.characters(codec="ascii")))
def test_ascii_has_the_same_key_without_the_table(text: str) -> None:
    ignored = "\N{ZERO WIDTH SPACE}"
    assert string_key(text) == string_key(text + ignored)


def test_ascii_does_not_load_the_table() -> None:
    string_collation._table.cache_clear()
    string_key("An ASCII string")
    assert string_collation._table.cache_info().currsize == 0


def test_a_composed_letter_is_equal_to_its_decomposed_form() -> None:
    composed = [char for char in map(chr, range(0x10000)) if unicodedata.normalize("NFD", char) != char]
    assert len(composed) > 12_000
    assert all(string_key(char) == string_key(unicodedata.normalize("NFD", char)) for char in composed)


@given(runs, runs)
def test_case_is_compared_where_it_first_differs_however_late(left: str, right: str) -> None:
    assert compare(left, right) == sign((left.lower(), left.swapcase()), (right.lower(), right.swapcase()))


# The oracle


def span(first: int, last: int) -> str:
    """The characters from one to another."""
    return "".join(map(chr, range(first, last + 1)))


ALPHABETS: dict[str, list[Sequence[str]]] = {
    "any": [span(0, 0xD7FF) + span(0xE000, 0x1FFFF), span(0x20000, 0x32000)],
    "accents": ["aAbB\u00e9", MARKS],
    "contractions": [CONTRACTIONS, MARKS],
    "broken contractions": [CONTRACTING, MARKS[:4], "a"],
    "tibetan": ["\u0fb2\u0fb3", "\u0f71", "\u0f72\u0f73\u0f74\u0f75\u0f80\u0f81", "\u0301\u0327"],
    "kana": [span(0x3041, 0x30FF) + span(0xFF66, 0xFF9F), "\u3099\u309a\u30fc"],
    "hangul": [span(0x1100, 0x11FF), span(0xAC00, 0xD7A3), span(0xA960, 0xA97C), span(0xD7B0, 0xD7FB)],
    "case": ["aAwW\uff41\u24d0\u00aa"],
    "long runs": [["a" * 50, "a" * 120, "\u3042" * 125], ["A", "\u00e1", "\u0301", "\u30a2", "\u3041"]],
    "odd ones": ["\0\u00ad\u200b\u034f\u0378\ufdd0\ufdd1\ufffd\ufffe\uffff", "aA\u0301", MARKS],
}


@pytest.fixture(scope="module")
def icu() -> Any:
    """PyICU, if it stands on the ICU that the table was taken from."""
    module = pytest.importorskip("icu", reason="PyICU is not installed")
    if module.ICU_VERSION != "72.1":
        pytest.skip(f"the oracle is ICU 72.1, not {module.ICU_VERSION}")
    return module


@pytest.fixture(scope="module")
def root(icu: Any) -> Any:
    """ICU's root collator."""
    return icu.Collator.createInstance(icu.Locale(""))


def misplaced(strings: Iterable[str], root: Any) -> list[tuple[str, str]]:
    """Neighbours in ICU's order that stand to each other otherwise by their keys."""
    key = root.getSortKey
    pairs = pairwise(sorted(strings, key=key))
    return [(low, high) for low, high in pairs if sign(key(low), key(high)) != sign(string_key(low), string_key(high))]


def test_every_character_sorts_as_in_icu(root: Any) -> None:
    assert not misplaced((chr(code) for code in range(0x110000) if code not in SURROGATES), root)


@pytest.mark.parametrize("template", ["{}a", "a{}", "a{}\u0301", "\u0301{}"])
def test_every_assigned_character_sorts_as_in_icu_beside_others(icu: Any, root: Any, template: str) -> None:
    characters = map(chr, (code for code in range(0x110000) if code not in SURROGATES))
    assert not misplaced((template.format(char) for char in characters if icu.Char.isdefined(char)), root)


@pytest.mark.parametrize("alphabets", ALPHABETS.values(), ids=ALPHABETS)
def test_random_strings_sort_as_in_icu(root: Any, alphabets: list[Sequence[str]]) -> None:
    chance = random.Random(72)
    drawn = [
        "".join(chance.choice(chance.choice(alphabets)) for _ in range(chance.randrange(9))) for _ in range(30_000)
    ]
    assert not misplaced([unicodedata.normalize(form, text) for text in drawn for form in ("NFC", "NFD")] + drawn, root)


@given(left=texts, right=texts)
def test_icu_compares_as_its_keys_do(root: Any, left: str, right: str) -> None:
    assert root.compare(left, right) == compare(left, right)


def test_of_many_marks_in_a_row_each_finds_its_own() -> None:
    assert string_key("\u0f71" * 20_000 + "\u0f74" * 20_000) == string_key("\u0f71\u0f74" * 20_000)
