"""CouchDB's order of JSON values, as keys whose bytes sort alike.

CouchDB orders the keys of views and of Mango's indexes, and what selectors compare, by type first: null, false, true,
numbers, strings, arrays, objects. Strings follow ICU's root collator, and what that finds equal *is* equal: a string
with a zero-width space is the string without it. Document ids and views with ``collation: raw`` follow Erlang's order
of terms. ``sort_key`` and ``raw_key`` make bytes of a value that sort in either order. No key is the beginning of
another, so keys can be joined. Without its last byte, the key of an array is what the keys of all arrays begin with
that go on from it: they are a range.

A string's key has the levels of the Unicode collation algorithm (UTS #10), as far as needed: letters, accents, case.

    "John" = 75 7f 71 7d   01   01   7f 09

A letter's code is one byte for ASCII and two to four for others, and never begins with 00 or 01. The other levels name
the uncommon weights only, each after the number of common ones before it. Weights beyond ASCII are in
``collation.bin``, because the order in a file must not depend on the machine's ICU; they come from ICU 72.1 by way of
``tests/embedded/rules/bake_collation.py``.
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

from couchmodel.types import JSON

__all__ = ["COLLATOR", "HIGHEST", "compare", "raw_compare", "raw_key", "sort_key", "string_key"]

COLLATOR: Final = "icu72.1/1"
"""The name of this order. Whoever opens a file that was made under another one has to rebuild its indexes."""

HIGHEST: Final = b"\xff"
"""What sorts after the key of every value."""


# Strings


def string_key(text: str) -> bytes:
    """The key of a string without the tag and the end that ``sort_key`` puts around it; it has no zero byte."""
    # A document often emits a string several times, and documents share theirs.
    return _short_string_key(text) if len(text) <= _SHORT else _string_key(text)


_SHORT = 64


def _string_key(text: str) -> bytes:
    return _ascii_key(text) if text.isascii() else _unicode_key(text)


_short_string_key = lru_cache(2**12)(_string_key)


_SEPARATOR = b"\x01"
_COMMON = "\0"
_UNCOMMON = re.compile(f"({_COMMON}*)([^{_COMMON}])")
_LONGEST_RUN = 124
_PIECE = 2000
"""Units, weights or keys that are gone through in one call, in which other threads have to wait."""


def _weight(rank: int) -> str:
    """A weight of accents or case as a character: the common one, or one that sorts after the separator of levels."""
    return chr(rank + 1) if rank else _COMMON


def _level(weights: str) -> bytes:
    """The uncommon weights of a level, each after the length of the run of common ones before it."""
    weights = weights.rstrip(_COMMON)
    if not weights:
        return b""
    found = _UNCOMMON.findall(weights) if len(weights) <= _PIECE else map(Match.groups, _UNCOMMON.finditer(weights))
    return "".join([_run(len(run)) + weight for run, weight in found]).encode()


def _run(length: int) -> str:
    """A number that sorts the higher the lower it is: a run that ends early ends in a weight above the common one."""
    more, rest = divmod(length, _LONGEST_RUN)
    return "\x02" * more + chr(0x7F - rest)


def _join(primary: bytes, accents: bytes, case: bytes) -> bytes:
    if case:
        return _SEPARATOR.join((primary, accents, case))
    return primary + _SEPARATOR + accents if accents else primary


# Strings of ASCII: no accents, and nothing to load


_ORDER = b"\t\n\v\f\r _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$0123456789abcdefghijklmnopqrstuvwxyz"
_CAPITALS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CAPITAL_RANK = 8
"""The rank of a capital in the weights of case. The table has the same one."""

_IGNORED = bytes(code for code in range(0x80) if code not in _ORDER + _CAPITALS)
_CODES = bytes(range(3, 3 + 2 * len(_ORDER), 2))  # the bytes between them lead the codes of all that sorts between
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
"""The number of elements of characters that have none in the table: unassigned ones and Hangul syllables."""

_Element: TypeAlias = tuple[int, int, int]
"""The ranks of a collation element on the three levels. On the first, 0 is none."""


def _unicode_key(text: str) -> bytes:
    units = _table().units(text)
    pieces = [_weighed(units[start : start + _PIECE]) for start in range(0, len(units), _PIECE)]
    primary, accents, case = zip(*pieces, strict=True)
    return _join(b"".join(primary), _level("".join(accents)), _level("".join(case)))


def _weighed(units: Sequence[str]) -> tuple[bytes, str, str]:
    primary, accents, case = zip(*map(_weights, units), strict=True)
    return b"".join(primary), "".join(accents), "".join(case)


@lru_cache(2**15)
def _weights(unit: str) -> tuple[bytes, str, str]:
    """The weights of a unit on the three levels."""
    table = _table()
    primary, accents, case = b"", "", ""
    for letter, accent, variant in table.elements(unit):
        primary += table.code(letter) if letter else b""
        accents += _weight(accent)
        case += _weight(variant)
    return primary, accents, case


@cache
def _table() -> "_Table":
    """The table, loaded when the first string comes that is not ASCII."""
    packed = resources.files("couchmodel._embedded.rules").joinpath("collation.bin").read_bytes()
    return _Table(json.loads(lzma.decompress(packed)))


class _Table:
    """The weights of ICU's root collator; ``document()`` in ``bake_collation.py`` tells what the table has."""

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
        self.contextual = _contextual(self.contractions, self.marks)

    def units(self, text: str) -> Sequence[str]:
        """The parts of a text that have weights of their own: characters and contractions."""
        return self._contracted(text) if self.contextual.search(text) else text

    def _contracted(self, text: str) -> list[str]:
        units: list[str] = []
        after = list(range(1, len(text) + 1))  # where the next character is that no contraction has taken yet
        at = seen = 0
        while at < len(text):
            unit, last = self._longest(text, after, at)
            if text[at] in self.marks:
                # A run of marks may have many that look for another one in it, all the same: one goes on where the
                # one before it has stopped, or a long run would take for ever.
                unit, seen = self._extended(unit, text, after, last, max(last, seen))
            else:
                unit, _ = self._extended(unit, text, after, last, last)
            units.append(unit)
            at = after[last]
        return units

    def _longest(self, text: str, after: list[int], at: int) -> tuple[str, int]:
        """The longest contraction that begins here, else the one character; and where its last character is."""
        if text[at] in self.openings:
            places = [at]
            while len(places) < _LONGEST_CONTRACTION and after[places[-1]] < len(text):
                places.append(after[places[-1]])
            for size in range(len(places), 1, -1):
                unit = "".join([text[place] for place in places[:size]])
                if unit in self.contractions:
                    return unit, places[size - 1]
        return text[at], at

    def _extended(self, unit: str, text: str, after: list[int], last: int, stays: int) -> tuple[str, int]:
        """The contraction of a unit with marks further on, which leave the text; UTS #10 calls it discontiguous.

        A mark counts unless the one before it, of those that stay, has its combining class or a higher one. ``stays``
        is that one, to begin with and in the end.
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
        """The collation elements of a character or a contraction."""
        if unit in self.contractions:
            return self._elements_at(*self.contractions[unit])
        code = ord(unit)
        if code in _HANGUL:  # the sum of its letters
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
        """The code of a letter: a byte that it shares with its neighbours, and which of them it is, to the base 255."""
        first, lead, length = self.leads[bisect_right(self.leads, rank, key=itemgetter(0)) - 1]
        return bytes((lead, *((rank - first) // 255**place % 255 + 1 for place in reversed(range(length - 1)))))


def _contextual(contractions: Iterable[str], marks: Iterable[str]) -> re.Pattern[str]:
    """What is in every text that has a contraction; it may be in a few others.

    Contractions that begin with an ASCII letter are apart: with the others, they would be suspected nearly everywhere.
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
    """The bytes of a string, each one higher, which leaves 00 to the end: UTF-8 has no ff."""
    return _LONE_SURROGATE.sub(_REPLACEMENT, text).encode().translate(_NEXT_BYTE)


# Numbers


_NEGATIVE, _ZERO, _POSITIVE = b"\x1f", b"\x20", b"\x21"
_COMPLEMENT = bytes(range(0xFF, -1, -1))


@lru_cache(2**12)
def _number_key(number: float) -> bytes:
    """The sign, the exponent and the bits of a number, all of them: 2**53 + 1 is not 2.0**53."""
    if not number:
        return _ZERO
    try:
        numerator, denominator = abs(number).as_integer_ratio()
    except (OverflowError, ValueError):
        raise ValueError(f"JSON has no {number}") from None
    magnitude = _exponent(numerator.bit_length() - denominator.bit_length()) + _bits(numerator)
    return _POSITIVE + magnitude if number > 0 else _NEGATIVE + magnitude.translate(_COMPLEMENT)


def _exponent(exponent: int) -> bytes:
    """One byte from 2**-64 to 2**189, more beyond."""
    if -0x41 < exponent < 0xBE:
        return (exponent + 0x41).to_bytes()
    if exponent < 0:  # a float's, hence above -1100
        return b"\x00" + (exponent + 0x8000).to_bytes(2)
    return b"\xff" + exponent.to_bytes(8)


def _bits(integer: int) -> bytes:
    """The bits after the leading one in groups of seven, each before a bit that tells whether more follow."""
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
    """What tells one order of JSON values from the other: the tags of types, and how a string is spelled."""

    null: bytes
    false: bytes
    true: bytes
    string: bytes
    array: bytes
    object: bytes
    spell: Callable[[str], bytes]


# Numbers have the tags 1f to 21 in both; what ends a string, an array or an object is below all tags.
_COLLATED = _Order(b"\x10", b"\x11", b"\x12", string=b"\x30", array=b"\x40", object=b"\x50", spell=string_key)
_RAW = _Order(b"\x31", b"\x30", b"\x32", object=b"\x40", array=b"\x50", string=b"\x60", spell=_utf8_key)
_END = b"\x00"


def sort_key(value: JSON) -> bytes:
    """The key of a value in CouchDB's order.

    Raises:
        TypeError: for what is no JSON value.
        ValueError: for NaN and the infinities.
    """
    return _key(value, _COLLATED)


def raw_key(value: JSON) -> bytes:
    """The key of a value in Erlang's order: numbers, false, null, true, objects, arrays, strings by their bytes.

    Raises:
        TypeError: for what is no JSON value.
        ValueError: for NaN and the infinities.
    """
    return _key(value, _RAW)


def compare(left: JSON, right: JSON) -> int:
    """How a value stands to another in CouchDB's order: -1, 0 or 1."""
    return _compare(left, right, sort_key)


def raw_compare(left: JSON, right: JSON) -> int:
    """How a value stands to another in Erlang's order: -1, 0 or 1."""
    return _compare(left, right, raw_key)


def _key(value: JSON, order: _Order) -> bytes:
    if isinstance(value, str):
        return order.string + order.spell(value) + _END
    if value is None:
        return order.null
    if isinstance(value, bool):  # before int, which it is, too
        return order.true if value else order.false
    if isinstance(value, (int, float)):
        return _number_key(value)
    if isinstance(value, (list, tuple)):
        return order.array + _keys(value, order) + _END
    if isinstance(value, (dict, Mapping)):
        return order.object + _keys([part for member in value.items() for part in member], order) + _END
    raise TypeError(f"{type(value).__name__} is no type of JSON")


def _keys(values: Sequence[JSON], order: _Order) -> bytes:
    if len(values) <= _PIECE:
        return b"".join([_key(value, order) for value in values])
    keys = bytearray()
    for start in range(0, len(values), _PIECE):
        keys += _keys(values[start : start + _PIECE], order)
    return bytes(keys)


def _compare(left: JSON, right: JSON, key: Callable[[JSON], bytes]) -> int:
    if _is_number(left) and _is_number(right):
        return (left > right) - (left < right)
    if isinstance(left, str) and left == right:
        return 0
    one, other = key(left), key(right)
    return (one > other) - (one < other)


def _is_number(value: JSON) -> TypeGuard[int | float]:
    return type(value) in {int, float}
