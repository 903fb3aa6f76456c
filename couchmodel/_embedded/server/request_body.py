"""Read the bodies of requests: receive, decompress and parse them. Large bodies are parsed on a thread."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, TypeVar

from couchmodel._embedded.json.parse import parse_json, parse_object
from couchmodel._embedded.limits import LARGE_BODY as LARGE
from couchmodel._embedded.rules.params import require_json_type
from couchmodel._wire.gzip import GzipDecompressor
from couchmodel._wire.messages import Request
from couchmodel.errors import BadRequestError, ContentTooLargeError, UnsupportedMediaTypeError

__all__ = ["INLINE_QUERY", "LARGE", "json_body", "json_object", "parse_in_thread", "read_text"]

T = TypeVar("T")

BLOCK_SIZE: Final = 1024 * 1024
"""Bytes of a block in which a body is collected: about as many are copied at once while Python's lock is held."""

INLINE_QUERY: Final = 1024
"""Bytes of a query that is parsed in the event loop.

It is less than for other bodies: a regular expression in it takes as long as a hundred times as many bytes of JSON.
"""

MAX_JSON: Final = 8 * 1024 * 1024
"""The most bytes of a JSON body. The value that is parsed from it may take twenty times as many."""

MAX_DOCUMENTS_BODY: Final = 128 * 1024 * 1024
"""The most bytes of a body of documents, which may have attachments in them.

It may be larger than other JSON: a large document is stored as text and never becomes a Python value.
"""


async def json_body(request: Request) -> Any:
    """Return the value of a JSON body. Raises BadRequestError if it is no JSON, ContentTooLargeError beyond LARGEST."""
    return await parse_in_thread(await read_text(request), parse_json)


async def json_object(request: Request) -> dict[str, Any]:
    """Return the JSON object that is the body of a POST.

    Raises:
        UnsupportedMediaTypeError: the content type is not JSON.
        BadRequestError: the body is no JSON object.
        ContentTooLargeError: the body is larger than ``LARGEST``.
    """
    require_json_type(request)
    return await parse_in_thread(await read_text(request), parse_object)


async def parse_in_thread(text: bytes, parse: Callable[[bytes], T], large: int = LARGE) -> T:
    """Parse a text and return the result. A text of more than ``large`` bytes is parsed on a thread."""
    return parse(text) if len(text) <= large else await asyncio.to_thread(parse, text)


async def read_text(request: Request, largest: int = MAX_JSON) -> bytes:
    """Read a request's body, and decompress it as its Content-Encoding says.

    Raises:
        UnsupportedMediaTypeError: the encoding is neither identity nor gzip.
        BadRequestError: the body is no valid gzip.
        ContentTooLargeError: the body, compressed or not, is larger than ``largest`` bytes.
    """
    text = await _read_raw(request, largest)
    encoding = request.headers.get("content-encoding", "identity")
    if encoding == "identity":
        return text
    if encoding != "gzip":
        raise UnsupportedMediaTypeError(f"{encoding} is not a supported content encoding.")
    return await asyncio.to_thread(_gunzip, text, largest)


async def _read_raw(request: Request, largest: int) -> bytes:
    body = request.body
    if body is None or isinstance(body, bytes):
        _check_size(len(body or b""), largest)
        return body or b""
    buffer = _BodyBuffer(largest)
    async for piece in body:
        buffer.add(piece)
    return buffer.join() if buffer.size <= BLOCK_SIZE else await asyncio.to_thread(buffer.join)


class _BodyBuffer:
    """A buffer that collects the pieces of a body in blocks.

    Python holds its lock while it copies bytes, but releases it while it joins large blocks.
    """

    def __init__(self, largest: int) -> None:
        self.size = 0
        self._largest = largest
        self._blocks: list[bytes] = []
        self._last = bytearray()

    def add(self, piece: bytes) -> None:
        """Add a piece. Raises ContentTooLargeError if the pieces together are larger than ``largest`` bytes."""
        self.size += len(piece)
        _check_size(self.size, self._largest)
        self._last += piece
        if len(self._last) >= BLOCK_SIZE:
            self._blocks.append(bytes(self._last))
            self._last.clear()

    def join(self) -> bytes:
        """Return all pieces as one text."""
        return b"".join([*self._blocks, bytes(self._last)])


def _check_size(size: int, largest: int) -> None:
    if size > largest:
        raise ContentTooLargeError("the request entity is too large", code="too_large")


def _gunzip(text: bytes, largest: int) -> bytes:
    """Decompress a gzip body, a piece at a time.

    Raises BadRequestError if it is no valid gzip, and ContentTooLargeError as soon as ``largest`` bytes are exceeded,
    so a small body cannot unpack to one that fills the memory.
    """
    buffer = _BodyBuffer(largest)
    decompressor = GzipDecompressor(LARGE)
    try:
        for start in range(0, len(text), LARGE):
            for piece in decompressor.feed(text[start : start + LARGE]):
                buffer.add(piece)
    except ValueError:
        raise _bad_gzip_error() from None
    if not decompressor.is_complete:
        raise _bad_gzip_error()
    return buffer.join()


def _bad_gzip_error() -> BadRequestError:
    return BadRequestError("Request body is not properly gzipped.")
