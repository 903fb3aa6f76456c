"""Make binary sort keys of JSON values that have CouchDB's order.

CouchDB orders the keys of views and Mango indexes, and the values that selectors compare, by type first: null, false,
true, numbers, strings, arrays, objects. Strings follow ICU's root collator. Strings that it takes for equal are equal
as keys, too: a string with a zero-width space equals the string without it. Document ids and views with
``collation: raw`` follow Erlang's order of terms. ``sort_key`` and ``raw_key`` return bytes that sort in these two
orders.

Rule 1: no key is a prefix of another key, so keys can be joined.

Rule 2: an array's key without its last byte is a prefix of the keys of all arrays that begin with the same items, so
these arrays are a range.

A string's key has the levels of the Unicode collation algorithm (UTS #10), as far as needed: letters, accents, case.

    "John" = 75 7f 71 7d   01   01   7f 09

The code of a letter has one byte for ASCII and two to four for others, and never begins with 00 or 01. The other levels
have the uncommon weights only, each after the number of common weights before it. Weights beyond ASCII are in
``collation.bin``, because the order within a database file must not depend on the machine's ICU. They come from
ICU 72.1 through ``tests/embedded/rules/bake_collation.py``.
"""

import json
import lzma
import re
import unicodedata
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from importlib import resources
from itertools import accumulate, chain
from operator import itemgetter
from re import Match
from typing import Any, Final, NamedTuple, TypeAlias, TypeGuard

from couchmodel._embedded import limits
from couchmodel.types import JSON

__all__ = ["COLLATOR", "HIGHEST", "compare", "raw_compare", "raw_key", "sort_key", "string_key"]

COLLATOR: Final = "icu72.1/1"
"""The name and version of this order. The indexes of a file that was written with another one have to be rebuilt."""

HIGHEST: Final = b"\xff"
"""A byte that sorts after the key of every value."""


# Strings


def string_key(text: str) -> bytes:
    """Return a string's key without the type tag and the end mark that ``sort_key`` adds. It has no zero byte."""
    # Short keys are cached: documents share strings, and a view often emits one several times.
    return _short_string_key(text) if len(text) <= _SHORT else _string_key(text)


_SHORT = 64
"""The number of characters up to which a string's key is cached."""


def _string_key(text: str) -> bytes:
    return _ascii_key(text) if text.isascii() else _unicode_key(text)


_short_string_key = lru_cache(2**12)(_string_key)


_SEPARATOR = b"\x01"
_COMMON = "\0"
_UNCOMMON = re.compile(f"({_COMMON}*)([^{_COMMON}])")
_LONGEST_RUN = 124
"""The length of a run of common weights that fits into one byte. Longer runs have several."""


def _weight(rank: int) -> str:
    """Return a weight of accents or case as a character. Uncommon weights sort after the separator of levels."""
    return chr(rank + 1) if rank else _COMMON


def _level(weights: str) -> bytes:
    """Return the uncommon weights of a level, each after the length of the run of common weights before it."""
    weights = weights.rstrip(_COMMON)
    if not weights:
        return b""
    is_short = len(weights) <= limits.COLLATED_UNITS
    found = _UNCOMMON.findall(weights) if is_short else map(Match.groups, _UNCOMMON.finditer(weights))
    return "".join([_run(len(run)) + weight for run, weight in found]).encode()


def _run(length: int) -> str:
    """Return the length of a run so that shorter runs sort higher.

    A run ends at an uncommon weight, which is above the common one, so the string with the shorter run is the greater.
    """
    more, rest = divmod(length, _LONGEST_RUN)
    return "\x02" * more + chr(0x7F - rest)


def _join(primary: bytes, accents: bytes, case: bytes) -> bytes:
    if case:
        return _SEPARATOR.join((primary, accents, case))
    return primary + _SEPARATOR + accents if accents else primary


# Strings of ASCII. They have no accents, and need no table.


_ORDER = b"\t\n\v\f\r _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789abcdefghijklmnopqrstuvwxyz"
_CAPITALS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CAPITAL_RANK = 8
"""The rank of a capital letter among the weights of case, the same as in the table."""

_IGNORED = bytes(code for code in range(0x80) if code not in _ORDER + _CAPITALS)
_CODES = bytes(range(3, 3 + 2 * len(_ORDER), 2))  # bytes in between lead longer codes
# A capital letter has the code of its small letter. Only the level of case tells them apart.
_TO_CODE = bytes.maketrans(_ORDER + _CAPITALS, _CODES + _CODES[-len(_CAPITALS) :])
_TO_CASE = bytes.maketrans(_ORDER + _CAPITALS, bytes(len(_ORDER)) + _weight(_CAPITAL_RANK).encode() * len(_CAPITALS))


def _ascii_key(text: str) -> bytes:
    characters = text.encode()
    primary = characters.translate(_TO_CODE, _IGNORED)
    if text == text.lower():
        return primary
    return _join(primary, b"", _level(characters.translate(_TO_CASE, _IGNORED).decode()))


# Strings of any characters


_REPLACEMENT = "\ufffd"
_LONGEST_CONTRACTION = 3
_HANGUL = range(0xAC00, 0xD7A4)
_SURROGATES = range(0xD800, 0xE000)
_MADE_UP = -1
"""The table's number of elements for characters whose elements are computed: unassigned ones and Hangul syllables."""

_Element: TypeAlias = tuple[int, int, int]
"""The ranks of a collation element on the three levels. On the first level, 0 means that it has no weight."""


def _unicode_key(text: str) -> bytes:
    units, step = _table().units(text), limits.COLLATED_UNITS
    pieces = [_join_weights(units[start : start + step]) for start in range(0, len(units), step)]
    primary, accents, case = zip(*pieces, strict=True)
    return _join(b"".join(primary), _level("".join(accents)), _level("".join(case)))


def _join_weights(units: Sequence[str]) -> tuple[bytes, str, str]:
    primary, accents, case = zip(*map(_weights, units), strict=True)
    return b"".join(primary), "".join(accents), "".join(case)


@lru_cache(2**15)
def _weights(unit: str) -> tuple[bytes, str, str]:
    """Return the weights of a unit on the three levels."""
    table = _table()
    primary, accents, case = b"", "", ""
    for letter, accent, variant in table.elements(unit):
        primary += table.code(letter) if letter else b""
        accents += _weight(accent)
        case += _weight(variant)
    return primary, accents, case


@cache
def _table() -> "_Table":
    """Return the table of weights. It is loaded at the first string that is not ASCII."""
    packed = resources.files("couchmodel._embedded.rules").joinpath("collation.bin").read_bytes()
    return _Table(json.loads(lzma.decompress(packed)))


class _Table:
    """The weights of ICU's root collator. ``document()`` in ``bake_collation.py`` describes the file's members."""

    def __init__(self, baked: Mapping[str, Any]) -> None:
        self.leads: list[tuple[int, int, int]] = baked["leads"]
        self.unassigned: int = baked["unassigned"]
        self.runs: list[tuple[int, int, int]] = baked["runs"]
        self.contractions: dict[str, tuple[int, int]] = baked["contractions"]
        self.marks: dict[str, tuple[int, int]] = baked["marks"]
        self.primary = array("I", accumulate(baked["primary"]))
        self.accents = array("H", baked["secondary"])
        self.case = array("B", baked["tertiary"])
        self.openings = {string[:size] for string in self.contractions for size in range(1, len(string))}
        self.contextual = _contraction_pattern(self.contractions, self.marks)

    def units(self, text: str) -> Sequence[str]:
        """Split a text into the units that have weights of their own: characters and contractions."""
        return self._split_contractions(text) if self.contextual.search(text) else text

    def _split_contractions(self, text: str) -> list[str]:
        units: list[str] = []
        after = list(range(1, len(text) + 1))  # the place of the next character that is in no contraction yet
        at = seen = 0
        while at < len(text):
            unit, last = self._longest(text, after, at)
            if text[at] in self.marks:
                # Many marks of a run can search the same run for a partner. Each continues where the search before it
                # stopped; otherwise the time would grow with the square of the run's length.
                unit, seen = self._extend(unit, text, after, last, max(last, seen))
            else:
                unit, _ = self._extend(unit, text, after, last, last)
            units.append(unit)
            at = after[last]
        return units

    def _longest(self, text: str, after: list[int], at: int) -> tuple[str, int]:
        """Return the longest contraction that begins here, else one character, and the place of its last character."""
        if text[at] in self.openings:
            places = [at]
            while len(places) < _LONGEST_CONTRACTION and after[places[-1]] < len(text):
                places.append(after[places[-1]])
            for size in range(len(places), 1, -1):
                unit = "".join([text[place] for place in places[:size]])
                if unit in self.contractions:
                    return unit, places[size - 1]
        return text[at], at

    def _extend(self, unit: str, text: str, after: list[int], last: int, stays: int) -> tuple[str, int]:
        """Return a unit with the later marks that form a contraction with it (UTS #10: a discontiguous contraction).

        Such marks are removed from the text. A mark is blocked if the last mark before it that remains in the text has
        the same or a higher combining class. ``stays`` is the place of that last mark, before and after the call.
        """
        blocked = self.marks[text[stays]][1] if stays > last else 0
        while unit in self.openings and (at := after[stays]) < len(text) and text[at] in self.marks:
            lead, trail = self.marks[text[at]]
            if blocked < lead and unit + text[at] in self.contractions:
                unit += text[at]
                after[stays] = after[at]
            else:
                blocked, stays = trail, at
        return unit, stays

    def elements(self, unit: str) -> Iterable[_Element]:
        """Return the collation elements of a character, or of a contraction: characters that sort as one (UTS #10)."""
        if unit in self.contractions:
            return self._elements_at(*self.contractions[unit])
        code = ord(unit)
        if code in _HANGUL:  # a syllable has the elements of its letters
            return chain.from_iterable(map(self.elements, unicodedata.normalize("NFD", unit)))
        if code in _SURROGATES:
            return self.elements(_REPLACEMENT)
        first, size, start = self.runs[bisect_right(self.runs, code, key=itemgetter(0)) - 1]
        if size == _MADE_UP:
            return [(self.unassigned + code, 0, 0)]
        return self._elements_at(start + (code - first) * size, size)

    def _elements_at(self, start: int, size: int) -> Iterable[_Element]:
        part = slice(start, start + size)
        return zip(self.primary[part], self.accents[part], self.case[part], strict=True)

    def code(self, rank: int) -> bytes:
        """Return the code of a letter: the lead byte of its group, then its offset in the group to the base 255."""
        first, lead, length = self.leads[bisect_right(self.leads, rank, key=itemgetter(0)) - 1]
        return bytes((lead, *((rank - first) // 255**place % 255 + 1 for place in reversed(range(length - 1)))))


def _contraction_pattern(contractions: Iterable[str], marks: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern that is found in every text with a contraction, and in few others.

    Contractions that begin with an ASCII letter have their own alternative. Together with the others, the pattern would
    be found in nearly every text.
    """
    ascii_pairs = [string[:2] for string in contractions if string[0].isascii()]
    other_pairs = [string[:2] for string in contractions if not string[0].isascii()]
    patterns = []
    for pairs, more in ((ascii_pairs, ""), (other_pairs, "".join(marks))):
        firsts, seconds = map("".join, zip(*pairs, strict=True))
        patterns.append(f"[{re.escape(firsts)}][{re.escape(seconds + more)}]")
    return re.compile("|".join(patterns))


# Strings in Erlang's order


_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_NEXT_BYTE = bytes(range(1, 0x100)) + b"\x00"


def _utf8_key(text: str) -> bytes:
    """Return a string's UTF-8 with each byte raised by one. UTF-8 has no ff, so 00 becomes free for the end mark."""
    return _LONE_SURROGATE.sub(_REPLACEMENT, text).encode().translate(_NEXT_BYTE)


# Numbers


_NEGATIVE, _ZERO, _POSITIVE = b"\x1f", b"\x20", b"\x21"
_COMPLEMENT = bytes(range(0xFF, -1, -1))


@lru_cache(2**12)
def _number_key(number: float) -> bytes:
    """Return a number's key: sign, exponent and all bits. So 2**53 + 1 differs from 2.0**53."""
    if not number:
        return _ZERO
    try:
        numerator, denominator = abs(number).as_integer_ratio()
    except (OverflowError, ValueError):
        raise ValueError(f"JSON has no {number}") from None
    # The key of a negative number is the complement of that of its magnitude, so that -2 sorts before -1.
    magnitude = _exponent_key(numerator.bit_length() - denominator.bit_length()) + _mantissa_key(numerator)
    return _POSITIVE + magnitude if number > 0 else _NEGATIVE + magnitude.translate(_COMPLEMENT)


def _exponent_key(exponent: int) -> bytes:
    """Return the key of a binary exponent: one byte from -64 to 189, several bytes beyond."""
    if -0x41 < exponent < 0xBE:
        return (exponent + 0x41).to_bytes()
    if exponent < 0:  # only a float has it, so it is above -1100
        return b"\x00" + (exponent + 0x8000).to_bytes(2)
    return b"\xff" + exponent.to_bytes(8)


def _mantissa_key(integer: int) -> bytes:
    """Return the bits after the leading one in bytes of seven bits, each with a last bit that is 1 if more follow."""
    size = integer.bit_length() - 1
    rest = (integer - (1 << size)) << -size % 7
    size += -size % 7
    groups = bytearray()
    while rest:
        size -= 7
        group, rest = divmod(rest, 1 << size)
        groups.append(group << 1 | (rest > 0))
    return bytes(groups) or b"\x00"


# JSON values


class _Order(NamedTuple):
    """An order of JSON values: the tags of its types, and the function that makes the key of a string."""

    null: bytes
    false: bytes
    true: bytes
    string: bytes
    array: bytes
    object: bytes
    string_to_key: Callable[[str], bytes]


# Numbers have the tags 1f to 21 in both orders. The end mark of strings, arrays and objects is below all tags, so that
# a shorter array sorts before a longer one.
_COLLATED = _Order(b"\x10", b"\x11", b"\x12", string=b"\x30", array=b"\x40", object=b"\x50", string_to_key=string_key)
_RAW = _Order(b"\x31", b"\x30", b"\x32", object=b"\x40", array=b"\x50", string=b"\x60", string_to_key=_utf8_key)
_END = b"\x00"


def sort_key(value: JSON) -> bytes:
    """Return the key of a value in CouchDB's order.

    Raises:
        TypeError: if it is not a JSON value.
        ValueError: if it is NaN or infinite.
    """
    return _key(value, _COLLATED)


def raw_key(value: JSON) -> bytes:
    """Return the key of a value in Erlang's order: numbers, false, null, true, objects, arrays, strings by their bytes.

    Raises:
        TypeError: if it is not a JSON value.
        ValueError: if it is NaN or infinite.
    """
    return _key(value, _RAW)


def compare(left: JSON, right: JSON) -> int:
    """Compare two values in CouchDB's order. Return -1, 0 or 1."""
    return _compare(left, right, sort_key)


def raw_compare(left: JSON, right: JSON) -> int:
    """Compare two values in Erlang's order. Return -1, 0 or 1."""
    return _compare(left, right, raw_key)


def _key(value: JSON, order: _Order) -> bytes:
    if isinstance(value, str):
        return order.string + order.string_to_key(value) + _END
    if value is None:
        return order.null
    if isinstance(value, bool):  # before int, because bool is a subclass of it
        return order.true if value else order.false
    if isinstance(value, (int, float)):
        return _number_key(value)
    if isinstance(value, (list, tuple)):
        return order.array + _keys(value, order) + _END
    if isinstance(value, (dict, Mapping)):
        return order.object + _keys([part for member in value.items() for part in member], order) + _END
    raise TypeError(f"{type(value).__name__} is no type of JSON")


def _keys(values: Sequence[JSON], order: _Order) -> bytes:
    if len(values) <= limits.COLLATED_UNITS:
        return b"".join([_key(value, order) for value in values])
    keys = bytearray()
    for start in range(0, len(values), limits.COLLATED_UNITS):
        keys += _keys(values[start : start + limits.COLLATED_UNITS], order)
    return bytes(keys)


def _compare(left: JSON, right: JSON, key: Callable[[JSON], bytes]) -> int:
    if _is_number(left) and _is_number(right):
        return (left > right) - (left < right)
    # Most comparisons are of numbers, or of equal strings. Neither needs a key.
    if isinstance(left, str) and left == right:
        return 0
    one, other = key(left), key(right)
    return (one > other) - (one < other)


def _is_number(value: JSON) -> TypeGuard[int | float]:
    return type(value) in {int, float}
