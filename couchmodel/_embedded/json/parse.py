"""Parse the JSON texts of requests, within limits on their size."""

import itertools
from typing import Any, Final

from couchmodel._embedded.json.incremental import (
    TooManyError,
    containers,
    decode_large,
    decode_small,
    free_gradually,
    is_large,
)
from couchmodel._wire.messages import TOO_DEEP
from couchmodel.errors import BadRequestError, ContentTooLargeError

__all__ = ["invalid_json_error", "parse_json", "parse_json_parameter", "parse_object", "parse_query"]

MOST_VALUES: Final = 250_000
"""The largest number of values in a large body that has no documents.

The limit is needed because all values live until the response, and are then freed at once, while other threads wait.
"""

LARGEST_QUERY: Final = 2 * 1024 * 1024
"""The largest number of bytes in a query."""

MOST_PARTS: Final = 50_000
"""The largest number of arrays, objects, members, conditions and fields in a query.

The limit is needed because the objects made of them are made, and later freed, in one step.
"""


def parse_object(text: bytes) -> dict[str, Any]:
    """Parse a JSON text that has to be an object. Raises BadRequestError if it is not."""
    value = parse_json(text)
    if not isinstance(value, dict):
        raise BadRequestError("Request body must be a JSON object")
    return value


def parse_query(text: bytes) -> dict[str, Any]:
    """Parse the object of a query. Raises BadRequestError, or ContentTooLargeError if it is above a limit."""
    if len(text) > LARGEST_QUERY:
        raise ContentTooLargeError(f"a query may have {LARGEST_QUERY} bytes at most", code="too_large")
    query = parse_object(text)
    if len(text) > MOST_PARTS and _has_many_parts(query):
        free_gradually(query)
        reason = f"a query may have {MOST_PARTS} arrays, objects, members, conditions and fields at most"
        raise ContentTooLargeError(reason, code="too_large")
    return query


def _has_many_parts(query: dict[str, Any]) -> bool:
    return any(count > MOST_PARTS for count in itertools.accumulate(map(_count_parts, containers(query))))


def _count_parts(container: dict[str, Any] | list[Any]) -> int:
    if isinstance(container, list):
        return 1
    lists = [value for name, value in container.items() if name in _LISTS and isinstance(value, list)]
    return 1 + len(container) + sum(map(len, lists))


_LISTS: Final = frozenset(("$and", "$nor", "$or", "docids", "fields", "sort"))
"""The members whose items count one by one. A list of plain values, as in ``$in``, counts once."""


def parse_json(text: bytes) -> Any:
    """Parse a JSON text as CouchDB does. Raises BadRequestError, or ContentTooLargeError if it has too many values."""
    try:
        return decode_large(text, MOST_VALUES) if is_large(text) else decode_small(text)
    except ValueError as error:
        raise invalid_json_error(error) from None
    except TooManyError:
        raise ContentTooLargeError(f"a body may have {MOST_VALUES} values at most", code="too_large") from None


def invalid_json_error(error: ValueError) -> BadRequestError:
    """Return the error that a client gets for a text that is not JSON."""
    return BadRequestError(str(error) if str(error).startswith(TOO_DEEP) else "invalid UTF-8 JSON")


def parse_json_parameter(text: str) -> Any:
    """Parse a parameter that is JSON. Raises BadRequestError if it is not."""
    return parse_json(text.encode())
