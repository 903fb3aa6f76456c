"""Paths of Mango: the way from a document to a field, as ``mango_doc.erl`` reads it.

Rule: a path ends at a value, at a missing member (``MISSING``), or nowhere (``BAD_PATH``). The last two differ in
``{"$exists": false}``, which matches a missing member only.
"""

import enum
import re
from collections.abc import Iterable
from typing import Final

from couchmodel.errors import BadRequestError

__all__ = ["BAD_PATH", "MISSING", "PathError", "first_name", "get_path", "parse_path"]


class PathError(enum.Enum):
    """The reason for which there is no value at the end of a path."""

    MISSING = "missing"
    """An object on the path has no such member."""

    BAD_PATH = "bad_path"
    """The path leads below a scalar, or to no element of an array. Not even ``{"$exists": false}`` matches there."""


MISSING: Final = PathError.MISSING
BAD_PATH: Final = PathError.BAD_PATH


def parse_path(text: str) -> tuple[str, ...]:
    r"""Split a path into the names on the way to a field: ``a.b`` has two names, ``a\.b`` has one.

    Raises:
        BadRequestError: if a name is empty.
    """
    names = _DOT.split(text)
    if "" in names:
        raise BadRequestError(f"Invalid field name: {text}", code="invalid_field_name")
    return tuple(name.replace("\\", "") for name in names)


def first_name(text: str) -> str:
    """Return the first name of a path."""
    return _DOT.split(text, maxsplit=1)[0].replace("\\", "")


def get_path(document: object, path: Iterable[str]) -> object:
    """Return the value at the end of the path in a decoded document, or ``MISSING``, or ``BAD_PATH``."""
    value = document
    for name in path:
        if isinstance(value, dict):
            value = value.get(name, MISSING)
        elif isinstance(value, list):
            value = _element(value, name)
        else:
            return value if value is MISSING else BAD_PATH
    return value


def _element(values: list[object], name: str) -> object:
    if not (number := _INDEX.fullmatch(name)):
        return BAD_PATH
    index = int(number[1])
    return values[index] if index < len(values) else BAD_PATH


_DOT = re.compile(r"(?<!\\)\.")

# The integers that Erlang reads, without negative ones. No index has more than 18 digits.
_INDEX = re.compile(r"(?:\+?0*|-0*(?=0$))([0-9]{1,18})")
