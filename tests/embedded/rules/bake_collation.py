"""The baker of couchmodel's collation table, and of the golden order that tests hold it to.

It asks ICU 72.1 for the collation elements of all characters and contractions of the root collator, through PyICU, and
writes ``couchmodel/_embedded/rules/collation.bin``: JSON, compressed by xz, with the members that ``document`` has. Who
moves to the ICU of another CouchDB needs it, and then ``COLLATOR`` in ``string_collation.py`` has to change, too.

On Debian 12, whose ICU is 72.1, with a compiler:

    apt-get install libicu-dev pkg-config g++
    python3 -m venv icu && icu/bin/pip install PyICU==2.17
    icu/bin/python tests/embedded/rules/bake_collation.py
"""

import ctypes
import importlib
import json
import lzma
import random
import string
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

icu: Any = importlib.import_module("icu")  # by name: type checkers do not have it

HERE = Path(__file__).parent
TABLE = HERE.parents[2] / "couchmodel" / "_embedded" / "rules" / "collation.bin"
GOLDEN = HERE / "collation_golden.json"

COLLATOR = icu.Collator.createInstance(icu.Locale(""))
"""What CouchDB opens as ``ucol_open("")``."""

CURSOR = COLLATOR.createCollationElementIterator("")

CODE_POINTS = 0x110000
SURROGATES = range(0xD800, 0xE000)
HANGUL = range(0xAC00, 0xD7A4)
FIRST_HAN = "\u4e00"

COMMON = 0x0500
CASE_BITS = 0xC000
UNASSIGNED_LEAD = 0xFE

# What ``string_collation.py`` knows, too: the rank of capitals, the base of codes, and the size of what is not in the
# table.
CAPITAL_RANK = 8
FIRST_LEAD = 2
BASE = 255
MADE_UP = -1


class Element(NamedTuple):
    """A collation element: its weight on each of three levels, 0 where it has none."""

    primary: int
    secondary: int
    tertiary: int


Elements = dict[str, list[Element]]


# What ICU says


def elements_of(text: str) -> list[Element]:
    """The collation elements of a text, but those that are ignored altogether."""
    CURSOR.setText(text)
    elements: list[Element] = []
    for half in CURSOR:
        primary, secondary, tertiary = half >> 16 & 0xFFFF, half >> 8 & 0xFF, half & 0xFF
        if elements and tertiary & 0xC0 == 0xC0:  # the second half, with the lower bits of each weight
            head = elements[-1]
            elements[-1] = Element(head.primary | primary, head.secondary | secondary, head.tertiary | tertiary & 0x3F)
        else:
            elements.append(Element(primary << 16, secondary << 8, tertiary << 8 & ~CASE_BITS))
    return [element for element in elements if any(element)]


def contractions() -> list[str]:
    """The strings that weigh something else than the sum of their characters.

    A character that looks back at the one before it is among them, as a string of both. PyICU has no door to this.
    """
    i18n, common, status = ctypes.CDLL("libicui18n.so.72"), ctypes.CDLL("libicuuc.so.72"), ctypes.c_int(0)
    i18n.ucol_open_72.restype = common.uset_openEmpty_72.restype = ctypes.c_void_p
    collator = ctypes.c_void_p(i18n.ucol_open_72(b"", ctypes.byref(status)))
    strings = ctypes.c_void_p(common.uset_openEmpty_72())
    i18n.ucol_getContractionsAndExpansions_72(collator, strings, None, ctypes.c_bool(True), ctypes.byref(status))
    items = range(common.uset_getItemCount_72(strings))
    buffer, unused = (ctypes.c_uint16 * 64)(), ctypes.byref(ctypes.c_int32())
    lengths = (common.uset_getItem_72(strings, i, unused, unused, buffer, 64, ctypes.byref(status)) for i in items)
    result = sorted(bytes(memoryview(buffer)[:length]).decode("utf-16-le") for length in lengths)
    assert status.value <= 0
    assert {len(text) for text in result} == {2, 3}, "string_collation.py looks for no longer ones"
    return result


def combining_classes(character: str) -> tuple[int, int]:
    """The canonical combining classes that a character begins and ends with."""
    read = icu.Char.getIntPropertyValue
    lead, trail = icu.UProperty.LEAD_CANONICAL_COMBINING_CLASS, icu.UProperty.TRAIL_CANONICAL_COMBINING_CLASS
    return read(character, lead), read(character, trail)


def characters() -> Iterator[str]:
    """Every code point but the surrogates."""
    return (chr(code) for code in range(CODE_POINTS) if code not in SURROGATES)


# ICU's weights as small numbers in the same order: ranks


def is_unassigned(elements: list[Element]) -> bool:
    """Whether ICU made up the weight of a character from its code point."""
    return bool(elements) and elements[0].primary >> 24 == UNASSIGNED_LEAD


def check_unassigned(made_up: list[list[Element]]) -> None:
    """Refuse weights made up from code points that do not sort as the code points do."""
    assert all(len(elements) == 1 and elements[0][1:] == (COMMON, COMMON) for elements in made_up)
    assert made_up == sorted(made_up)


def check_levels(elements: Collection[Element]) -> None:
    """Refuse weights that need more than the keys of ``string_collation.py`` tell.

    They leave out the common weights at the end of a level. So two texts that are alike without those must have as many
    of them, which they have if no accent weighs what a letter may weigh, and no element has a tertiary weight only.
    """
    letters = {element.secondary for element in elements if element.primary}
    accents = {element.secondary for element in elements if not element.primary}
    assert min(letters) == COMMON < min(accents)
    assert not letters & accents


def primary_ranks(elements: Collection[Element], made_up: list[list[Element]]) -> tuple[dict[int, int], int]:
    """Ranks from 1, and the first of those that are kept for unassigned characters, one for each code point."""
    first, last = made_up[0][0].primary, made_up[-1][0].primary
    weights = sorted({element.primary for element in elements} - {0})
    assert not any(first <= weight <= last for weight in weights)
    unassigned = 1 + sum(weight < first for weight in weights)
    ranks = {weight: rank + CODE_POINTS * (weight > last) for rank, weight in enumerate(weights, 1)}
    return {0: 0} | ranks, unassigned


def secondary_ranks(elements: Collection[Element]) -> dict[int, int]:
    """Ranks from 0, which is the common weight."""
    return {weight: rank for rank, weight in enumerate(sorted({element.secondary for element in elements}))}


def tertiary_ranks(elements: Collection[Element], capitals: set[Element]) -> dict[Element, int]:
    """Ranks among the elements that are alike but for case, since others never get to compare it: the lowest has 0.

    Above that there is room enough to give all capitals of ASCII the same one.
    """
    ranks: dict[Element, int] = {}
    for _, alike in groupby(sorted(set(elements)), key=lambda element: element[:2]):
        group = list(alike)
        capital = next((place for place, element in enumerate(group) if element in capitals), len(group))
        ranks |= {element: place + (CAPITAL_RANK - capital) * (place >= capital) for place, element in enumerate(group)}
    assert {ranks[capital] for capital in capitals} == {CAPITAL_RANK}
    return ranks


# The table


def leads(singles: Iterable[int], han: int, unassigned: int) -> list[list[int]]:
    """The lead bytes of the codes of letters: the first rank with each, the byte, and the length of its codes.

    A character of ASCII is a code of one byte; one lead is for all that sorts between two of these. After the last of
    them codes have two bytes, Han three, and unassigned characters four.
    """
    spans: list[tuple[int, int]] = []
    following = 1
    for single in singles:
        spans += [(following, 2 if single - following <= BASE else 3), (single, 1)]
        following = single + 1
    spans += [(first, 2) for first in range(following, han, BASE)]
    spans += [(first, 3) for first in range(han, unassigned, BASE**2)]
    spans += [(unassigned, 4), (unassigned + CODE_POINTS, 2)]
    return [[first, FIRST_LEAD + place, length] for place, (first, length) in enumerate(spans)]


def runs(sizes: Iterable[int]) -> list[list[int]]:
    """Neighbours with equally many elements: the first character, how many elements each has, and where they begin."""
    result: list[list[int]] = []
    start = 0
    for code, size in enumerate(sizes):
        if not result or size != result[-1][1]:
            result.append([code, size, start])
        start += max(size, 0)
    return result


def document() -> dict[str, Any]:
    """The table.

    ``primary``, ``secondary`` and ``tertiary`` are columns of ranks, a row for each element: first those of characters,
    to which ``runs`` is the index, then those of ``contractions``, with the first and the number of theirs. The column
    of primary ranks has differences, which compress to a third. ``marks`` are the characters that begin with a
    combining class above 0, with the classes that they begin and end with.
    """
    every = {character: elements_of(character) for character in characters()}
    listed = {c: elements for c, elements in every.items() if not is_unassigned(elements) and ord(c) not in HANGUL}
    contracted = {text: elements_of(text) for text in contractions()}
    made_up = [elements for elements in every.values() if is_unassigned(elements)]
    column = [element for elements in (*listed.values(), *contracted.values()) for element in elements]
    check_unassigned(made_up)
    check_levels(column)

    primary, unassigned = primary_ranks(column, made_up)
    secondary = secondary_ranks(column)
    tertiary = tertiary_ranks(column, {every[capital][0] for capital in string.ascii_uppercase})
    singles = {primary[element.primary] for code in range(0x80) for element in every[chr(code)]}
    sizes = [len(elements) for elements in contracted.values()]
    starts = accumulate(sizes, initial=sum(map(len, listed.values())))
    return {
        "leads": leads(sorted(singles), primary[every[FIRST_HAN][0].primary], unassigned),
        "unassigned": unassigned,
        "runs": runs(len(listed[char]) if char in listed else MADE_UP for char in map(chr, range(CODE_POINTS))),
        "contractions": dict(zip(contracted, zip(starts, sizes, strict=False), strict=True)),
        "marks": {char: classes for char in characters() if (classes := combining_classes(char))[0]},
        "primary": [rank - before for before, rank in pairwise([0, *(primary[element.primary] for element in column)])],
        "secondary": [secondary[element.secondary] for element in column],
        "tertiary": [tertiary[element] for element in column],
    }


# The golden order

TRICKY = [
    *[
        "cote",
        "cot\u00e9",
        "c\u00f4te",
        "c\u00f4t\u00e9",
        "COTE",
        "resume",
        "re-sume",
        "re\u00adsume",
        "r\u00e9sum\u00e9",
    ],
    *[
        "strasse",
        "stra\u00dfe",
        "stra\u1e9ee",
        "fin",
        "\ufb01n",
        "oeuvre",
        "\u0153uvre",
        "l\u00b7l",
        "L\u0387L",
        "llama",
    ],
    *["ab", "a\u200bb", "a\0b", "a\ufffeb", "a\uffff", "a\u0327\u0301", "a\u0301\u0327", "a\u0302\u0323", "a\u0344"],
    *["\u306f", "\u3070", "\u306f\u3099", "\u30cf", "\uff8a", "\u30ab\u30fc", "\uac00", "\u1100\u1161", "\uac00\u11a8"],
    *["\u0438\u0301\u0306", "\u0439\u0301", "\u0f71\u0f75\u0f80", "\u0f71\u0f80\u0f75", "\u0fb2\u0f80\u0f75"],
    *["\u0438\u0327\u0306", "\u0e40\u0e01\u0e49", "\u0fb2\u0327\u0f71\u0f80", "\ufdd1A", "\uf900", "\u8c48", "\u0378"],
]


def golden() -> list[list[str]]:
    """Texts in ICU's order, those that it finds equal in one list."""
    chance = random.Random(72)
    every = list(characters())
    assigned = [character for character in every if not is_unassigned(elements_of(character))]
    marks = [character for character in every if combining_classes(character)[0]]
    strange = contractions()
    words = sorted({locale.getDisplayLanguage(locale) for locale in icu.Locale.getAvailableLocales().values()})
    alphabets: list[tuple[Sequence[str], ...]] = [(assigned,), (every,), ("abcABC ", marks), (strange, marks)]
    alphabets += [(strange, TRICKY, marks), (TRICKY, words)]
    drawn = ["".join(chance.choice(chance.choice(few)) for _ in range(4)) for few in alphabets for _ in range(80)]
    texts = {"", *map(chr, range(0x100)), *TRICKY, *words, *chance.sample(assigned, 200), *drawn}
    texts |= {unicodedata.normalize("NFD", text) for text in words}
    ordered = sorted(sorted(texts), key=COLLATOR.getSortKey)
    return [list(equal) for _, equal in groupby(ordered, key=COLLATOR.getSortKey)]


def main() -> None:
    """Write the table and the golden order."""
    assert icu.ICU_VERSION == "72.1", f"the table is ICU 72.1's, and this is {icu.ICU_VERSION}"
    table = json.dumps(document(), separators=(",", ":"), ensure_ascii=False)
    # Unpacking takes memory for the whole dictionary, 64 MiB unless told otherwise.
    packing = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": 2**20}
    TABLE.write_bytes(lzma.compress(table.encode(), filters=[packing]))
    GOLDEN.write_text("[\n" + ",\n".join(map(json.dumps, golden())) + "\n]\n")


if __name__ == "__main__":
    main()
