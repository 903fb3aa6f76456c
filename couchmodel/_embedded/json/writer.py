"""JSON of large values, written a little at a time.

The encoder, which is not Python, holds Python's lock from the beginning of a value to its end, and the event loop in
another thread stands still that long.
"""

from collections.abc import Sequence
from typing import Any, Final

from couchmodel._wire.messages import encode

__all__ = ["encode_array", "encode_gradually", "encode_object"]

FEW: Final = 100
"""Members or items, none of which has others, that are encoded at once."""

ITEMS: Final = 250
"""Items of an array that are encoded at once where they are known to be small."""


def encode_object(value: dict[str, Any]) -> bytes:
    """The JSON text of an object; long arrays that it has are written piece by piece. Raises DocumentError."""
    if not any(type(member) is list and len(member) > ITEMS for member in value.values()):
        return encode(value)
    return b"{%b}" % b",".join([b"%b:%b" % (encode(name), _encoded(member)) for name, member in value.items()])


def _encoded(value: Any) -> bytes:
    return encode_array(value) if type(value) is list and len(value) > ITEMS else encode(value)


def encode_array(value: Sequence[Any]) -> bytes:
    """The JSON text of an array, written piece by piece. Raises DocumentError."""
    pieces = [encode(value[start : start + ITEMS])[1:-1] for start in range(0, len(value), ITEMS)]
    return b"[%b]" % b",".join(pieces)


def encode_gradually(value: Any) -> bytes:
    """The JSON text of a value. Raises DocumentError where it has none."""
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
