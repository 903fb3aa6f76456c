"""JSON texts as CouchDB reads them, large ones taken apart so that other threads get their turn.

Of a key that an object has twice, the last value counts, and stands where it stood. The parser leaves it where the
first one was, which would make another revision id. It does not tell when it has met one; but the text has more
quotation marks then than what was made of it.

A JSON parser written in C or Rust holds Python's lock from the beginning of a text to its end, and an event loop in
another thread stands still that long. So a large object is cut where that is easy, at its members and at the items of
those that are arrays, and parsed piece by piece. The scanner that finds the cuts is only trusted to find them: every
piece goes through the parser that small texts go through.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from pydantic_core import to_json

from couchmodel._wire.messages import decode, encode

__all__ = ["decode_large", "decode_small", "encode_object"]

PIECE: Final = 262_144
"""Characters that are parsed at a time, if there is a cut."""

ITEMS: Final = 250
"""Items of an array that are written at a time."""

_scan = json.JSONDecoder().raw_decode
_space = re.compile(r"[ \t\r\n]*").match


def decode_small(text: bytes) -> Any:
    """The value of a JSON text, parsed at once. Raises ValueError where it is none, or is not UTF-8."""
    value = decode(text)
    # A mark that is spelled like this is one more in what was made of the text.
    if text.count(b'"') != to_json(value).count(b'"') or b"\\u0022" in text:
        return json.loads(text.decode(), object_pairs_hook=_members)
    return value


def decode_large(text: bytes) -> Any:
    """The value of a JSON text, parsed piece by piece. Raises ValueError where it is none, or is not UTF-8."""
    try:
        return _object(text.decode())
    except (_NoCutError, RecursionError):
        return decode_small(text)


def encode_object(value: dict[str, Any]) -> bytes:
    """The JSON text of an object; long arrays that it has are written piece by piece. Raises DocumentError."""
    if not any(type(member) is list and len(member) > ITEMS for member in value.values()):
        return encode(value)
    return b"{%b}" % b",".join([b"%b:%b" % (encode(name), _encoded(member)) for name, member in value.items()])


def _encoded(value: Any) -> bytes:
    if type(value) is not list or len(value) <= ITEMS:
        return encode(value)
    pieces = [encode(value[start : start + ITEMS])[1:-1] for start in range(0, len(value), ITEMS)]
    return b"[%b]" % b",".join(pieces)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, member in pairs:
        members.pop(name, None)
        members[name] = member
    return members


class _NoCutError(ValueError):
    """The text is no object that could be cut, or no JSON."""


def _object(text: str) -> dict[str, Any]:
    members: dict[str, Any] = {}
    member: Any
    place = _expect(text, 0, "{")
    while True:
        key_end = _end(text, place)
        value, end = _expect(text, key_end, ":"), 0
        name = decode(text[place:key_end].encode())
        if not isinstance(name, str):
            raise _NoCutError
        if text[value : value + 1] == "[":
            member, end = _array(text, value)
        else:
            end = _end(text, value)
            member = decode_small(text[value:end].encode())
        members.pop(name, None)
        members[name] = member
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
            items += decode_small(f"[{text[cut:end]}]".encode())
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
