"""CouchDB's revision ids: equal content gets an equal revision, embedded and on a server.

The digest of a revision is the MD5 hash of an Erlang term in Erlang's external format: the list of the tombstone flag,
the generation and the digest of the revision before, the body, and the attachments. So this module is an encoder for
the Erlang terms that JSON turns into: an object is ``{[{Key, Value}, ...]}``, a string is a binary, and an array of
small integers is a string to Erlang.
"""

import functools
import hashlib
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from couchmodel._wire.revisions import digest_bytes

__all__ = [
    "LONGEST_STRING",
    "NIL",
    "Term",
    "characters_of",
    "head",
    "inner_term",
    "key_term",
    "normalize_number",
    "revision_id",
    "string",
]

PIECE: Final = 20_000
"""Parts of a term that are joined at a time."""

LONGEST_STRING: Final = 0xFFFF
"""Items of an array that may be a string to Erlang."""


def revision_id(
    deleted: bool,
    generation: int,
    previous: str | None,
    body: object,
    attachments: Sequence[tuple[str, str, bytes]],
    *,
    revives: bool = False,
) -> str:
    """The digest of a new revision on top of the one with this generation and digest (0 and None: of nothing).

    ``body`` is the document without its special members, ``attachments`` are name, content type and MD5 hash of
    each in the order of the document; an attachment that is stored compressed counts with its compressed bytes.
    ``revives`` says that the document was deleted and comes back: CouchDB just counts its attachments then, because
    it finds the revision id anew when it has them on disk and does not know their fields any more.
    """
    out: _Out = [_LIST_OF_FIVE, _TRUE if deleted else _FALSE]
    _integer(generation, out)
    if previous is None:
        _integer(0, out)
    else:
        _binary(digest_bytes(previous), out)
    _ENCODERS[type(body)](body, out)
    _array([_FORGOTTEN if revives else attachment for attachment in reversed(attachments)], out)
    out.append(NIL)
    return _digest(out)


def _digest(parts: "_Out") -> str:
    """The hash of the parts; of many, a piece at a time, for nobody else gets a turn while they are joined or freed."""
    if len(parts) <= PIECE:
        return hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest()
    digest = hashlib.md5(usedforsecurity=False)
    parts.reverse()
    while parts:
        piece = parts[: -PIECE - 1 : -1]
        del parts[-PIECE:]
        digest.update(b"".join(piece))
    return digest.hexdigest()


def normalize_number(value: float) -> float:
    """A number as CouchDB's JSON parser reads the shortest spelling of it, ``5e-324`` being a zero to it.

    (It does read ``5.0e-324``, but this is not how Python, JavaScript or CouchDB itself spell it.) The sign of -0.0
    stays, for it counts for the revision; CouchDB answers 0.0 all the same.
    """
    return math.copysign(0.0, value) if -_UNREADABLE <= value <= _UNREADABLE else value


NIL: Final = b"j"
"""What objects and arrays end with."""


class Term:
    """A value that is encoded already, in parts."""

    __slots__ = ("parts",)

    def __init__(self, parts: Sequence[bytes]) -> None:
        self.parts = parts

    @classmethod
    def of(cls, value: object) -> "Term":
        """The term of a value."""
        out: _Out = []
        _ENCODERS[type(value)](value, out)
        return cls((b"".join(out),))


def inner_term(run: dict[str, Any] | list[Any] | str) -> bytes:
    """Some members of an object, items of an array, or a part of a string, without what stands around all of them."""
    if isinstance(run, str):
        return run.encode()
    out: _Out = []
    _members(run, out) if isinstance(run, dict) else _items(run, out)
    return b"".join(out)


def head(sign: bytes, count: int) -> bytes:
    """What an object, an array or a string begins with that has so many members, items or bytes."""
    if sign == b'"':
        return _tag_and_length(b"m", count)
    return (b"h\1" if sign == b"{" else b"") + (_tag_and_length(b"l", count) if count else b"")


def string(characters: bytes) -> bytes:
    """The term of an array that is a string to Erlang."""
    return _tag_and_short(b"k", len(characters)) + characters


class _Atom(str):
    __slots__ = ()


_Out = list[bytes]

_LIST_OF_FIVE: Final = b"\x83l\0\0\0\5"
_FORGOTTEN: Final = (_Atom("undefined"),) * 3
_MEMBER: Final = b"h\2"
_TRUE: Final = b"d\0\4true"
_FALSE: Final = b"d\0\5false"
_NULL: Final = b"d\0\4null"

_tag_and_byte = struct.Struct(">cB").pack
_tag_and_short = struct.Struct(">cH").pack
_tag_and_length = struct.Struct(">cI").pack
_tag_and_int = struct.Struct(">ci").pack
_tag_and_float = struct.Struct(">cd").pack

_UNREADABLE: Final = 5e-324
_LONGEST_KNOWN_KEY: Final = 64


def _text(value: str, out: _Out) -> None:
    data = value.encode()
    out.append(_tag_and_length(b"m", len(data)))
    out.append(data)


def _binary(value: bytes, out: _Out) -> None:
    out += (_tag_and_length(b"m", len(value)), value)


def _atom(value: _Atom, out: _Out) -> None:
    out += (_tag_and_short(b"d", len(value)), value.encode())


def _integer(value: int, out: _Out) -> None:
    if 0 <= value <= 0xFF:
        out.append(_tag_and_byte(b"a", value))
    elif -0x80000000 <= value <= 0x7FFFFFFF:
        out.append(_tag_and_int(b"b", value))
    else:
        _big(value, out)


def _big(value: int, out: _Out) -> None:
    magnitude = abs(value)
    data = magnitude.to_bytes((magnitude.bit_length() + 7) // 8, "little")
    # CouchDB refuses what needs the longer form, with a 500; this store has no reason to.
    head = _tag_and_byte(b"n", len(data)) if len(data) <= 0xFF else _tag_and_length(b"o", len(data))
    out += (head, b"\1" if value < 0 else b"\0", data)


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
    out.append(b"h\1")
    if value:
        out.append(_tag_and_length(b"l", len(value)))
        _members(value, out)
    out.append(NIL)


def _members(value: dict[str, Any], out: _Out) -> None:
    append = out.append
    for key, member in value.items():
        append(_known_key(key) if len(key) <= _LONGEST_KNOWN_KEY else key_term(key))
        if type(member) is str:  # most members are, and a call for each would cost as much as its bytes
            data = member.encode()
            append(_tag_and_length(b"m", len(data)))
            append(data)
        else:
            _ENCODERS[type(member)](member, out)


def key_term(key: str) -> bytes:
    """What stands before the value of a member."""
    data = key.encode()
    return _MEMBER + _tag_and_length(b"m", len(data)) + data


# The documents of a database share most of their keys.
_known_key = functools.lru_cache(maxsize=4096)(key_term)


def _array(value: list[Any], out: _Out) -> None:
    characters = characters_of(value)
    if characters is not None:
        out.append(string(characters))
        return
    if value:
        out.append(_tag_and_length(b"l", len(value)))
        _items(value, out)
    out.append(NIL)


def _items(value: list[Any], out: _Out) -> None:
    for item in value:
        _ENCODERS[type(item)](item, out)


def _term(value: Term, out: _Out) -> None:
    out += value.parts


def characters_of(value: list[Any]) -> bytes | None:
    """The bytes of a list that Erlang takes for a string: integers below 256, and not too many of them."""
    if not 0 < len(value) <= LONGEST_STRING or type(value[0]) is not int:
        return None
    try:
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
    _Atom: _atom,
    Term: _term,
}
