"""Erlang's external term format, as far as CouchDB makes names of it.

``revision_ids`` has an encoder of its own, made for speed. This one is for names that are made once.
"""

import struct
from typing import Any, Final

__all__ = ["Atom", "term_to_binary"]

_LONGEST_STRING: Final = 0xFFFF


class Atom(str):
    """The name of an Erlang atom."""

    __slots__ = ()


def term_to_binary(value: Any) -> bytes:
    """The bytes of a term made of JSON values, tuples and atoms."""
    return b"\x83" + _term(value)


def _term(value: Any) -> bytes:
    match value:
        case None | True | False:
            return _term(Atom({None: "null", True: "true", False: "false"}[value]))
        case Atom():
            return struct.pack(">cH", b"d", len(value)) + value.encode()
        case str():
            return struct.pack(">cI", b"m", len(value.encode())) + value.encode()
        case int():
            return _integer(value)
        case float():
            return struct.pack(">cd", b"F", value)
        case tuple():
            return struct.pack(">cB", b"h", len(value)) + b"".join(map(_term, value))
        case dict():
            return b"h\1" + _list(list(value.items()))
        case _:
            return _list(value)


def _list(items: list[Any]) -> bytes:
    if 0 < len(items) <= _LONGEST_STRING and all(type(item) is int and 0 <= item <= 0xFF for item in items):
        return struct.pack(">cH", b"k", len(items)) + bytes(items)  # a string, to Erlang
    head = struct.pack(">cI", b"l", len(items)) if items else b""
    return head + b"".join(map(_term, items)) + b"j"


def _integer(value: int) -> bytes:
    if 0 <= value <= 0xFF:
        return struct.pack(">cB", b"a", value)
    if -0x80000000 <= value <= 0x7FFFFFFF:
        return struct.pack(">ci", b"b", value)
    magnitude = abs(value)
    size = (magnitude.bit_length() + 7) // 8
    head = struct.pack(">cB", b"n", size) if size <= 0xFF else struct.pack(">cI", b"o", size)
    return head + (b"\1" if value < 0 else b"\0") + magnitude.to_bytes(size, "little")
