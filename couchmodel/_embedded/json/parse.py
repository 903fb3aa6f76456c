"""Parse the JSON texts of requests, within limits on their size."""

from typing import Any

from couchmodel._embedded import limits
from couchmodel._embedded.json.cutter import is_large
from couchmodel._embedded.json.decode import decode_small
from couchmodel._embedded.json.values import Limit, decode_large
from couchmodel._wire.messages import TOO_DEEP
from couchmodel.errors import BadRequestError, ContentTooLargeError

__all__ = ["check_count", "invalid_json_error", "parse_json", "parse_json_parameter", "parse_object", "parse_query"]


def parse_object(text: bytes) -> dict[str, Any]:
    """Parse a JSON text that has to be an object. Raises BadRequestError if it is not."""
    value = parse_json(text)
    if not isinstance(value, dict):
        raise BadRequestError("Request body must be a JSON object")
    return value


def parse_query(text: bytes) -> dict[str, Any]:
    """Parse the object of a query. Raises BadRequestError, or ContentTooLargeError if it is above a limit."""
    check_count(len(text), limits.QUERY_BYTES, "bytes")
    # The size is checked before the text is parsed, and the parts before anything is compiled from them.
    query = parse_object(text)
    check_count(_count_parts(query), limits.QUERY_PARTS, "arrays, objects and members")
    return query


def _count_parts(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + len(value) + sum(map(_count_parts, value.values()))
    return 1 + sum(map(_count_parts, value)) if isinstance(value, list) else 0


def check_count(count: int, most: int, what: str) -> None:
    """Raise ContentTooLargeError if a query has more than ``most`` of something."""
    if count > most:
        raise ContentTooLargeError(f"a query may have {most} {what}, and this one has {count}", code="too_large")


def parse_json(text: bytes) -> Any:
    """Parse a JSON text as CouchDB does. Raises BadRequestError, or ContentTooLargeError if it has too many values."""
    try:
        return decode_large(text, Limit(limits.BODY_VALUES)) if is_large(text) else decode_small(text)
    except ValueError as error:
        raise invalid_json_error(error) from None


def invalid_json_error(error: ValueError) -> BadRequestError:
    """Return the error that a client gets for a text that is not JSON."""
    return BadRequestError(str(error) if str(error).startswith(TOO_DEEP) else "invalid UTF-8 JSON")


def parse_json_parameter(text: str) -> Any:
    """Parse a parameter that is JSON. Raises BadRequestError if it is not."""
    return parse_json(text.encode())
