"""The connections of the HTTP server: they time out while idle, and answer malformed requests with JSON."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from couchmodel._embedded import limits
from couchmodel._embedded.server.responses import error_answer
from couchmodel.errors import BadRequestError

__all__ = ["Connections"]

_log = logging.getLogger("couchmodel.embedded")


class Connections(web.Server):
    """An aiohttp server that closes connections on which no request begins.

    aiohttp itself has a timeout between requests only, and waits for ever for the first one of a connection.
    """

    def __init__(self, answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], **options: Any) -> None:
        """Create the server. ``answer`` handles a request; ``options`` are those of :class:`aiohttp.web.Server`."""
        super().__init__(self._handle, **options)
        self._answer = answer
        # aiohttp takes this option for the server. The others go to each connection as well.
        options.pop("handler_cancellation", None)
        self._options: dict[str, Any] = {**options, "keepalive_timeout": limits.HEAD_SECONDS}
        self._idle_timers: dict[web.RequestHandler, asyncio.TimerHandle] = {}

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=asyncio.get_running_loop(), **self._options)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        # Each connection gets a timer, which its first request stops.
        self._idle_timers[handler] = asyncio.get_running_loop().call_later(limits.HEAD_SECONDS, handler.force_close)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        self._stop_idle_timer(handler)
        super().connection_lost(handler, exc)

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        self._stop_idle_timer(http.protocol)
        return await self._answer(http)

    def _stop_idle_timer(self, handler: web.RequestHandler) -> None:
        timer = self._idle_timers.pop(handler, None)
        if timer is not None:
            timer.cancel()


class _Connection(web.RequestHandler):
    """A connection. It answers a malformed request with CouchDB's JSON for errors, and logs it in one line."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the response to a request that cannot be parsed or whose handler failed.

        aiohttp handles failures of the server, and failures after a response has begun.
        """
        if status >= 500 or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        reason = (message or "Bad request").partition("\n")[0].rstrip(":")
        _log.debug("%s speaks no HTTP: %s", request.remote, reason)
        answer = error_answer(BadRequestError(reason))
        response = web.Response(status=status, headers=answer.headers, body=answer.body)
        response.force_close()
        return response
