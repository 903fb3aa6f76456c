"""The bytes of an attachment over connections that break: each goes on where the one before it broke off."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from couchmodel._retry import Backoff
from couchmodel._wire.messages import Request, Response, Stream
from couchmodel.engine._io.session import Session
from couchmodel.errors import ProtocolError, TransportError

__all__ = ["ResumedStream"]

_ATTEMPTS: Final = 5
"""How often in a row a connection may break without a new byte."""

_BACKOFF: Final = Backoff(0.1, longest=5.0, jitter=True)


class _ReplacedError(ProtocolError):
    """Another content was stored while the first one was read."""


class ResumedStream:
    """The body of a response to a request for an attachment. After a broken connection, the rest of it is requested."""

    def __init__(self, session: Session, request: Request, response: Response, stream: Stream) -> None:
        self._session = session
        self._request = request
        self._headers = response.headers
        self._stream = stream
        whole = "bytes=0-" if response.status != 206 else request.headers["range"]
        first, _, self._last = whole.removeprefix("bytes=").partition("-")
        self._first = int(first)
        # CouchDB serves no ranges of a content that it has compressed.
        self._has_ranges = response.status == 206 or response.headers.get("accept-ranges") == "bytes"
        self._count = 0

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes.

        Raises TransportError if connections break again and again; ProtocolError if another content is stored by now;
        NotFoundError if the attachment is deleted.
        """
        failures = known = 0
        while True:
            try:
                if failures:
                    known = await self._open_rest()
                async with aclosing(self._stream):
                    async for piece in self._stream:
                        rest, known = piece[known:], max(0, known - len(piece))
                        if rest:
                            failures = 0
                            self._count += len(rest)
                            yield rest
            except _ReplacedError:
                raise
            except TransportError:
                failures += 1
                # Without an entity tag, nothing tells whether the rest is of the same content.
                if failures > _ATTEMPTS or "etag" not in self._headers:
                    raise
            else:
                return
            await asyncio.sleep(_BACKOFF.wait(failures))

    async def _open_rest(self) -> int:
        """Request the rest of the content. Return how many bytes of the answer have arrived before."""
        headers, start = dict(self._request.headers), self._first + self._count
        if self._has_ranges:
            headers |= {"range": f"bytes={start}-{self._last}", "accept-encoding": "identity"}
        request = Request("GET", self._request.path, self._request.query, headers, stream=True)
        response = await self._session.send(request)
        self._stream = response.stream or _single_piece(response.body)
        if response.headers.get("etag") != self._headers["etag"]:
            await self._stream.aclose()
            name, document = self._request.path[-1], "/".join(self._request.path[:-1])
            raise _ReplacedError(
                f"attachment {name!r} of {document} was replaced after {self._count:,} bytes of it came"
            )
        return 0 if response.status == 206 else start


async def _single_piece(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body
