"""The parameters and headers of a request, checked."""

import re
from collections.abc import Mapping
from typing import Final

from couchmodel._wire.messages import JSON_TYPE, Request, is_text
from couchmodel._wire.revisions import Rev
from couchmodel.errors import (
    BadRequestError,
    NotFoundError,
    UnsupportedMediaTypeError,
)

__all__ = [
    "LARGEST",
    "accepts",
    "accepts_gzip",
    "boolean",
    "check_text",
    "expected_revision",
    "integer",
    "is_only_accepted",
    "require_json_type",
    "whole_number",
]


LARGEST: Final = 2**59 - 1
"""The largest number that CouchDB takes for a limit; SQLite knows larger ones."""


def whole_number(digits: str) -> int:
    """The number that decimal digits write, or one that is too large for everything where there are too many digits."""
    return int(digits) if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS


_MOST_DIGITS: Final = 20


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
