"""Write the JSON of large values in pieces.

The encoder is native code and holds Python's lock from the beginning of a value to its end. An event loop in another
thread stands still meanwhile.
"""

from collections.abc import Sequence
from typing import Any, Final

from couchmodel._wire.messages import encode

__all__ = ["encode_array", "encode_gradually", "encode_object"]

FEW: Final = 100
"""The largest number of scalar members or items that are encoded in one step."""

ITEMS: Final = 250
"""The number of items of an array that are encoded in one step if all are known to be small."""


def encode_object(value: dict[str, Any]) -> bytes:
    """Return the JSON text of an object, with its long arrays written in pieces.

    Raises DocumentError if a value has no JSON.
    """
    if not any(type(member) is list and len(member) > ITEMS for member in value.values()):
        return encode(value)
    return b"{%b}" % b",".join([b"%b:%b" % (encode(name), _encode_member(member)) for name, member in value.items()])


def _encode_member(value: Any) -> bytes:
    return encode_array(value) if type(value) is list and len(value) > ITEMS else encode(value)


def encode_array(value: Sequence[Any]) -> bytes:
    """Return the JSON text of an array, written in pieces. Raises DocumentError if an item has no JSON."""
    pieces = [encode(value[start : start + ITEMS])[1:-1] for start in range(0, len(value), ITEMS)]
    return b"[%b]" % b",".join(pieces)


def encode_gradually(value: Any) -> bytes:
    """Return the JSON text of any value, written in pieces at every depth. Raises DocumentError if it has no JSON."""
    text = bytearray()
    _write(value, text)
    return bytes(text)


def _write(value: Any, text: bytearray) -> None:
    if _is_small(value):
        text += encode(value)
    elif isinstance(value, dict):
        text += b"{"
        for place, (name, member) in enumerate(value.items()):
            text += b",%b:" % encode(name) if place else b"%b:" % encode(name)
            _write(member, text)
        text += b"}"
    else:
        text += b"["
        for start in range(0, len(value), FEW):
            text += b"," if start else b""
            _write_items(value[start : start + FEW], text)
        text += b"]"


def _write_items(items: Sequence[Any], text: bytearray) -> None:
    if all(map(_is_small, items)):
        text += encode(items)[1:-1]
        return
    for place, item in enumerate(items):
        text += b"," if place else b""
        _write(item, text)


def _is_small(value: Any) -> bool:
    if not isinstance(value, dict | list | tuple):
        return True
    parts = value.values() if isinstance(value, dict) else value
    return len(parts) <= FEW and not any(isinstance(part, dict | list | tuple) for part in parts)
