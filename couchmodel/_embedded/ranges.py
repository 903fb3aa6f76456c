"""The ``Range`` header of an attachment's reader, as CouchDB reads it."""

import re
from typing import NamedTuple

from couchmodel._embedded.arguments import whole_number
from couchmodel.errors import RangeNotSatisfiableError

__all__ = ["Range", "parse_range"]

_RANGE = re.compile(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*")


class Range(NamedTuple):
    """A part of a content: from the first byte to the last, both included."""

    first: int
    last: int


def parse_range(header: str | None, length: int) -> Range | None:
    """The part that is asked for; None for all of it, which is also the answer to a range that makes no sense.

    Several ranges are answered with the whole, as a server may.

    Raises:
        RangeNotSatisfiableError: the part lies behind the end.
    """
    found = _RANGE.fullmatch(header) if header else None
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        return _checked(max(0, length - whole_number(last)), length - 1)
    if not last:
        return None if whole_number(first) == 0 else _checked(whole_number(first), length - 1)
    return _checked(whole_number(first), min(whole_number(last), length - 1))


def _checked(first: int, last: int) -> Range:
    if last < first:
        raise RangeNotSatisfiableError("Requested range not satisfiable")
    return Range(first, last)
