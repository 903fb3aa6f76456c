"""Build responses: JSON bodies with their headers, errors, redirect addresses, and arrays of rows that stream."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from pydantic_core import to_json

from couchmodel._embedded import limits
from couchmodel._embedded.server.exchange import Client, Exchange
from couchmodel._wire.messages import JSON_TYPE, Response
from couchmodel.errors import ResponseError

__all__ = [
    "JSON_HEADERS",
    "OK",
    "array_pieces",
    "array_response",
    "error_answer",
    "has_current_etag",
    "join_parts",
    "json_answer",
    "location",
    "not_modified",
    "origin",
    "revision_answer",
    "tagged_answer",
]

# CouchDB sends `must-revalidate` with all JSON: a cache may keep it, and has to ask whether it is still the same.
JSON_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"content-type": JSON_TYPE, "cache-control": "must-revalidate"}
)

OK: Final = {"ok": True}


def json_answer(status: int, value: object, headers: Mapping[str, str] = JSON_HEADERS) -> Response:
    """Return a response whose body is a value as JSON."""
    return Response(status, headers, to_json(value) + b"\n")


def revision_answer(rev: str, text: bytes) -> Response:
    """Return a response whose body is one revision of a document. Its ETag is the revision's id."""
    headers = {"content-type": JSON_TYPE, "cache-control": "must-revalidate", "etag": f'"{rev}"'}
    return Response(200, headers, text + b"\n")


def tagged_answer(request_headers: Mapping[str, str], value: object) -> Response:
    """Return a response whose body is a value as JSON, with an ETag made from that JSON.

    The response is 304 if the client's ``If-None-Match`` has this ETag.
    """
    answer = json_answer(200, value)
    etag = f'"{hashlib.md5(answer.body, usedforsecurity=False).hexdigest()}"'
    if has_current_etag(request_headers, etag):
        return not_modified(etag)
    answer.headers = {**JSON_HEADERS, "etag": etag}
    return answer


def not_modified(etag: str) -> Response:
    """Return the 304 response for a client that has the current version."""
    return Response(304, {"etag": etag, "cache-control": "must-revalidate"})


def error_answer(error: ResponseError) -> Response:
    """Return the response that reports an error: a JSON object of its code and its reason."""
    return json_answer(error.status, {"error": error.code, "reason": error.reason})


def location(exchange: Exchange, *path: str) -> str:
    """Return the URL of a resource, on the scheme and host by which the client addressed the server."""
    # CouchDB escapes `~`, which Python's quote never does, and leaves `:` as it is.
    address = "/" + "/".join(quote(segment, safe=":").replace("~", "%7E") for segment in path)
    return origin(exchange.request.headers, exchange.client) + address


def origin(headers: Mapping[str, str], client: Client) -> str:
    """Return the scheme and host by which the client addressed the server; an empty string if it named no host.

    Behind a proxy they stand in the ``X-Forwarded`` headers, which are read as CouchDB reads them.
    """
    host = headers.get("x-forwarded-host") or headers.get("host")
    secure = client.secure or headers.get("x-forwarded-ssl") == "on" or headers.get("x-forwarded-proto") == "https"
    return f"{'https' if secure else 'http'}://{host}" if host else ""


def has_current_etag(headers: Mapping[str, str], etag: str) -> bool:
    """Return True if the client's ``If-None-Match`` header has this ETag."""
    client_tags = headers.get("if-none-match")
    # A compressing proxy makes an ETag weak by the prefix W/. The document is still the same.
    return client_tags is not None and etag in (part.strip().removeprefix("W/") for part in client_tags.split(","))


async def join_parts(*parts: bytes, between: bytes = b"") -> bytes:
    """Join the parts of a body.

    ``join`` releases Python's lock while it copies a large body, so other threads can run; ``+`` and ``%`` do not.
    """
    if sum(map(len, parts)) <= limits.INLINE_JOINED_BYTES:
        return between.join(parts)
    return await asyncio.to_thread(between.join, parts)


async def array_response(head: bytes, rows: Sequence[bytes], tail: bytes) -> Response:
    """Return a response whose body is a JSON array of rows that are all in memory."""
    return Response(200, JSON_HEADERS, await join_parts(head, b"\n", await join_parts(*rows, between=b",\n"), tail))


async def array_pieces(head: bytes, batches: AsyncIterator[list[bytes]], tail: bytes) -> AsyncGenerator[bytes, None]:
    """Yield ``head``, the rows with commas between them as their batches arrive, and ``tail``.

    ``head`` ends with the bracket that opens the array of rows, and ``tail`` begins with the one that closes it.
    """
    separator = b"\n"
    yield head
    async for rows in batches:
        if rows:
            yield separator
            yield await join_parts(*rows, between=b",\n")
            separator = b",\n"
    yield tail
