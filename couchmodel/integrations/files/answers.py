"""The answer to a request for a file. It has its status and its first bytes before anything is sent."""

import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final

from couchmodel._wire.multipart import names_one_type
from couchmodel.errors import CouchModelError, NotFoundError, TransportError, UnavailableError
from couchmodel.integrations.files.disposition import content_disposition
from couchmodel.integrations.files.ranges import (
    ByteRange,
    UnsatisfiableError,
    http_date,
    is_unchanged,
    requested_ranges,
)
from couchmodel.integrations.files.served import Finder, ServedFile

__all__ = ["FileAnswer", "FileServer"]

_log: Final = logging.getLogger(__name__)

_SAFE_HEADERS: Final = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
}
"""Headers of every file. What a user has uploaded is not to run as a page of the application.

GitHub serves the files of users by the same policy.
"""


@dataclass(slots=True)
class FileAnswer:
    """An answer. Its body comes in pieces, and has to be read to the end or closed. Header names are lower case."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: AsyncGenerator[bytes, None] | None = None


class FileServer:
    """The answers to requests for files that a finder finds.

    ``inline_types`` are media types that a browser may show although they can have scripts. ``cache_control`` is the
    header of that name.
    """

    def __init__(self, find: Finder, inline_types: Collection[str] = (), cache_control: str = "no-cache") -> None:
        self._find = find
        self._inline_types = frozenset(kind.lower() for kind in inline_types)
        self._cache_control = cache_control

    async def answer(
        self, method: str, path: Sequence[str], headers: Mapping[str, str], *, is_download: bool = False
    ) -> FileAnswer:
        """Return the answer to a request. ``headers`` have names in lower case, or of any case."""
        answer = await self._answer(method, path, headers, is_download=is_download)
        if method == "HEAD":
            answer.body = None
        return answer

    async def _answer(
        self, method: str, path: Sequence[str], headers: Mapping[str, str], *, is_download: bool
    ) -> FileAnswer:
        if method not in ("GET", "HEAD"):
            return _text_answer(405, "Only GET and HEAD are allowed.", {"allow": "GET, HEAD"})
        try:
            file = await self._find(path)
            if file is None:
                return _text_answer(404, "There is no such file.")
            return await self._answer_file(method, file, headers, is_download=is_download)
        except NotFoundError:
            return _text_answer(404, "There is no such file.")
        except (TransportError, UnavailableError):
            _log.exception("the store does not answer")
            return _text_answer(503, "The file cannot be read at the moment.")
        except CouchModelError:
            _log.exception("a file cannot be read")
            return _text_answer(500, "The file cannot be read.")

    async def _answer_file(
        self, method: str, file: ServedFile, headers: Mapping[str, str], *, is_download: bool
    ) -> FileAnswer:
        own = self._headers(file, is_download=is_download)
        if is_unchanged(file, headers):
            # A 304 has the headers that a cache needs, and none of the content (RFC 9110, section 15.4.5).
            kept = ("etag", "last-modified", "cache-control")
            return FileAnswer(304, {name: own[name] for name in kept if name in own})
        try:
            # Ranges are for GET only (RFC 9110, section 14.2).
            ranges = requested_ranges(file, headers) if method == "GET" else []
        except UnsatisfiableError:
            return _text_answer(416, "The range lies outside the file.", {"content-range": f"bytes */{file.length}"})
        if len(ranges) > 1:
            return await _multipart_answer(file, own, ranges)
        start, stop = ranges[0] if ranges else (0, file.length or 0)
        if file.length is not None:
            own["content-length"] = str(stop - start)
        if ranges:
            own["content-range"] = _content_range(ranges[0], file)
        if method == "HEAD" or (file.length is not None and start == stop):
            return FileAnswer(200, own)
        return FileAnswer(206 if ranges else 200, own, await _begin(file.open(start, stop)))

    def _headers(self, file: ServedFile, *, is_download: bool) -> dict[str, str]:
        # A type that somebody has stored may be no type, and would break the header.
        kind = file.content_type if names_one_type(file.content_type) else _BINARY
        headers = {
            **_SAFE_HEADERS,
            "content-type": kind,
            "content-disposition": content_disposition(file.name, kind, self._inline_types, is_download=is_download),
            "accept-ranges": "none" if file.length is None else "bytes",
            "cache-control": self._cache_control,
        }
        if file.tag:
            headers["etag"] = f'"{file.tag}"'
        if file.modified is not None:
            headers["last-modified"] = http_date(file.modified)
        return headers


_BINARY: Final = "application/octet-stream"


async def _multipart_answer(file: ServedFile, headers: dict[str, str], ranges: Sequence[ByteRange]) -> FileAnswer:
    # Nobody can write a file that has the boundary of its own answer.
    boundary = secrets.token_hex(16)
    heads = [
        f"\r\n--{boundary}\r\nContent-Type: {headers['content-type']}\r\n"
        f"Content-Range: {_content_range(each, file)}\r\n\r\n".encode()
        for each in ranges
    ]
    tail = f"\r\n--{boundary}--\r\n".encode()
    length = sum(map(len, heads)) + sum(stop - start for start, stop in ranges) + len(tail)
    headers |= {"content-type": f"multipart/byteranges; boundary={boundary}", "content-length": str(length)}

    async def body() -> AsyncIterator[bytes]:
        for head, (start, stop) in zip(heads, ranges, strict=True):
            pieces: Any = file.open(start, stop)
            async with aclosing(pieces):
                first = await anext(pieces, b"")
                yield head + first
                async for piece in pieces:
                    yield piece
        yield tail

    return FileAnswer(206, headers, await _begin(body()))


async def _begin(pieces: Any) -> AsyncGenerator[bytes, None]:
    """Return a body whose first piece has arrived, so that what is missing is told by a status."""
    first = await anext(pieces, b"")
    return _go_on(first, pieces)


async def _go_on(first: bytes, pieces: Any) -> AsyncGenerator[bytes, None]:
    async with aclosing(pieces):
        yield first
        async for piece in pieces:
            yield piece


def _content_range(part: ByteRange, file: ServedFile) -> str:
    return f"bytes {part.start}-{part.stop - 1}/{file.length}"


def _text_answer(status: int, text: str, headers: Mapping[str, str] | None = None) -> FileAnswer:
    body = f"{text}\n".encode()
    own = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body)), **(headers or {})}
    return FileAnswer(status, own, _single_piece(body))


async def _single_piece(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body
