"""Parse the ``Range`` header of a request for an attachment, as CouchDB's ``chttpd_db.erl`` and mochiweb do."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from couchmodel._embedded import limits
from couchmodel._embedded.rules.params import parse_digits
from couchmodel.errors import RangeNotSatisfiableError

__all__ = ["Range", "parse_ranges"]

_FIRST_TO_LAST: Final = re.compile(r"\+?(\d+)(?:-+\+?(\d+))?-*", re.ASCII)
_SUFFIX: Final = re.compile(r"-([+-]?)(\d+)", re.ASCII)


class Range(NamedTuple):
    """A range of bytes: from the first to the last, both included."""

    first: int
    last: int


def parse_ranges(header: str | None, length: int) -> Sequence[Range] | None:
    """Return the ranges that a header names, for a content of ``length`` bytes.

    Return None if the whole content is to be sent: the header is missing or malformed, names all bytes, or names more
    than ``limits.RANGES`` ranges. The result is empty if the header names no range, as in CouchDB.

    Raises:
        RangeNotSatisfiableError: a range lies behind the end.
    """
    if header is None or not header.startswith("bytes="):
        return None
    parts = (part.strip(" ") for part in header.removeprefix("bytes=").split(","))
    try:
        asked = [_parse_range(part) for part in parts if part]
    except ValueError:
        return None
    ranges: list[Range] = []
    for first, last in asked:
        if (first, last) == (0, None):
            return None
        ranges.append(_resolve(first, last, length))
    # Checked after the ranges: one behind the end is an error, however many there are.
    return ranges if len(ranges) <= limits.RANGES else None


def _parse_range(text: str) -> tuple[int | None, int | None]:
    """Return the first and the last byte of a range as its text has them. Raises ValueError if it is malformed.

    In a suffix range such as ``-500`` the first is None, and the last is the number of bytes at the end.
    """
    if match := _SUFFIX.fullmatch(text):
        count = parse_digits(match[2])
        return None, -count if match[1] == "-" else count
    if match := _FIRST_TO_LAST.fullmatch(text):
        return parse_digits(match[1]), parse_digits(match[2]) if match[2] else None
    raise ValueError(f"{text!r} is no range")


def _resolve(first: int | None, last: int | None, length: int) -> Range:
    """Return a parsed range as positions in a content of ``length`` bytes. Raises RangeNotSatisfiableError."""
    if last is not None and last >= length:
        # In a suffix range `last` is a number of bytes. So CouchDB answers one of all bytes or more without the first.
        last = length - 1
    if first is None:
        first, last = length - (last or 0), None
    last = length - 1 if last is None else last
    if last < first:
        raise RangeNotSatisfiableError("Requested range not satisfiable")
    return Range(first, last)
