"""Large JSON texts, taken apart so that other threads get their turn.

A JSON parser written in C or Rust holds Python's lock from the beginning of a text to its end, and an event loop in
another thread stands still that long. So a large object is cut where that is easy, at its members and at the items of
those that are arrays, and parsed piece by piece. The scanner that finds the cuts is only trusted to find them: every
piece goes through the parser that small texts go through.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from couchmodel._wire.messages import decode

__all__ = ["decode_large"]

PIECE: Final = 262_144
"""Characters that are parsed at a time, if there is a cut."""

_scan = json.JSONDecoder().raw_decode
_space = re.compile(r"[ \t\r\n]*").match


def decode_large(text: bytes) -> Any:
    """The value of a JSON text. Raises ValueError where it is none, or is not UTF-8."""
    try:
        return _object(text.decode())
    except (_NoCutError, RecursionError):
        return decode(text)


class _NoCutError(ValueError):
    """The text is no object that could be cut, or no JSON."""


def _object(text: str) -> dict[str, Any]:
    members: dict[str, Any] = {}
    place = _expect(text, 0, "{")
    while True:
        key_end = _end(text, place)
        value, end = _expect(text, key_end, ":"), 0
        name = decode(text[place:key_end].encode())
        if not isinstance(name, str):
            raise _NoCutError
        if text[value : value + 1] == "[":
            members[name], end = _array(text, value)
        else:
            end = _end(text, value)
            members[name] = decode(text[value:end].encode())
        place = _after(text, end)
        if text[place : place + 1] == "}":
            break
        place = _expect(text, place, ",")
    if _after(text, place + 1) != len(text):
        raise _NoCutError
    return members


def _array(text: str, start: int) -> tuple[list[Any], int]:
    """The array that begins there, and where it ends."""
    items: list[Any] = []
    cut = start + 1
    for end in _ends_of_items(text, cut):
        if end - cut >= PIECE or text[end] == "]":
            items += decode(f"[{text[cut:end]}]".encode())
            cut = end + 1
    return items, cut


def _ends_of_items(text: str, place: int) -> Iterator[int]:
    """Where each item's comma is, and the bracket behind the last one."""
    place = _after(text, place)
    if text[place : place + 1] == "]":
        yield place
        return
    while True:
        place = _after(text, _end(text, place))
        sign = text[place : place + 1]
        if sign not in (",", "]") or not sign:
            raise _NoCutError
        yield place
        if sign == "]":
            return
        place = _after(text, place + 1)


def _end(text: str, place: int) -> int:
    """Where the value ends that begins there."""
    try:
        return _scan(text, place)[1]
    except ValueError:
        raise _NoCutError from None


def _after(text: str, place: int) -> int:
    """The place behind white space."""
    found = _space(text, place)
    return found.end() if found else place


def _expect(text: str, place: int, sign: str) -> int:
    """The place behind a sign and white space around it."""
    place = _after(text, place)
    if text[place : place + 1] != sign:
        raise _NoCutError
    return _after(text, place + 1)
