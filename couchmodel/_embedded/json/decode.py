"""Parse a JSON text in one step, as CouchDB's parser (jiffy) does.

Rule: if an object has a name twice, the last value counts, at its own place. Our parser puts it at the place of the
first one, which would lead to another revision id. It does not report duplicates, but the text has more quotation marks
than the value when it is encoded again.
"""

import json
from typing import Any

from pydantic_core import to_json

from couchmodel._wire.messages import decode

__all__ = ["decode_small"]


def decode_small(text: bytes) -> Any:
    """Parse a JSON text in one step. Raises ValueError if it is not JSON or not UTF-8."""
    value = decode(text)
    # An escape \u0022 becomes a quotation mark in the value, so it would hide a duplicate from the comparison.
    if text.count(b'"') != to_json(value).count(b'"') or b"\\u0022" in text:
        # Slow, and rare: Python's parser is the one that shows repeated names.
        value = json.loads(text.decode(), object_pairs_hook=_keep_last)
    # CouchDB's parser reads the smallest float, 5e-324, as 0, and a number is part of the revision id.
    return _replace_smallest(value) if b"-324" in text else value


# A dictionary keeps the place of a name's first value. So the name is removed first, and the last value comes at its
# own place.
def _keep_last(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, member in pairs:
        members.pop(name, None)
        members[name] = member
    return members


def _replace_smallest(value: Any) -> Any:
    match value:
        case dict():
            return {name: _replace_smallest(member) for name, member in value.items()}
        case list():
            return [_replace_smallest(item) for item in value]
        case float() if abs(value) == 5e-324:
            return 0.0
    return value
