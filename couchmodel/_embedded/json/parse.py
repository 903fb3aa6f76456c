"""Parse the JSON texts of requests, within limits on their size."""

from typing import Any, Final

from couchmodel._embedded.json.incremental import (
    TooManyError,
    decode_large,
    decode_small,
    is_large,
)
from couchmodel._wire.messages import TOO_DEEP
from couchmodel.errors import BadRequestError, ContentTooLargeError

__all__ = ["invalid_json_error", "parse_json", "parse_json_parameter", "parse_object", "parse_query"]

MOST_VALUES: Final = 250_000
"""The largest number of values in a large body that has no documents.

The limit is needed because all values live until the response, and are then freed at once, while other threads wait.
"""

LARGEST_QUERY: Final = 256 * 1024
"""The largest number of bytes in a query. So many are parsed in one step."""

MOST_PARTS: Final = 5000
"""The largest number of arrays, objects and members in a query.

Each condition becomes some twenty Python objects, which are freed in one step: other threads wait for 10 ms.
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
        raise _too_large(f"a query may have {LARGEST_QUERY} bytes, and this one has {len(text)}")
    query = parse_object(text)
    parts = _count_parts(query)
    if parts > MOST_PARTS:
        raise _too_large(f"a query may have {MOST_PARTS} arrays, objects and members, and this one has {parts}")
    return query


def _count_parts(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(_count_parts, value.values()))
    return 1 + sum(map(_count_parts, value)) if isinstance(value, list) else 0


def _too_large(reason: str) -> ContentTooLargeError:
    return ContentTooLargeError(reason, code="too_large")


def parse_json(text: bytes) -> Any:
    """Parse a JSON text as CouchDB does. Raises BadRequestError, or ContentTooLargeError if it has too many values."""
    try:
        return decode_large(text, MOST_VALUES) if is_large(text) else decode_small(text)
    except ValueError as error:
        raise invalid_json_error(error) from None
    except TooManyError:
        raise _too_large(f"a body may have {MOST_VALUES} values at most") from None


def invalid_json_error(error: ValueError) -> BadRequestError:
    """Return the error that a client gets for a text that is not JSON."""
    return BadRequestError(str(error) if str(error).startswith(TOO_DEEP) else "invalid UTF-8 JSON")


def parse_json_parameter(text: str) -> Any:
    """Parse a parameter that is JSON. Raises BadRequestError if it is not."""
    return parse_json(text.encode())
