"""JSON texts that a request brings, parsed within the limits on them."""

import itertools
from typing import Any, Final

from couchmodel._embedded.json.incremental import (
    TooManyError,
    containers,
    decode_large,
    decode_small,
    dissolve,
    is_large,
)
from couchmodel._wire.messages import TOO_DEEP
from couchmodel.errors import BadRequestError, ContentTooLargeError

__all__ = ["bad_json", "json_parameter", "parse_json", "parse_object", "parse_query"]

MOST_VALUES: Final = 250_000
"""Values in a large body that is none of documents: none of them is freed before the answer, and then all at once."""

LARGEST_QUERY: Final = 2 * 1024 * 1024
"""Bytes of a query."""

MOST_PARTS: Final = 50_000
"""Arrays, objects, members, conditions and fields of a query: what is made of them is made and freed at once."""


def parse_object(text: bytes) -> dict[str, Any]:
    """The value of a JSON text that must be an object. Raises BadRequestError."""
    value = parse_json(text)
    if not isinstance(value, dict):
        raise BadRequestError("Request body must be a JSON object")
    return value


def parse_query(text: bytes) -> dict[str, Any]:
    """The object of a query. Raises BadRequestError, and ContentTooLargeError where it asks for too much."""
    if len(text) > LARGEST_QUERY:
        raise ContentTooLargeError(f"a query may have {LARGEST_QUERY} bytes at most", code="too_large")
    query = parse_object(text)
    if len(text) > MOST_PARTS and _has_many_parts(query):
        dissolve(query)
        reason = f"a query may have {MOST_PARTS} arrays, objects, members, conditions and fields at most"
        raise ContentTooLargeError(reason, code="too_large")
    return query


def _has_many_parts(query: dict[str, Any]) -> bool:
    return any(count > MOST_PARTS for count in itertools.accumulate(map(_parts, containers(query))))


def _parts(container: dict[str, Any] | list[Any]) -> int:
    if isinstance(container, list):
        return 1
    lists = [value for name, value in container.items() if name in _LISTS and isinstance(value, list)]
    return 1 + len(container) + sum(map(len, lists))


_LISTS: Final = frozenset(("$and", "$nor", "$or", "docids", "fields", "sort"))
"""Members whose items count one by one. A list of values, as ``$in`` has it, is one thing."""


def parse_json(text: bytes) -> Any:
    """The value of a JSON text as CouchDB reads it. Raises BadRequestError, ContentTooLargeError."""
    try:
        return decode_large(text, MOST_VALUES) if is_large(text) else decode_small(text)
    except ValueError as error:
        raise bad_json(error) from None
    except TooManyError:
        raise ContentTooLargeError(f"a body may have {MOST_VALUES} values at most", code="too_large") from None


def bad_json(error: ValueError) -> BadRequestError:
    """What a client hears of a text that is no JSON."""
    return BadRequestError(str(error) if str(error).startswith(TOO_DEEP) else "invalid UTF-8 JSON")


def json_parameter(text: str) -> Any:
    """A parameter that is JSON. Raises BadRequestError."""
    return parse_json(text.encode())
