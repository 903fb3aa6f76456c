"""The JSON text of a document's body, with its numbers as CouchDB spells them."""

import re
from decimal import Decimal
from typing import Any, Final

from couchmodel._wire.messages import encode

__all__ = ["respelled", "spelled"]


def spelled(value: Any) -> bytes:
    """The text of a value. Raises DocumentError for a number such as 1e400."""
    return respelled(encode(value))


def respelled(text: bytes) -> bytes:
    """A text whose numbers are spelled as CouchDB does: from 1e-6 to 1e21 with all digits, and without -0.0."""
    if b"e+" not in text and b"e-6" not in text and b"-0.0" not in text:
        return text
    pieces: list[bytes] = []
    copied = 0
    for found in _SPELLED_OTHERWISE.finditer(text):  # each match is a turn for other threads
        if not found[0].startswith(b'"'):
            pieces += (text[copied : found.start()], _with_all_digits(found[0]))
            copied = found.end()
    return b"".join((*pieces, text[copied:]))


def _with_all_digits(number: bytes) -> bytes:
    # The shortest digits that make the number, and zeros; the digits of the float itself would be others.
    digits = b"0.0" if number == b"-0.0" else f"{Decimal(number.decode()):f}".encode()
    return digits if b"." in digits else digits + b".0"


_SPELLED_OTHERWISE: Final = re.compile(
    rb'"(?:[^"\\]|\\.)*"|-0\.0(?![0-9])|-?[0-9](?:\.[0-9]+)?e(?:\+1[6-9]|\+20|-6)(?![0-9])', re.DOTALL
)
"""Numbers, and strings, in which there may be anything."""
