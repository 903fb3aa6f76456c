"""JSON values as JavaScript reads and writes them: every number is a double.

So 2^53 + 1 is 9007199254740992, and 1.0 is 1. Members of objects whose names are indexes of arrays come first
(ECMAScript, ``OrdinaryOwnPropertyKeys`` and ``Number::toString``).
"""

import math
from decimal import Decimal
from typing import Any, Final

from pydantic_core import to_json

__all__ = ["from_javascript", "javascript_text"]

_SAFE: Final = 2**53
_INDEXES: Final = 2**32 - 1


def from_javascript(value: Any) -> Any:
    """Return the value that is read again from what JavaScript writes for a JSON value."""
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return value
    if kind is int and -_SAFE <= value <= _SAFE:
        return value
    if kind is list:
        return [from_javascript(each) for each in value]
    if kind is dict:
        return {name: from_javascript(value[name]) for name in _sort_names(value)}
    text = _number_text(value)
    if text == "null":
        return None
    return int(text) if text.lstrip("-").isdecimal() else float(text)


def javascript_text(value: Any) -> bytes:
    """Return what JavaScript writes for a JSON value."""
    kind = type(value)
    if value is None:
        return b"null"
    if kind is int and -_SAFE <= value <= _SAFE:
        return b"%d" % value
    if kind is int or kind is float:
        return _number_text(value).encode()
    if kind is list:
        return b"[%b]" % b",".join(map(javascript_text, value))
    if kind is dict:
        members = [b"%b:%b" % (to_json(name), javascript_text(value[name])) for name in _sort_names(value)]
        return b"{%b}" % b",".join(members)
    return to_json(value)


def _sort_names(members: dict[str, Any]) -> list[str]:
    """Return the names of an object's members in the order in which JavaScript writes them."""
    indexes = [name for name in members if name.isdecimal() and _is_index(name)]
    if not indexes:
        return list(members)
    return [*sorted(indexes, key=int), *(name for name in members if name not in set(indexes))]


def _is_index(name: str) -> bool:
    return name.isascii() and len(name) <= 10 and str(int(name)) == name and int(name) < _INDEXES


def _number_text(number: float) -> str:
    try:
        double = float(number)
    except OverflowError:
        double = math.inf
    if not math.isfinite(double):
        return "null"
    if double == 0:
        return "0"
    sign, figures, exponent = Decimal(repr(double)).normalize().as_tuple()
    digits, point = "".join(map(str, figures)), len(figures) + int(exponent)
    return "-" * sign + _place_point(digits, point)


def _place_point(digits: str, point: int) -> str:
    """Return a number of these digits, with its point behind the first ``point`` of them."""
    if len(digits) <= point <= 21:
        return digits.ljust(point, "0")
    if 0 < point <= 21:
        return f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"0.{'0' * -point}{digits}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{digits[0]}{fraction}e{point - 1:+d}"
