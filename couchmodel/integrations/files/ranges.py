"""The conditions and ranges of a request for a file (RFC 9110, sections 13 and 14)."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Final, NamedTuple

from couchmodel.integrations.files.served import ServedFile

__all__ = ["ByteRange", "UnsatisfiableError", "http_date", "is_unchanged", "requested_ranges"]

_TAG: Final = re.compile(r'(?:W/)?"([^"]*)"')
_RANGE: Final = re.compile(r"(\d{0,18})-(\d{0,18})", re.ASCII)
"""A range. No file has a position of more digits, and Python refuses to read thousands of them."""
_MOST_RANGES: Final = 10
"""The ranges of one request. A client that asks for more gets the whole file, as many small ones are an attack."""


class ByteRange(NamedTuple):
    """The bytes from ``start`` up to, but not including, ``stop``."""

    start: int
    stop: int


class UnsatisfiableError(Exception):
    """None of the ranges lies in the file."""


def http_date(time: datetime) -> str:
    """Return a time as a header has it."""
    return format_datetime(time.astimezone(UTC).replace(microsecond=0), usegmt=True)


def is_unchanged(file: ServedFile, headers: Mapping[str, str]) -> bool:
    """Return True if the client has the file already, by ``If-None-Match`` or else ``If-Modified-Since``."""
    tags = headers.get("if-none-match")
    if tags is not None:
        return bool(file.tag) and (tags.strip() == "*" or file.tag in _TAG.findall(tags))
    return file.modified is not None and _is_since(file.modified, headers.get("if-modified-since"))


def requested_ranges(file: ServedFile, headers: Mapping[str, str]) -> list[ByteRange]:
    """Return the ranges that a request asks for; none if it is to get the whole file.

    Raises UnsatisfiableError if none of them lies in the file.
    """
    header = headers.get("range", "")
    unit, found, text = header.partition("=")
    if file.length is None or not found or unit.strip().lower() != "bytes" or not _is_current(file, headers):
        return []
    parts = [part.strip() for part in text.split(",") if part.strip()]
    matches = [_RANGE.fullmatch(part) for part in parts]
    if not parts or len(parts) > _MOST_RANGES or not all(match and match[0] != "-" for match in matches):
        return []
    pairs = [(match[1], match[2]) for match in matches if match]
    # A header with such a range is no range at all, and is ignored (RFC 9110, section 14.2).
    if any(first and last and int(last) < int(first) for first, last in pairs):
        return []
    ranges = [each for pair in pairs if (each := _resolve(*pair, file.length)) is not None]
    if not ranges:
        raise UnsatisfiableError
    # Ranges that overlap would make more of a file than it has.
    return ranges if sum(stop - start for start, stop in ranges) <= file.length else []


def _resolve(first: str, last: str, length: int) -> ByteRange | None:
    """Return a range in a file of this length; None if it lies outside."""
    if not first:
        start, stop = max(0, length - int(last)), length
    else:
        start, stop = int(first), min(length, int(last) + 1) if last else length
    return ByteRange(start, stop) if start < stop else None


def _is_current(file: ServedFile, headers: Mapping[str, str]) -> bool:
    """Return True if the condition ``If-Range`` holds, or there is none. A weak tag never holds."""
    condition = headers.get("if-range", "").strip()
    if not condition:
        return True
    if condition.endswith('"'):
        return bool(file.tag) and condition == f'"{file.tag}"'
    # A date has to be the same, and not only later: it stands for a tag here (RFC 9110, section 13.1.5).
    return file.modified is not None and http_date(file.modified) == condition


def _is_since(modified: datetime, header: str | None) -> bool:
    try:
        since = parsedate_to_datetime(header or "")
    except (ValueError, OverflowError):
        return False
    # ``-0000`` gives a time without a zone, which means UTC (RFC 5322).
    since = since.replace(tzinfo=UTC) if since.tzinfo is None else since
    # Headers have whole seconds.
    return modified.replace(microsecond=0) <= since
