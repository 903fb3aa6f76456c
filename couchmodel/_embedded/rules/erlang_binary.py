"""Write Erlang terms in Erlang's external format, from which CouchDB derives revision ids and the names of indexes.

The terms are those that CouchDB decodes JSON to. Rule 1: an object is ``{[{Key, Value}, ...]}``, a tuple around a list.
Rule 2: a string is a binary. Rule 3: an array of small integers is written as an Erlang string, since Erlang has no
other type for strings. Rule 4: an atom has the old tag ``d``, as in the terms that CouchDB hashes.

A document is encoded at each write, so the encoders are written for speed: each appends to a list of parts, and the
table of encoders goes by the exact type.
"""

import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from couchmodel._embedded import limits

__all__ = [
    "LONGEST_STRING",
    "NIL",
    "SMALL_TAG",
    "Atom",
    "Term",
    "encode_contents",
    "header",
    "key_term",
    "normalize_number",
    "string_term",
    "term_to_binary",
    "write_term",
]

LONGEST_STRING: Final = 0xFFFF
"""The largest number of items of an array that the external format writes as a string: its length has two bytes."""


def term_to_binary(value: object) -> bytes:
    """Return the external format of a term made of JSON values, tuples, bytes and atoms."""
    out: _Out = [b"\x83"]  # the version of the format
    write_term(value, out)
    return b"".join(out)


def write_term(value: object, out: "_Out") -> None:
    """Append the parts of a term to a list."""
    _ENCODERS[type(value)](value, out)


def normalize_number(value: float) -> float:
    """Return a number as CouchDB's JSON parser reads its shortest form. Only ``5e-324`` differs: it is read as zero.

    (CouchDB does read ``5.0e-324``, but Python, JavaScript and CouchDB itself do not write it so.) The sign of -0.0
    remains, because it is part of the revision's hash, although CouchDB returns 0.0.
    """
    return math.copysign(0.0, value) if -_UNREADABLE <= value <= _UNREADABLE else value


NIL: Final = b"j"
"""The empty list of Erlang's external format, which ends objects and arrays."""


SMALL_TAG: Final = b"a"
"""The tag of a number from 0 to 255, which is the byte after it."""


class Term:
    """A value that is already encoded, as the parts of its external format."""

    __slots__ = ("parts",)

    def __init__(self, parts: Sequence[bytes]) -> None:
        self.parts = parts

    @classmethod
    def of(cls, value: object) -> "Term":
        """Encode a value."""
        out: _Out = []
        _ENCODERS[type(value)](value, out)
        return cls((b"".join(out),))


def encode_contents(run: dict[str, Any] | list[Any] | str) -> bytes:
    """Encode some members of an object, some items of an array or a part of a string, without header and end."""
    if isinstance(run, str):
        return run.encode()
    out: _Out = []
    if isinstance(run, list):
        _items(run, out)
        return b"".join(out)
    _object(run, out)
    return b"".join(out[1:-1])


def header(sign: bytes, count: int) -> bytes:
    """Return the header of an object, an array or a string that has ``count`` members, items or bytes.

    ``sign`` is the character that begins the value in JSON.
    """
    if sign == b'"':
        return _tag_and_length(b"m", count)
    return (_EMPTY_OBJECT if sign == b"{" else b"") + (_tag_and_length(b"l", count) if count else b"")


def string_term(characters: bytes) -> bytes:
    """Encode an array of small integers, given as bytes, as the string that it is in Erlang."""
    return _tag_and_short(b"k", len(characters)) + characters


class Atom(str):
    """The name of an Erlang atom."""

    __slots__ = ()


_Out = list[bytes]

_MEMBER: Final = b"h\2"
_EMPTY_OBJECT: Final = b"h\1"
_TRUE: Final = b"d\0\4true"
_FALSE: Final = b"d\0\5false"
_NULL: Final = b"d\0\4null"

_tag_and_byte = struct.Struct(">cB").pack
_tag_and_short = struct.Struct(">cH").pack
_tag_and_length = struct.Struct(">cI").pack
_tag_and_int = struct.Struct(">ci").pack
_tag_and_float = struct.Struct(">cd").pack

_UNREADABLE: Final = 5e-324
"""The smallest float above zero, which CouchDB's JSON parser reads as zero."""


# The headers of short strings and small objects, as most of them are.
_TEXT_HEADERS: Final = [_tag_and_length(b"m", length) for length in range(0x100)]
_OBJECT_HEADERS: Final = [_EMPTY_OBJECT + (_tag_and_length(b"l", count) if count else b"") for count in range(0x100)]


def _text(value: str, out: _Out) -> None:
    data = value.encode()
    out.append(_tag_and_length(b"m", len(data)))
    out.append(data)


def _binary(value: bytes, out: _Out) -> None:
    out += (_tag_and_length(b"m", len(value)), value)


def _atom(value: Atom, out: _Out) -> None:
    out += (_tag_and_short(b"d", len(value)), value.encode())


def _integer(value: int, out: _Out) -> None:
    if 0 <= value <= 0xFF:
        out.append(_tag_and_byte(SMALL_TAG, value))
    elif -0x80000000 <= value <= 0x7FFFFFFF:
        out.append(_tag_and_int(b"b", value))
    else:
        _big(value, out)


def _big(value: int, out: _Out) -> None:
    magnitude = abs(value)
    data = magnitude.to_bytes((magnitude.bit_length() + 7) // 8, "little")
    # CouchDB answers 500 to integers that need the longer form. This store has no reason to refuse them.
    header = _tag_and_byte(b"n", len(data)) if len(data) <= 0xFF else _tag_and_length(b"o", len(data))
    out += (header, b"\1" if value < 0 else b"\0", data)


def _float(value: float, out: _Out) -> None:
    if -_UNREADABLE <= value <= _UNREADABLE:
        value = normalize_number(value)
    out.append(_tag_and_float(b"F", value))


def _boolean(value: bool, out: _Out) -> None:
    out.append(_TRUE if value else _FALSE)


def _null(_value: None, out: _Out) -> None:
    out.append(_NULL)


def _tuple(value: tuple[Any, ...], out: _Out) -> None:
    out.append(_tag_and_byte(b"h", len(value)))
    for item in value:
        _ENCODERS[type(item)](item, out)


def _object(value: dict[str, Any], out: _Out) -> None:
    count = len(value)
    out.append(_OBJECT_HEADERS[count] if count <= 0xFF else _EMPTY_OBJECT + _tag_and_length(b"l", count))
    for key, member in value.items():
        try:
            out.append(_known_keys[key])
        except KeyError:
            out.append(_new_key(key))
        kind = type(member)
        # Strings and numbers are inlined: a call costs as much as encoding one. Python has a fast way for the call of
        # `out.append`, but not for a variable that holds the method.
        if kind is str:
            data = member.encode()
            length = len(data)
            out.append(_TEXT_HEADERS[length] if length <= 0xFF else _tag_and_length(b"m", length))
            out.append(data)
        elif kind is float and not -1 < member < 1:
            out.append(_tag_and_float(b"F", member))
        elif kind is dict:
            _object(member, out)
        else:
            _ENCODERS[kind](member, out)
    out.append(NIL)


def key_term(key: str) -> bytes:
    """Encode the key of a member, with all that precedes the member's value."""
    data = key.encode()
    return _MEMBER + _tag_and_length(b"m", len(data)) + data


_known_keys: Final[dict[str, bytes]] = {}
"""The terms of keys: the documents of a database share most of them. A full table is emptied."""


def _new_key(key: str) -> bytes:
    term = key_term(key)
    if len(key) <= limits.KNOWN_KEY_CHARACTERS:
        if len(_known_keys) >= limits.KNOWN_KEYS:
            _known_keys.clear()
        _known_keys[key] = term
    return term


def _array(value: list[Any], out: _Out) -> None:
    characters = string_bytes(value)
    if characters is not None:
        out.append(string_term(characters))
        return
    if value:
        out.append(_tag_and_length(b"l", len(value)))
        _items(value, out)
    out.append(NIL)


def _items(value: list[Any], out: _Out) -> None:
    for item in value:
        kind = type(item)
        if kind is dict:
            _object(item, out)
        else:
            _ENCODERS[kind](item, out)


def _term(value: Term, out: _Out) -> None:
    out += value.parts


def string_bytes(value: list[Any]) -> bytes | None:
    """Return the bytes of a list that is a string in Erlang, else None.

    Such a list has 1 to ``LONGEST_STRING`` integers below 256, and nothing else.
    """
    if not 0 < len(value) <= LONGEST_STRING or type(value[0]) is not int:
        return None
    try:
        # The check of all items at once: `bytes` takes numbers from 0 to 255 only. It also takes True for 1.
        characters = bytes(value)
    except (TypeError, ValueError):
        return None
    return None if bool in map(type, value) else characters


_ENCODERS: Final[dict[type, Callable[[Any, _Out], None]]] = {
    str: _text,
    int: _integer,
    float: _float,
    bool: _boolean,
    type(None): _null,
    dict: _object,
    list: _array,
    tuple: _tuple,
    bytes: _binary,
    Atom: _atom,
    Term: _term,
}
