"""Parse and check the parameters and headers of a request."""

import re
from collections.abc import Mapping
from typing import Final

from couchmodel._embedded import limits
from couchmodel._wire.messages import JSON_TYPE, Request, is_valid_unicode
from couchmodel._wire.reasons import NO_DATABASE
from couchmodel._wire.revisions import Rev
from couchmodel.errors import (
    BadRequestError,
    NotFoundError,
    UnsupportedMediaTypeError,
)

__all__ = [
    "accepts",
    "accepts_gzip",
    "check_text",
    "expected_revision",
    "parse_boolean",
    "parse_digits",
    "parse_integer",
    "requests_write_quorum",
    "require_json_type",
]


def parse_digits(digits: str) -> int:
    """Return the number that a string of decimal digits stands for.

    More than 20 digits give 10**20, which is above every limit: ``int`` refuses strings of thousands of digits.
    """
    return int(digits) if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS


_MOST_DIGITS: Final = 20


def check_text(request: Request) -> None:
    """Raise an error if the path or the query of a request is not UTF-8.

    For the path it is BadRequestError if the method is PUT, and NotFoundError otherwise; for the query BadRequestError.
    """
    bad = next((place for place, segment in enumerate(request.path) if not is_valid_unicode(segment)), None)
    if bad is not None:
        if request.method != "PUT":
            raise NotFoundError("missing" if bad else NO_DATABASE)
        code, reason = _NO_TEXT[min(bad, 2)]
        raise BadRequestError(reason, code=code)
    if not all(map(is_valid_unicode, request.query.values())):
        raise BadRequestError("invalid UTF-8 JSON")


_NO_TEXT: Final = (
    ("illegal_database_name", "Name must be valid UTF-8"),
    ("illegal_docid", "Document id must be valid UTF-8"),
    ("bad_request", "Attachment name is not UTF-8 encoded"),
)


def require_json_type(request: Request) -> None:
    """Raise UnsupportedMediaTypeError unless the ``Content-Type`` of the request is JSON."""
    declared = request.headers.get("content-type", "")
    if declared != JSON_TYPE and declared.partition(";")[0].strip() != JSON_TYPE:
        raise UnsupportedMediaTypeError("Content-Type must be application/json")


def accepts(headers: Mapping[str, str], media_type: str) -> bool:
    """Return True if the client accepts a media type. ``Accept`` is read as CouchDB reads it."""
    family = media_type.partition("/")[0] + "/*"
    listed = [_parse_item(item) for item in headers.get("accept", "*/*").split(",")]
    # A quality of 0 refuses a type, even if a wider range accepts it.
    if (media_type, False) in listed or (family, False) in listed:
        return False
    return any(wanted and kind in ("*/*", family, media_type) for kind, wanted in listed)


def accepts_gzip(headers: Mapping[str, str]) -> bool:
    """Return True if the client accepts responses in gzip, according to ``Accept-Encoding``."""
    # `*` stands for the encodings that are not named (RFC 9110, section 12.5.3).
    wanted = dict(_parse_item(item) for item in headers.get("accept-encoding", "").split(","))
    return wanted.get("gzip", wanted.get("*", False))


def _parse_item(item: str) -> tuple[str, bool]:
    kind, *parameters = (part.strip() for part in item.split(";"))
    return kind, not any(_REFUSED.fullmatch(parameter) for parameter in parameters)


_REFUSED = re.compile(r"q\s*=\s*0(\.0*)?")


def requests_write_quorum(query: Mapping[str, str]) -> bool:
    """Return True if a write quorum ``w`` of more than one copy is requested. CouchDB answers 202 (Accepted) then.

    The reason is that there is only one copy. Raises BadRequestError if ``w`` is not an integer.
    """
    text = query.get("w")
    if text is None:
        return False
    if not _INTEGER.fullmatch(text):
        raise BadRequestError("`w` must be an integer.")
    return not text.startswith("-") and parse_digits(text.removeprefix("+")) > 1


_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)


def parse_boolean(name: str, text: str) -> bool:
    """Parse a boolean parameter of a view. Raises BadRequestError if it is neither ``true`` nor ``false``."""
    lowered = text.lower()
    if lowered not in ("true", "false"):
        raise _parse_error(f'Invalid boolean parameter: "{text}"')
    return lowered == "true"


def parse_integer(name: str, text: str) -> int:
    """Parse a non-negative integer parameter of a view. Raises BadRequestError if it is none, or too large."""
    try:
        number = int(text)
    except ValueError:
        raise _parse_error(f'Invalid value for integer: "{text}"') from None
    if number < 0:
        raise _parse_error(f'Invalid value for positive integer: "{text}"')
    if number > limits.LARGEST_NUMBER:
        raise _parse_error(f"{name.capitalize()} is too large, must not exceed {limits.LARGEST_NUMBER}")
    return number


def expected_revision(query: Mapping[str, str], headers: Mapping[str, str], given: Rev | None = None) -> Rev | None:
    """Return the revision that a write expects: that of its body (``given``), of ``rev`` or of ``If-Match``, else None.

    Raises:
        BadRequestError: if one of them is malformed, or two of them differ.
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


def _parse_error(reason: str) -> BadRequestError:
    return BadRequestError(reason, code="query_parse_error")
