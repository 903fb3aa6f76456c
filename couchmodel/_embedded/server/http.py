"""The router with a socket in front of it: an HTTP server that CouchDB's clients can talk to."""

import asyncio
import ipaddress
import logging
import random
import re
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

from aiohttp import StreamReader, web

from couchmodel._embedded.replicator.endpoints import Remote
from couchmodel._embedded.server.connections import Connections
from couchmodel._embedded.server.handlers.server import pages
from couchmodel._embedded.server.origins import check_name, check_origin
from couchmodel._embedded.server.responses import error_answer
from couchmodel._embedded.server.router import Router
from couchmodel._embedded.settings import Configuration
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request, Response, parse_target
from couchmodel.errors import BadRequestError, ConfigurationError, ContentTooLargeError, ForbiddenError, ResponseError

__all__ = ["Server", "serve"]

_log = logging.getLogger("couchmodel.embedded")

SERVER: Final = "CouchDB/3.5.0 (couchmodel)"

WHOLE: Final = 1_048_576
"""Bytes of a body that is read before the router sees it; a longer one streams."""

SLICE: Final = 524_288
"""Bytes of an answer that are handed to the socket at once."""

LONGEST_LINE: Final = 65_536
"""Bytes of a request line or of a header, so that a query may have many keys."""

PATIENCE: Final = 3.0
"""Seconds that running requests have when the server is closed."""

SILENCE: Final = 300.0
"""Seconds in which the next piece of a body has to come; CouchDB waits as long."""

OVERRIDING: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT", "COPY")
"""Methods that a POST may stand for."""

FEEDS: Final = ("continuous", "eventsource", "longpoll")


class Server:
    """A server that listens. ``url`` is its address."""

    def __init__(self, runner: web.ServerRunner, front: "_Front", router: Router, url: str) -> None:
        self._runner = runner
        self._front = front
        self._router = router
        self.url = url

    @property
    def is_open_to_all(self) -> bool:
        """Whether everybody is an administrator."""
        return self._front.is_open_to_all

    async def close(self) -> None:
        """Listen no more, end feeds and replications, and let other requests come to an end. The store stays open."""
        for site in tuple(self._runner.sites):
            await site.stop()
        await self._front.finish()
        await self._runner.cleanup()
        await self._router.close()


async def serve(
    store: Store,
    host: str = "127.0.0.1",
    port: int = 5984,
    admin: tuple[str, str] | None = None,
    *,
    configuration: Configuration | None = None,
    tls: ssl.SSLContext | None = None,
    remote: Remote | None = None,
) -> Server:
    """Listen for requests to a store; with port 0, on any free port.

    ``admin`` is a name and a password, one more beside the ``admins`` of the configuration. Without any everybody is an
    administrator, and the server only listens where nobody else can reach it. ``remote`` opens the way to other servers
    for replication.

    Raises:
        ConfigurationError: the server would be open to other machines, or the configuration cannot work.
        StoreFileError: the store cannot be opened.
    """
    settled = replace(configuration or Configuration())
    if admin is not None:
        settled.admins = {**settled.admins, admin[0]: admin[1]}
    settled.secure_cookies |= tls is not None
    pages.check_folder(settled.utils)
    router = Router(store, settled, remote=remote)
    await router.authentication.open()
    router.authentication.is_exposed = not _is_loopback(host)
    if router.authentication.is_exposed and not router.authentication.admins:
        raise ConfigurationError(
            f"everybody who reaches {host} could change everything: "
            "set an administrator, as `--admin NAME:PASSWORD` of `couchmodel serve` does"
        )
    await router.open()
    front = _Front(router, host)
    server = Connections(
        front.handle,
        handler_cancellation=True,
        access_log=None,
        auto_decompress=False,  # an attachment that comes as gzip is stored as gzip
        max_line_size=LONGEST_LINE,
        max_field_size=LONGEST_LINE,
    )
    runner = web.ServerRunner(server, shutdown_timeout=PATIENCE)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls, backlog=1024).start()
    except BaseException:
        await runner.cleanup()
        await router.close()
        raise
    return Server(runner, front, router, _url("http" if tls is None else "https", host, runner.addresses[0][1]))


class _Front:
    """Turns HTTP into requests, and answers into HTTP. ``host`` is the name by which the server listens."""

    def __init__(self, router: Router, host: str) -> None:
        self._router = router
        self._host = host
        self._configuration = router.authentication.configuration
        self._running: set[asyncio.Future[None]] = set()
        self._feeds: set[asyncio.Task[Any] | None] = set()

    @property
    def is_open_to_all(self) -> bool:
        """Whether there is no administrator."""
        return not self._router.authentication.admins and not self._configuration.require_valid_user

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """The answer to one HTTP request, sent."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running.add(done)
        try:
            return await self._answer(http)
        finally:
            done.set_result(None)
            self._running.discard(done)

    async def _answer(self, http: web.BaseRequest) -> web.StreamResponse:
        headers = _headers(http)
        try:
            path, query = parse_target(_ADDRESS.sub("", http.raw_path))
        except BadRequestError as error:
            return await _send(http, error_answer(error))
        request = Request(_method(http.method, headers), path, query, headers, stream=True)
        try:
            check_origin(request, self._configuration.cors)
            if self.is_open_to_all:
                check_name(headers.get("host", "localhost"), self._host)
        except ForbiddenError as error:
            return await _send(http, error_answer(error))
        if http.method == "OPTIONS" and (answer := self._preflight(request)) is not None:
            return await _send(http, answer)
        if path == ("_utils",) and self._configuration.utils and not http.path.endswith("/"):
            return await _send(http, pages.redirect(request))
        request.peer = http.remote or ""
        request.secure = http.secure
        largest = self._configuration.max_request_size
        if (http.content_length or 0) > largest:
            return await self._finish(http, request, error_answer(_too_large()))
        if http.body_exists:
            try:
                request.body = await _body(http, headers, largest)
            except ResponseError as error:
                return await self._finish(http, request, error_answer(error))
        return await self._finish(http, request, await self._router.answer_anybody(request))

    async def finish(self) -> None:
        """End the answers that would go on for ever, and give the others some time.

        aiohttp, which closes after this, takes nothing more from a client that is still sending.
        """
        for task in filter(None, tuple(self._feeds)):
            task.cancel()
        if self._running:
            await asyncio.wait(tuple(self._running), timeout=PATIENCE)

    async def _finish(self, http: web.BaseRequest, request: Request, answer: Response) -> web.StreamResponse:
        cors = self._configuration.cors
        if cors is not None:
            answer.headers = {**answer.headers, **cors.headers_for(request.headers, answer.headers)}
        if answer.stream is None or request.query.get("feed") not in FEEDS:
            return await _send(http, answer)
        task = asyncio.current_task()
        self._feeds.add(task)
        try:
            return await _send(http, answer)
        finally:
            self._feeds.discard(task)

    def _preflight(self, request: Request) -> Response | None:
        """The answer to a browser that asks what it may do for a page; anything else is a request as any other."""
        cors = self._configuration.cors
        allowed = None if cors is None else cors.preflight(request.headers)
        return None if allowed is None else Response(204, allowed)


_ADDRESS: Final = re.compile("https?://[^/?]*", re.IGNORECASE)
"""What stands before the path where a client writes the whole URL, as it would to a proxy."""


def _headers(http: web.BaseRequest) -> dict[str, str]:
    """Return the headers of a request. What comes several times is one list, as it is to CouchDB."""
    headers = {name.lower(): value for name, value in http.headers.items()}
    if len(headers) < len(http.headers):
        headers = {name: ", ".join(http.headers.getall(name)) for name in headers}
    return headers


def _method(method: str, headers: dict[str, str]) -> str:
    """The method that is meant: a client that knows no others than GET and POST names it in a header."""
    meant = headers.get("x-http-method-override") if method == "POST" else None
    if meant not in OVERRIDING:
        return method
    return "GET" if meant == "HEAD" else meant


async def _body(http: web.BaseRequest, headers: dict[str, str], largest: int) -> bytes | AsyncIterable[bytes]:
    if headers.get("expect", "").lower() == "100-continue":
        await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    length = http.content_length
    if length is None or length > WHOLE:
        return _pieces(http.content, largest)
    if http.content.is_eof():
        return await http.content.read()
    return b"".join([piece async for piece in _pieces(http.content, largest)])


async def _pieces(body: StreamReader, largest: int) -> AsyncIterator[bytes]:
    """The pieces of a body. Raises ContentTooLargeError where it does not end, and 408 where it does not go on."""
    length = 0
    while piece := await _piece(body):
        length += len(piece)
        if length > largest:
            raise _too_large()
        yield piece


async def _piece(body: StreamReader) -> bytes:
    try:
        async with asyncio.timeout(SILENCE):
            return await body.readany()
    except TimeoutError:
        error = ResponseError("The request did not go on.", code="timeout")
        error.status = 408
        raise error from None


def _too_large() -> ContentTooLargeError:
    return ContentTooLargeError("the request entity is too large")


async def _send(http: web.BaseRequest, answer: Response) -> web.StreamResponse:
    """The answer, sent; a client that does not wait for it is no error."""
    response = _response(http, answer)
    try:
        await response.prepare(http)
        if answer.stream is not None or (len(answer.body) > SLICE and http.method != "HEAD"):
            async with aclosing(_sent(answer)) as pieces:
                async for piece in pieces:
                    await response.write(piece)
        await response.write_eof()
    except ConnectionResetError:
        _log.debug("%s %s: the client has gone", http.method, http.path)
    return response


def _response(http: web.BaseRequest, answer: Response) -> web.StreamResponse:
    headers = {**answer.headers, "server": SERVER, "x-couch-request-id": _request_id(http)}
    headers["x-couchdb-body-time"] = "0"
    if answer.stream is None and http.method != "HEAD":
        if len(answer.body) <= SLICE:
            return web.Response(status=answer.status, headers=headers, body=answer.body)
        headers["content-length"] = str(len(answer.body))
    return web.StreamResponse(status=answer.status, headers=headers)


def _request_id(http: web.BaseRequest) -> str:
    """Return the name of the request, which the client may give it, as CouchDB takes it."""
    given = http.headers.get("x-couch-request-id")
    return given if given is not None and _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(40):010x}"


_REQUEST_ID: Final = re.compile("[0-9A-Za-z_-]{0,36}")


async def _sent(answer: Response) -> AsyncGenerator[bytes | memoryview, None]:
    """The body of an answer, whose pieces may be of any size: what cannot be sent at once is copied."""
    if answer.stream is None:
        for slice in _slices(answer.body):
            yield slice
        return
    async with aclosing(answer.stream) as pieces:
        async for piece in pieces:
            for slice in _slices(piece):
                yield slice


def _slices(piece: bytes) -> Iterable[bytes | memoryview]:
    if len(piece) <= SLICE:
        return (piece,)
    view = memoryview(piece)
    return (view[start : start + SLICE] for start in range(0, len(piece), SLICE))


def _is_loopback(host: str) -> bool:
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise ConfigurationError(f"there is no host {host!r}") from error
    return all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in addresses)


def _url(scheme: str, host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{port}"
