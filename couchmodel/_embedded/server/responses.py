"""Answers: JSON bodies and their headers, errors among them, and results that are sent as they are read."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

from pydantic_core import to_json

from couchmodel._wire.messages import JSON_TYPE, Request, Response
from couchmodel.errors import ResponseError

__all__ = [
    "JSON_HEADERS",
    "OK",
    "error_answer",
    "json_answer",
    "listed",
    "location",
    "matches",
    "origin",
    "revision_answer",
    "streamed",
    "tagged_answer",
    "unchanged",
    "whole",
]

JSON_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"content-type": JSON_TYPE, "cache-control": "must-revalidate"}
)

OK: Final = {"ok": True}

LARGE: Final = 4 * 1024 * 1024
"""Bytes that are copied in the event loop."""


def json_answer(status: int, value: object, headers: Mapping[str, str] = JSON_HEADERS) -> Response:
    """An answer whose body is the JSON of a value."""
    return Response(status, headers, to_json(value) + b"\n")


def revision_answer(rev: str, text: bytes) -> Response:
    """An answer whose body is one revision of a document, with the ETag that names it."""
    headers = {"content-type": JSON_TYPE, "cache-control": "must-revalidate", "etag": f'"{rev}"'}
    return Response(200, headers, text + b"\n")


def tagged_answer(asked: Mapping[str, str], value: object) -> Response:
    """An answer whose body is the JSON of a value, with an ETag that names just this value."""
    answer = json_answer(200, value)
    tag = f'"{hashlib.md5(answer.body, usedforsecurity=False).hexdigest()}"'
    if matches(asked, tag):
        return unchanged(tag)
    answer.headers = {**JSON_HEADERS, "etag": tag}
    return answer


def unchanged(tag: str) -> Response:
    """The answer to whoever has the current one already."""
    return Response(304, {"etag": tag, "cache-control": "must-revalidate"})


def error_answer(error: ResponseError) -> Response:
    """What an error looks like to a client."""
    return json_answer(error.status, {"error": error.code, "reason": error.reason})


def location(request: Request, *path: str) -> str:
    """Return the address of a resource, as the client has addressed the server."""
    address = "/" + "/".join(quote(segment, safe=":").replace("~", "%7E") for segment in path)
    return origin(request) + address


def origin(request: Request) -> str:
    """Return the scheme and the host of the server as the client knows them; nothing where it has named no host.

    A proxy says in ``X-Forwarded`` headers what the client has asked of it. They are read as CouchDB reads them.
    """
    headers = request.headers
    host = headers.get("x-forwarded-host") or headers.get("host")
    secure = request.secure or headers.get("x-forwarded-ssl") == "on" or headers.get("x-forwarded-proto") == "https"
    return f"{'https' if secure else 'http'}://{host}" if host else ""


def matches(headers: Mapping[str, str], tag: str) -> bool:
    """Whether the client has this ETag's answer already."""
    known = headers.get("if-none-match")
    return known is not None and tag in (part.strip().removeprefix("W/") for part in known.split(","))


async def whole(*parts: bytes, between: bytes = b"") -> bytes:
    """Parts of an answer as one. Others can run meanwhile, as they could not while ``+`` and ``%`` copy."""
    if sum(map(len, parts)) <= LARGE:
        return between.join(parts)
    return await asyncio.to_thread(between.join, parts)


async def listed(head: bytes, rows: Sequence[bytes], tail: bytes) -> Response:
    """An answer that is a JSON array of rows, all of which are there."""
    return Response(200, JSON_HEADERS, await whole(head, b"\n", await whole(*rows, between=b",\n"), tail))


async def streamed(head: bytes, batches: AsyncIterator[list[bytes]], tail: bytes) -> AsyncGenerator[bytes, None]:
    """The pieces of a JSON array of rows, a piece for each batch."""
    separator = b"\n"
    yield head
    async for rows in batches:
        if rows:
            yield separator
            yield await whole(*rows, between=b",\n")
            separator = b",\n"
    yield tail
