"""A client's line to one server: the only place where a request leaves the engine and an error answer is read."""

import asyncio
from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

from couchmodel._wire.messages import NOTHING, Request, Response, Transport
from couchmodel._wire.refusals import asked, decoded, refusal
from couchmodel.errors import ConnectError

__all__ = ["Session"]


class Session:
    """Sends requests by a transport and turns error answers into errors."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._closed_in: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
        self.closings = 0
        """How often it was closed. Another event loop may use it after that, and :meth:`reopen` opens it again."""

    def __repr__(self) -> str:
        return f"<Session {self._transport!r}>"

    @property
    def transport(self) -> Transport:
        """The way to the server, for whoever reads error answers itself."""
        return self._transport

    @property
    def is_closed(self) -> bool:
        """Whether it was closed in the running event loop, in which a request would leave connections open."""
        if not self._closed_in:
            return False
        try:
            return asyncio.get_running_loop() in self._closed_in
        except RuntimeError:
            return False

    def reopen(self) -> None:
        """Let the running event loop use it again."""
        if self._closed_in:
            self._closed_in.discard(asyncio.get_running_loop())

    async def send(self, request: Request) -> Response:
        """The answer to a request, if it is no error; ``304 Not Modified`` is none.

        Raises ResponseError for an error answer, TransportError where no answer came, ConnectError where it is closed.
        """
        if self._closed_in and self.is_closed:
            raise ConnectError(f"the connection is closed: open another, or enter its context again ({asked(request)})")
        response = await self._transport.send(request)
        if response.status >= 300 and response.status != 304:
            await response.collect()
            raise refusal(request, response)
        return response

    async def json(self, request: Request) -> Any:
        """The decoded body of the answer."""
        return decoded(request, await self.send(request))

    async def get(self, path: tuple[str, ...], query: Mapping[str, str] = NOTHING) -> Any:
        """The decoded answer to a GET."""
        return await self.json(Request("GET", path, query))

    async def close(self) -> None:
        """Let go of connections and files."""
        self.closings += 1
        self._closed_in.add(asyncio.get_running_loop())
        await self._transport.close()
