"""Make binary sort keys of strings, in the order of ICU's root collator, as CouchDB's ``couch_ejson_compare`` compares.

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
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from importlib import resources
from itertools import accumulate, chain
from operator import itemgetter
from re import Match
from typing import Any, Final, TypeAlias

from couchmodel._embedded import limits

__all__ = ["COLLATOR", "REPLACEMENT", "string_key"]

COLLATOR: Final = "icu72.1/1"
"""The name and version of this order. The indexes of a file that was written with another one have to be rebuilt."""


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
    # Short levels are cached: many texts have only a capital at the beginning, and so the same level.
    return (_short_level(weights) if len(weights) <= _SHORT else _encode_level(weights)) if weights else b""


def _encode_level(weights: str) -> bytes:
    is_short = len(weights) <= limits.COLLATED_UNITS
    found = _UNCOMMON.findall(weights) if is_short else map(Match.groups, _UNCOMMON.finditer(weights))
    return "".join([_run(len(run)) + weight for run, weight in found]).encode()


_short_level = lru_cache(2**10)(_encode_level)


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


REPLACEMENT = "\ufffd"
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
            return self.elements(REPLACEMENT)
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
