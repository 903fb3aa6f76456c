"""A client's line to one server: the only place where a request leaves the engine and an error answer is read."""

from collections.abc import Mapping
from typing import Any

from couchmodel._wire.messages import NOTHING, Request, Response, Transport
from couchmodel._wire.refusals import decoded, refusal

__all__ = ["Session"]


class Session:
    """Sends requests by a transport and turns error answers into errors."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.closings = 0
        """How often it was closed. A later request opens it anew, so whoever repeats requests looks at this."""

    def __repr__(self) -> str:
        return f"<Session {self._transport!r}>"

    @property
    def transport(self) -> Transport:
        """The way to the server, for whoever reads error answers itself."""
        return self._transport

    async def send(self, request: Request) -> Response:
        """The answer to a request, if it is no error; ``304 Not Modified`` is none.

        Raises ResponseError for an error answer and TransportError where no answer came.
        """
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
        await self._transport.close()
