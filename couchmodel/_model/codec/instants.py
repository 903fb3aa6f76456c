"""Datetimes in a JSON text, at the fixed width of the stored form.

pydantic writes a datetime in the stored form, but for three cases: one of a whole second, which it writes without a
fraction, one in a zone other than UTC, and one without a zone. Formatting datetimes in Python takes a quarter of the
time that pydantic needs for a whole document, so whole seconds are mended in the text where that is safe.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final

__all__ = ["find_odd_time", "has_zone", "widen_with"]

find_odd_time: Final = re.compile(rb'T..:..:..(?!\.......Z")', re.DOTALL).search
"""Search a JSON text for a time that is not in the stored form. It may be a part of a string."""

_find_zone: Final = re.compile(rb"T..:..:..(?:\.\d+)?[+-]", re.DOTALL).search


def has_zone(body: bytes) -> bool:
    """Return True if a JSON text may have a time in a zone other than UTC."""
    return _find_zone(body) is not None


def widen_with(names: Iterable[str]) -> Callable[[bytes], bytes]:
    """Return a function that adds a fraction to each datetime of a whole second among members of these names.

    A quote inside a JSON string is escaped, so a name with a colon behind it cannot be a part of a string.
    """
    places = b"|".join(rb'(?<="%b":"\d\d\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ")' % re.escape(name.encode()) for name in names)
    substitute = re.compile(b'Z"(?:%b)' % places).sub if places else None
    return lambda body: body if substitute is None else substitute(b'.000000Z"', body)
