"""JSON of large values, written a little at a time.

The encoder, which is not Python, holds Python's lock from the beginning of a value to its end, and the event loop in
another thread stands still that long.
"""

from typing import Any, Final

from couchmodel._wire.messages import encode

__all__ = ["encode_gradually"]

FEW: Final = 100
"""Members or items, none of which has others, that are encoded at once."""


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
        for place, item in enumerate(value):
            text += b"," if place else b""
            _write(item, text)
        text += b"]"


def _is_small(value: Any) -> bool:
    if not isinstance(value, dict | list | tuple):
        return True
    parts = value.values() if isinstance(value, dict) else value
    return len(parts) <= FEW and not any(isinstance(part, dict | list | tuple) for part in parts)
