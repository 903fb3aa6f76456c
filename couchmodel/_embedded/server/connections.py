"""The connections of a server of HTTP: how long one may be silent, and what a client hears that speaks no HTTP."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from couchmodel._embedded.server.responses import error_answer
from couchmodel.errors import BadRequestError

__all__ = ["Connections"]

_log = logging.getLogger("couchmodel.embedded")

IDLE: Final = 75.0
"""Seconds in which the head of a request has to come, on a new connection and after the last answer."""


class Connections(web.Server):
    """The connections of a server. One on which no request begins is closed: aiohttp waits for the first for ever."""

    def __init__(self, answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], **options: Any) -> None:
        super().__init__(self._handle, **options)
        self._answer = answer
        options.pop("handler_cancellation", None)
        self._options: dict[str, Any] = {**options, "keepalive_timeout": IDLE}
        self._silent: dict[web.RequestHandler, asyncio.TimerHandle] = {}

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=asyncio.get_running_loop(), **self._options)

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._silent[handler] = asyncio.get_running_loop().call_later(IDLE, handler.force_close)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        self._heard(handler)
        super().connection_lost(handler, exc)

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        self._heard(http.protocol)
        return await self._answer(http)

    def _heard(self, handler: web.RequestHandler) -> None:
        timer = self._silent.pop(handler, None)
        if timer is not None:
            timer.cancel()


class _Connection(web.RequestHandler):
    """A connection. It answers what is no HTTP as any other bad request, and its log keeps to one line."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the answer to a request that cannot be read, or whose handler has failed."""
        if status >= 500 or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        reason = (message or "Bad request").partition("\n")[0].rstrip(":")
        _log.debug("%s speaks no HTTP: %s", request.remote, reason)
        answer = error_answer(BadRequestError(reason))
        response = web.Response(status=status, headers=answer.headers, body=answer.body)
        response.force_close()
        return response
