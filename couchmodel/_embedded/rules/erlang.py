"""Write JSON values as Erlang terms, in the external format and as text.

CouchDB derives names from the external format (of Mango's design documents, for example), and puts terms as text into
its error messages. ``revision_ids`` has a faster encoder of its own; this one is for names that are made once.
"""

import struct
from decimal import Decimal
from typing import Any, Final

from couchmodel._embedded import limits

__all__ = ["Atom", "erlang_term", "term_to_binary"]

_LONGEST_STRING: Final = 0xFFFF
"""The largest number of items in a STRING_EXT of Erlang's external format, whose length has two bytes."""


class Atom(str):
    """The name of an Erlang atom."""

    __slots__ = ()


def term_to_binary(value: Any) -> bytes:
    """Return the external format of a term made of JSON values, tuples and atoms."""
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
        return struct.pack(">cH", b"k", len(items)) + bytes(items)  # Erlang has no other type for strings
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


def erlang_term(value: Any, *, readable: bool = False) -> str:
    """Return a JSON value as CouchDB's messages write it: as an Erlang term, with a string as the list of its bytes.

    If ``readable``, printable text is written as text, as by Erlang's ``~p``. Unlike ``~p``, this breaks no long lines.
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f"<<{_erlang_bytes(value.encode('utf-8', 'surrogatepass'), readable=readable)}>>"
    if isinstance(value, dict):
        members = (tuple(erlang_term(part, readable=readable) for part in member) for member in value.items())
        return "{[" + ",".join(f"{{{name},{member}}}" for name, member in members) + "]}"
    if isinstance(value, list):
        return _erlang_list(value, readable=readable)
    return _erlang_float(value) if isinstance(value, float) else str(value)


def _erlang_list(values: list[Any], *, readable: bool) -> str:
    # Erlang writes a list of printable character codes as a string, since it has no other type for strings.
    if readable and values and all(type(value) is int and _is_printable(value) for value in values):
        return _erlang_bytes(bytes(values), readable=True)
    return "[" + ",".join(erlang_term(value, readable=readable) for value in values) + "]"


def _erlang_bytes(data: bytes, *, readable: bool) -> str:
    if readable and data and all(map(_is_printable, data)):
        return '"' + data.decode("utf-8", "replace").translate(_ERLANG_ESCAPES) + '"'
    # In pieces, because other threads wait during each of them.
    step = limits.ERLANG_BYTES
    return ",".join([",".join(map(str, data[start : start + step])) for start in range(0, len(data), step)])


def _is_printable(code: int) -> bool:
    return 0x20 <= code < 0x7F or 0xA0 <= code <= 0xFF or code in _ERLANG_ESCAPES


_ERLANG_ESCAPES = str.maketrans(
    {
        "\b": "\\b",
        "\t": "\\t",
        "\n": "\\n",
        "\v": "\\v",
        "\f": "\\f",
        "\r": "\\r",
        "\x1b": "\\e",
        '"': '\\"',
        "\\": "\\\\",
    }
)


def _erlang_float(number: float) -> str:
    """Return the shorter of the forms 123.0 and 1.23e2, with the fewest digits that read back as the same number."""
    decimal = Decimal(repr(number))
    sign, digits, exponent = decimal.normalize().as_tuple()
    first, *rest = map(str, digits)
    scientific = f"{'-' * sign}{first}.{''.join(rest) or '0'}e{len(rest) + int(exponent)}"
    plain = f"{decimal:f}"
    return plain if len(plain) <= len(scientific) and abs(number) < 2**53 else scientific
