"""Read the bodies of requests: receive, decompress and parse them. Large bodies are parsed on a thread."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any, TypeVar

from couchmodel._embedded import limits
from couchmodel._embedded.json.parse import parse_json, parse_object
from couchmodel._embedded.json.values import free
from couchmodel._embedded.rules.params import require_json_type
from couchmodel._wire.gzip import GzipDecompressor
from couchmodel._wire.messages import Request
from couchmodel.errors import BadRequestError, ContentTooLargeError, ResponseError, UnsupportedMediaTypeError

__all__ = ["json_body", "json_object", "parse_in_thread", "parsed_body", "read_text"]

T = TypeVar("T")


async def json_body(request: Request) -> Any:
    """Return the value of a JSON body. Raises BadRequestError if it is no JSON, ContentTooLargeError beyond a limit."""
    return await parse_in_thread(await read_text(request), parse_json)


async def json_object(request: Request) -> dict[str, Any]:
    """Return the JSON object that is the body of a POST.

    Raises:
        UnsupportedMediaTypeError: the content type is not JSON.
        BadRequestError: the body is no JSON object.
        ContentTooLargeError: the body is larger than the limit.
    """
    require_json_type(request)
    return await parse_in_thread(await read_text(request), parse_object)


@asynccontextmanager
async def parsed_body(text: bytes, parse: Callable[[bytes], T]) -> AsyncGenerator[T]:
    """Parse a body for the time of a request.

    Afterwards a large one is freed in steps on a thread, unless the request was cancelled: a job may still need it.
    """
    value = await parse_in_thread(text, parse)
    is_large = len(text) > limits.LARGE_BODY
    try:
        yield value
    # A cancellation is not among them: a thread may still read the value.
    except ResponseError:
        if is_large:
            await asyncio.to_thread(free, value)
        raise
    if is_large:
        await asyncio.to_thread(free, value)


async def parse_in_thread(text: bytes, parse: Callable[[bytes], T], large: int = limits.LARGE_BODY) -> T:
    """Parse a text and return the result. A text of more than ``large`` bytes is parsed on a thread."""
    return parse(text) if len(text) <= large else await asyncio.to_thread(parse, text)


async def read_text(request: Request, largest: int = limits.BODY_BYTES) -> bytes:
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
    # A few kilobytes may unpack to the largest body.
    return await asyncio.to_thread(_gunzip, text, largest)


async def _read_raw(request: Request, largest: int) -> bytes:
    body = request.body
    if body is None or isinstance(body, bytes):
        _check_size(len(body or b""), largest)
        return body or b""
    buffer = BytesIO()
    async for piece in body:
        buffer.write(piece)
        _check_size(buffer.tell(), largest)
    return buffer.getvalue()  # no copy: the buffer is made for this


def _check_size(size: int, largest: int) -> None:
    if size > largest:
        reason = f"the request entity is too large: it may have {largest} bytes here, and this one has {size} or more"
        raise ContentTooLargeError(reason, code="too_large")


def _gunzip(text: bytes, largest: int) -> bytes:
    """Decompress a gzip body, a piece at a time.

    Raises BadRequestError if it is no valid gzip, and ContentTooLargeError as soon as ``largest`` bytes are exceeded,
    so a small body cannot unpack to one that fills the memory.
    """
    buffer = BytesIO()
    decompressor = GzipDecompressor(limits.LARGE_BODY)
    try:
        for start in range(0, len(text), limits.LARGE_BODY):
            for piece in decompressor.feed(text[start : start + limits.LARGE_BODY]):
                buffer.write(piece)
                _check_size(buffer.tell(), largest)
        is_whole = decompressor.is_complete
    except ValueError:
        is_whole = False
    if not is_whole:
        raise BadRequestError("Request body is not properly gzipped.")
    return buffer.getvalue()
