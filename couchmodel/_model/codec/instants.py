"""Datetimes in a JSON text, at the fixed width of the stored form.

pydantic writes a datetime in the stored form, but for three cases: one of a whole second, which it writes without a
fraction, one in a zone other than UTC, and one without a zone. Formatting datetimes in Python takes a quarter of the
time that pydantic needs for a whole document, so whole seconds are mended in the text where that is safe.
"""

import re
from typing import Final

__all__ = ["widen_instants"]

_ODD: Final = re.compile(rb'T\d\d:\d\d:\d\d(?!\.\d{6}Z")(Z")?')
"""A time that pydantic did not write in the stored form. The group is found if only its fraction is missing."""

_DATE_WIDTH: Final = len('"2024-05-01')


def widen_instants(body: bytes, names: tuple[bytes, ...]) -> bytes | None:
    """Return the JSON text with a fraction for each datetime of a whole second.

    ``names`` are the JSON texts, such as ``b'"created":'``, of members that are always datetimes. Returns None if there
    is an odd time elsewhere, which may be a datetime or a part of a string.
    """
    pieces, end = [], 0
    for found in _ODD.finditer(body):
        quote = found.start() - _DATE_WIDTH
        if found[1] is None or body[quote : quote + 1] != b'"' or not body.endswith(names, 0, max(quote, 0)):
            return None
        # A quote inside a string is escaped, so the name and the colon before this quote are a member's.
        pieces.append(body[end : found.end() - 2])
        pieces.append(b".000000")
        end = found.end() - 2
    if not pieces:
        return body
    pieces.append(body[end:])
    return b"".join(pieces)
