"""Write the JSON text of a document's body, with numbers in the form that CouchDB writes them."""

import re
from decimal import Decimal
from typing import Any, Final

from couchmodel._wire.messages import encode

__all__ = ["encode_value", "normalize_numbers"]


def encode_value(value: Any) -> bytes:
    """Encode a value. Raises DocumentError for a number such as 1e400."""
    return normalize_numbers(encode(value))


def normalize_numbers(text: bytes) -> bytes:
    """Rewrite the numbers of a JSON text as CouchDB writes them: all digits from 1e-6 to 1e21, and 0.0 for -0.0."""
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
