"""What a request brings along, checked: its JSON, its parameters, and the revision in its headers."""

import itertools
import re
from collections.abc import Mapping
from typing import Any, Final

from couchmodel._embedded.large_json import (
    TooManyError,
    containers,
    decode_large,
    decode_small,
    dissolve,
    is_large,
)
from couchmodel._wire.messages import JSON_TYPE, TOO_DEEP, Request, is_text
from couchmodel._wire.revisions import Rev
from couchmodel.errors import (
    BadRequestError,
    ContentTooLargeError,
    NotFoundError,
    UnsupportedMediaTypeError,
)

__all__ = [
    "LARGEST",
    "accepts",
    "accepts_gzip",
    "bad_json",
    "boolean",
    "check_text",
    "expected_revision",
    "integer",
    "is_only_accepted",
    "json_parameter",
    "parse_json",
    "parse_object",
    "parse_query",
    "require_json_type",
    "whole_number",
]


LARGEST: Final = 2**59 - 1
"""The largest number that CouchDB takes for a limit; SQLite knows larger ones."""

MOST_VALUES: Final = 250_000
"""Values in a large body that is none of documents: none of them is freed before the answer, and then all at once."""

LARGEST_QUERY: Final = 2 * 1024 * 1024
"""Bytes of a query."""

MOST_PARTS: Final = 50_000
"""Arrays, objects, members, conditions and fields of a query: what is made of them is made and freed at once."""


def whole_number(digits: str) -> int:
    """The number that decimal digits write, or one that is too large for everything where there are too many digits."""
    return int(digits) if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS


_MOST_DIGITS: Final = 20


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


def check_text(request: Request) -> None:
    """Raise BadRequestError, or NotFoundError for what is only read, where path or query are not UTF-8."""
    bad = next((place for place, segment in enumerate(request.path) if not is_text(segment)), None)
    if bad is not None:
        if request.method != "PUT":
            raise NotFoundError("missing" if bad else "Database does not exist.")
        code, reason = _NO_TEXT[min(bad, 2)]
        raise BadRequestError(reason, code=code)
    if not all(map(is_text, request.query.values())):
        raise BadRequestError("invalid UTF-8 JSON")


_NO_TEXT: Final = (
    ("illegal_database_name", "Name must be valid UTF-8"),
    ("illegal_docid", "Document id must be valid UTF-8"),
    ("bad_request", "Attachment name is not UTF-8 encoded"),
)


def require_json_type(request: Request) -> None:
    """Raise UnsupportedMediaTypeError where the body is not declared to be JSON."""
    declared = request.headers.get("content-type", "")
    if declared != JSON_TYPE and declared.partition(";")[0].strip() != JSON_TYPE:
        raise UnsupportedMediaTypeError("Content-Type must be application/json")


def accepts(headers: Mapping[str, str], media_type: str) -> bool:
    """Whether the client takes answers of a media type, as CouchDB reads ``Accept``."""
    family = media_type.partition("/")[0] + "/*"
    listed = [_accepted(item) for item in headers.get("accept", "*/*").split(",")]
    if (media_type, False) in listed or (family, False) in listed:
        return False
    return any(wanted and kind in ("*/*", family, media_type) for kind, wanted in listed)


def accepts_gzip(headers: Mapping[str, str]) -> bool:
    """Whether the client takes answers that are packed."""
    wanted = dict(_accepted(item) for item in headers.get("accept-encoding", "").split(","))
    return wanted.get("gzip", wanted.get("*", False))


def _accepted(item: str) -> tuple[str, bool]:
    kind, *parameters = (part.strip() for part in item.split(";"))
    return kind, not any(_REFUSED.fullmatch(parameter) for parameter in parameters)


_REFUSED = re.compile(r"q\s*=\s*0(\.0*)?")


def is_only_accepted(query: Mapping[str, str]) -> bool:
    """Whether a write is wanted on more copies than the one there is: then CouchDB answers 202 to it.

    Raises BadRequestError.
    """
    text = query.get("w")
    if text is None:
        return False
    if not _INTEGER.fullmatch(text):
        raise BadRequestError("`w` must be an integer.")
    return not text.startswith("-") and whole_number(text.removeprefix("+")) > 1


_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)


def boolean(name: str, text: str) -> bool:
    """A parameter of a view. Raises BadRequestError."""
    lowered = text.lower()
    if lowered not in ("true", "false"):
        raise _unparsable(f'Invalid boolean parameter: "{text}"')
    return lowered == "true"


def integer(name: str, text: str) -> int:
    """A parameter of a view that may not be negative. Raises BadRequestError."""
    try:
        number = int(text)
    except ValueError:
        raise _unparsable(f'Invalid value for integer: "{text}"') from None
    if number < 0:
        raise _unparsable(f'Invalid value for positive integer: "{text}"')
    if number > LARGEST:
        raise _unparsable(f"{name.capitalize()} is too large, must not exceed {LARGEST}")
    return number


def json_parameter(text: str) -> Any:
    """A parameter that is JSON. Raises BadRequestError."""
    return parse_json(text.encode())


def expected_revision(query: Mapping[str, str], headers: Mapping[str, str], given: Rev | None = None) -> Rev | None:
    """The revision that a request is about: of its body, its ``rev`` or its If-Match, which must agree.

    Raises:
        BadRequestError: one of them is no revision, or they are not the same.
    """
    rev = given
    if "rev" in query:
        rev = Rev.parse(query["rev"])
        if given not in (None, rev):
            raise BadRequestError("Document rev from request body and query string have different values")
    tag = headers.get("if-match")
    if tag is None:
        return rev
    matched = Rev.parse(tag.strip('"'))
    if rev not in (None, matched):
        raise BadRequestError("Document rev and etag have different values")
    return matched


def _unparsable(reason: str) -> BadRequestError:
    return BadRequestError(reason, code="query_parse_error")
