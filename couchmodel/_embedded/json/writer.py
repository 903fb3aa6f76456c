"""Write JSON: large values in steps, and the bodies of documents with numbers in the form that CouchDB writes them."""

import json
import re
from decimal import Decimal
from typing import Any, Final

from couchmodel._wire.messages import encode

__all__ = ["encode_value", "write"]

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def write(value: Any) -> bytes:
    """Return the JSON text of a value of any size. Raises ValueError if it has no JSON.

    This encoder is slow, but other threads run in between. The fast one, in native code, holds Python's lock from the
    beginning of a value to its end, and an event loop in another thread stands still meanwhile.
    """
    text = bytearray()
    for piece in _ENCODER.iterencode(value):
        text += piece.encode()
    return bytes(text)


def encode_value(value: Any) -> bytes:
    """Encode a value. Raises DocumentError for a number such as 1e400."""
    return _normalize_numbers(encode(value))


def _normalize_numbers(text: bytes) -> bytes:
    """Rewrite the numbers of a JSON text as CouchDB writes them: all digits from 1e-6 to 1e21, and 0.0 for -0.0."""
    # Most documents have no such number, and the search for three short texts is far cheaper than the pattern.
    if b"e+" not in text and b"e-6" not in text and b"-0.0" not in text:
        return text
    pieces: list[bytes] = []
    copied = 0
    for found in _DIFFERENT_NUMBER.finditer(text):  # between two matches, other threads get a turn
        if not found[0].startswith(b'"'):
            pieces += (text[copied : found.start()], _with_all_digits(found[0]))
            copied = found.end()
    return b"".join((*pieces, text[copied:]))


def _with_all_digits(number: bytes) -> bytes:
    # The shortest digits that read back as the number, then zeros. The exact digits of the float would be different.
    digits = b"0.0" if number == b"-0.0" else f"{Decimal(number.decode()):f}".encode()
    return digits if b"." in digits else digits + b".0"


_DIFFERENT_NUMBER: Final = re.compile(
    rb'"(?:[^"\\]|\\.)*"|-0\.0(?![0-9])|-?[0-9](?:\.[0-9]+)?e(?:\+1[6-9]|\+20|-6)(?![0-9])', re.DOTALL
)
"""A number that CouchDB writes differently, or a string. Strings are matched to be skipped, whatever they contain."""
