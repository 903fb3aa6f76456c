"""Write the JSON of large values in pieces.

The encoder is native code and holds Python's lock from the beginning of a value to its end. An event loop in another
thread stands still meanwhile.
"""

from collections.abc import Sequence
from typing import Any

from couchmodel._embedded import limits
from couchmodel._wire.messages import encode

__all__ = ["write"]


def write(value: Any) -> bytes:
    """Return the JSON text of a value of any size. Raises DocumentError if it has no JSON."""
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
        for start in range(0, len(value), limits.WRITTEN_VALUES):
            text += b"," if start else b""
            _write_items(value[start : start + limits.WRITTEN_VALUES], text)
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
    return len(parts) <= limits.WRITTEN_VALUES and not any(isinstance(part, dict | list | tuple) for part in parts)
