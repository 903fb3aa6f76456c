"""The ``Range`` header of an attachment's reader, as CouchDB reads it."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from couchmodel._embedded.rules.params import whole_number
from couchmodel.errors import RangeNotSatisfiableError

__all__ = ["Range", "parse_ranges"]

MOST: Final = 9
"""Ranges of one request; CouchDB answers more of them with the whole."""

_PAIR: Final = re.compile(r"\+?(\d+)(?:-+\+?(\d+))?-*", re.ASCII)
_LAST: Final = re.compile(r"-([+-]?)(\d+)", re.ASCII)


class Range(NamedTuple):
    """A part of a content: from the first byte to the last, both included."""

    first: int
    last: int


def parse_ranges(header: str | None, length: int) -> Sequence[Range] | None:
    """The parts that are asked for; None for all of it, which is also the answer to what cannot be read.

    There may be none among them, for CouchDB takes an empty list at its word.

    Raises:
        RangeNotSatisfiableError: a part lies behind the end.
    """
    if header is None or not header.startswith("bytes="):
        return None
    parts = (part.strip(" ") for part in header.removeprefix("bytes=").split(","))
    try:
        asked = [_read(part) for part in parts if part]
    except ValueError:
        return None
    ranges: list[Range] = []
    for first, last in asked:
        if (first, last) == (0, None):
            return None
        ranges.append(_bounded(first, last, length))
    return ranges if len(ranges) <= MOST else None


def _read(text: str) -> tuple[int | None, int | None]:
    """The numbers of a range, of which one may not be there. Raises ValueError."""
    if found := _LAST.fullmatch(text):
        count = whole_number(found[2])
        return None, -count if found[1] == "-" else count
    if found := _PAIR.fullmatch(text):
        return whole_number(found[1]), whole_number(found[2]) if found[2] else None
    raise ValueError(f"{text!r} is no range")


def _bounded(first: int | None, last: int | None, length: int) -> Range:
    if last is not None and last >= length:
        last = length - 1  # also the number of bytes at the end: one byte less than there are, where more is asked for
    if first is None:
        first, last = length - (last or 0), None
    last = length - 1 if last is None else last
    if last < first:
        raise RangeNotSatisfiableError("Requested range not satisfiable")
    return Range(first, last)
