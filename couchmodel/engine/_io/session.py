"""The session of a client with one server.

It is the only place where a request leaves the engine, and where an error answer becomes an exception.
"""

import asyncio
from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

from couchmodel._wire.answers import answer_error, decode_answer, describe_request
from couchmodel._wire.messages import EMPTY, Request, Response, Transport
from couchmodel.errors import ConnectError

__all__ = ["Session"]


class Session:
    """A sender of requests over a transport. It raises error answers as exceptions."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        # The HTTP transport has a connection pool for each event loop, and closes that of the running loop only.
        self._closed_in: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
        self.close_count = 0
        """The number of times that the session was closed.

        Another event loop may still use it after that, and :meth:`reopen` lets the same loop use it again.
        """

    def __repr__(self) -> str:
        return f"<Session {self._transport!r}>"

    @property
    def transport(self) -> Transport:
        """The transport of the session, for callers that read error answers themselves."""
        return self._transport

    @property
    def is_closed(self) -> bool:
        """True if the session was closed in the running event loop, where a request would open new connections."""
        if not self._closed_in:
            return False
        try:
            return asyncio.get_running_loop() in self._closed_in
        except RuntimeError:
            return False

    def reopen(self) -> None:
        """Let the running event loop use the session again."""
        if self._closed_in:
            self._closed_in.discard(asyncio.get_running_loop())

    async def send(self, request: Request) -> Response:
        """Send a request and return its answer. ``304 Not Modified`` is not an error.

        Raises ResponseError for an error answer, TransportError if no answer came, ConnectError if the session is
        closed.
        """
        # Most sessions were never closed, and need no look at the running event loop.
        if self._closed_in and self.is_closed:
            raise ConnectError(
                f"the connection is closed: open another, or enter its context again ({describe_request(request)})"
            )
        response = await self._transport.send(request)
        if response.status >= 300 and response.status != 304:
            await response.collect()  # the error is read from the body, which may be a stream
            raise answer_error(request, response)
        return response

    async def json(self, request: Request) -> Any:
        """Send a request and return the decoded JSON of its answer. Raises ProtocolError if that is not JSON.

        The answer to the write of a document has the member ``accepted`` if its status is 202, as the rows of a bulk
        write have it.
        """
        response = await self.send(request)
        answer = decode_answer(request, response)
        if response.status == 202 and isinstance(answer, dict) and "rev" in answer:
            answer["accepted"] = True
        return answer

    async def get(self, path: tuple[str, ...], query: Mapping[str, str] = EMPTY) -> Any:
        """Send a GET and return the decoded JSON of its answer."""
        return await self.json(Request("GET", path, query))

    async def close(self) -> None:
        """Close the connections and files."""
        self.close_count += 1
        self._closed_in.add(asyncio.get_running_loop())
        await self._transport.close()
