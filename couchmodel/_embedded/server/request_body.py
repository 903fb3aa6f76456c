"""The bodies of requests: read to their end, unpacked, and parsed; large ones on a thread."""

import asyncio
import zlib
from collections.abc import Callable
from typing import Any, Final, TypeVar

from couchmodel._embedded.json.parse import parse_json, parse_object
from couchmodel._embedded.limits.limits import LARGE
from couchmodel._embedded.rules.params import require_json_type
from couchmodel._wire.messages import Request
from couchmodel.errors import BadRequestError, ContentTooLargeError, UnsupportedMediaTypeError

__all__ = ["LARGE", "LARGE_QUERY", "json_body", "json_object", "parsed", "read_text"]

T = TypeVar("T")

BLOCK: Final = 1024 * 1024
"""Bytes of a body that are copied at once."""

LARGE_QUERY: Final = 1024
"""Bytes of a query, in which a regular expression may be that is compiled as long as a hundred times as much JSON."""

LARGEST: Final = 8 * 1024 * 1024
"""Bytes of a body that is JSON, of which a value is made that may take twenty times as many."""

LARGEST_DOCUMENTS: Final = 128 * 1024 * 1024
"""The same of documents, whose attachments may be in them: a large one never is a value, but it is kept whole."""


async def json_body(request: Request) -> Any:
    """The request's body. Raises BadRequestError where it is no JSON, ContentTooLargeError."""
    return await parsed(await read_text(request), parse_json)


async def json_object(request: Request) -> dict[str, Any]:
    """The object that a POST brings. Raises UnsupportedMediaTypeError, BadRequestError, ContentTooLargeError."""
    require_json_type(request)
    return await parsed(await read_text(request), parse_object)


async def parsed(text: bytes, parse: Callable[[bytes], T], large: int = LARGE) -> T:
    """What a function makes of a text; of a ``large`` one on a thread."""
    return parse(text) if len(text) <= large else await asyncio.to_thread(parse, text)


async def read_text(request: Request, largest: int = LARGEST) -> bytes:
    """The request's body without its Content-Encoding, of ``largest`` bytes at most.

    Raises:
        UnsupportedMediaTypeError: it is encoded in an unknown way.
        BadRequestError: it is not what its encoding says.
        ContentTooLargeError: it is larger than the store takes.
    """
    text = await _read(request, largest)
    encoding = request.headers.get("content-encoding", "identity")
    if encoding == "identity":
        return text
    if encoding != "gzip":
        raise UnsupportedMediaTypeError(f"{encoding} is not a supported content encoding.")
    return await asyncio.to_thread(_unpacked, text, largest)


async def _read(request: Request, largest: int) -> bytes:
    body = request.body
    if body is None or isinstance(body, bytes):
        _check(len(body or b""), largest)
        return body or b""
    gathered = _Gathered(largest)
    async for piece in body:
        gathered.add(piece)
    return gathered.whole() if gathered.size <= BLOCK else await asyncio.to_thread(gathered.whole)


class _Gathered:
    """A text that comes in pieces, in blocks of some size until all is there.

    Python keeps its lock while it copies a text, but not while it joins some that are large.
    """

    def __init__(self, largest: int) -> None:
        self.size = 0
        self._largest = largest
        self._blocks: list[bytes] = []
        self._last = bytearray()

    def add(self, piece: bytes) -> None:
        """Take in a piece. Raises ContentTooLargeError."""
        self.size += len(piece)
        _check(self.size, self._largest)
        self._last += piece
        if len(self._last) >= BLOCK:
            self._blocks.append(bytes(self._last))
            self._last.clear()

    def whole(self) -> bytes:
        """The text."""
        return b"".join([*self._blocks, bytes(self._last)])


def _check(size: int, largest: int) -> None:
    if size > largest:
        raise ContentTooLargeError("the request entity is too large", code="too_large")


def _unpacked(text: bytes, largest: int) -> bytes:
    """A text out of its gzip envelope, a piece at a time."""
    gathered = _Gathered(largest)
    inflate = zlib.decompressobj(31)
    try:
        for start in range(0, len(text), LARGE):
            rest = text[start : start + LARGE]
            while rest and not inflate.eof:
                gathered.add(inflate.decompress(rest, LARGE))
                rest = inflate.unconsumed_tail
    except zlib.error:
        raise _bad_gzip() from None
    if not inflate.eof:
        raise _bad_gzip()
    return gathered.whole()


def _bad_gzip() -> BadRequestError:
    return BadRequestError("Request body is not properly gzipped.")
