"""Serve a store over HTTP: an aiohttp server in front of the router, for any client of CouchDB.

Small request bodies are read before the router sees them, larger ones stream. Response bodies go to the socket in
slices of bounded size.
"""

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

from couchmodel._embedded import limits
from couchmodel._embedded.replicator.endpoints import OpenTransport
from couchmodel._embedded.server.connections import Connections
from couchmodel._embedded.server.exchange import Client
from couchmodel._embedded.server.handlers.server import web_interface
from couchmodel._embedded.server.origins import check_host, check_origin
from couchmodel._embedded.server.responses import error_answer
from couchmodel._embedded.server.router import Router
from couchmodel._embedded.settings import Configuration
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request, Response, parse_target
from couchmodel.errors import BadRequestError, ConfigurationError, ContentTooLargeError, ForbiddenError, ResponseError

__all__ = ["Server", "serve"]

_log = logging.getLogger("couchmodel.embedded")

SERVER: Final = "CouchDB/3.5.0 (couchmodel)"
"""The ``Server`` header. Clients read CouchDB's version from it."""

OVERRIDE_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT", "COPY")
"""Methods that ``X-HTTP-Method-Override`` may name, from CouchDB's ``chttpd.erl``."""

FEEDS: Final = ("continuous", "eventsource", "longpoll")
"""Values of ``feed`` whose responses may wait for ever, so closing the server cancels them."""


class Server:
    """A listening server. ``url`` is its address."""

    def __init__(self, runner: web.ServerRunner, front: "_Front", router: Router, url: str) -> None:
        self._runner = runner
        self._front = front
        self._router = router
        self.url = url

    @property
    def is_open_to_all(self) -> bool:
        """True if the server has no administrator, so that every client has an administrator's rights."""
        return self._front.is_open_to_all

    async def close(self) -> None:
        """Stop listening, end feeds and replications, and let other requests finish. The store stays open."""
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
    remote: OpenTransport | None = None,
) -> Server:
    """Start a server that listens for requests to a store. Port 0 means any free port.

    ``admin`` is the name and the password of an administrator, in addition to the ``admins`` of the configuration.
    Without any administrator every client has an administrator's rights, and ``host`` has to be a loopback address.
    ``remote`` opens transports to other servers, for replication.

    Raises:
        ConfigurationError: the server would be open to other machines, or the configuration cannot work.
        StoreFileError: the store cannot be opened.
    """
    effective = replace(configuration or Configuration())
    if admin is not None:
        effective.admins = {**effective.admins, admin[0]: admin[1]}
    effective.secure_cookies |= tls is not None
    web_interface.check_folder(effective.utils)
    router = Router(store, effective, remote=remote)
    await router.authentication.open()
    # The configured administrators are hashed and the stored ones are loaded by now, so the check below sees them all.
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
        # A client that goes away ends the work for it.
        handler_cancellation=True,
        access_log=None,
        auto_decompress=False,  # an attachment that arrives as gzip is stored as gzip
        max_line_size=limits.LINE_BYTES,
        max_field_size=limits.LINE_BYTES,
    )
    runner = web.ServerRunner(server, shutdown_timeout=limits.GRACE_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls, backlog=1024).start()
    except BaseException:
        await runner.cleanup()
        await router.close()
        raise
    return Server(runner, front, router, _url("http" if tls is None else "https", host, runner.addresses[0][1]))


class _Front:
    """An adapter that turns HTTP requests into requests to the router, and its responses into HTTP responses.

    ``host`` is the name on which the server listens.
    """

    def __init__(self, router: Router, host: str) -> None:
        self._router = router
        self._host = host
        self._configuration = router.authentication.configuration
        self._running: set[asyncio.Future[None]] = set()
        self._feeds: set[asyncio.Task[Any] | None] = set()

    @property
    def is_open_to_all(self) -> bool:
        """True if there is no administrator and no user is required."""
        return not self._router.authentication.admins and not self._configuration.require_valid_user

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request: send the response, and return it."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running.add(done)
        try:
            return await self._answer(http)
        finally:
            done.set_result(None)
            self._running.discard(done)

    async def _answer(self, http: web.BaseRequest) -> web.StreamResponse:
        headers = _request_headers(http)
        try:
            path, query = parse_target(_URL_ORIGIN.sub("", http.raw_path))
        except BadRequestError as error:
            return await _send(http, error_answer(error))
        request = Request(_effective_method(http.method, headers), path, query, headers, stream=True)
        try:
            check_origin(request, self._configuration.cors)
            if self.is_open_to_all:
                check_host(headers.get("host", "localhost"), self._host)
        except ForbiddenError as error:
            return await _send(http, error_answer(error))
        if http.method == "OPTIONS" and (answer := self._preflight(request)) is not None:
            return await _send(http, answer)
        client = Client(http.remote or "", http.secure)
        if path == ("_utils",) and self._configuration.utils and not http.path.endswith("/"):
            return await _send(http, web_interface.redirect(headers, client))
        largest = self._configuration.max_request_size
        # A body that announces its length is refused before it is read; _read_pieces measures one that does not.
        if (http.content_length or 0) > largest:
            return await self._finish(http, request, error_answer(_too_large()))
        if http.body_exists:
            try:
                request.body = await _read_body(http, headers, largest)
            except ResponseError as error:
                return await self._finish(http, request, error_answer(error))
        return await self._finish(http, request, await self._router.authenticate_and_answer(request, client))

    async def finish(self) -> None:
        """Cancel the feeds, and wait up to ``limits.GRACE_SECONDS`` for the other responses.

        This has to come before aiohttp's cleanup, which reads nothing more from a client that is still sending.
        """
        # A copy, since a feed that ends removes itself.
        for task in filter(None, tuple(self._feeds)):
            task.cancel()
        if self._running:
            await asyncio.wait(tuple(self._running), timeout=limits.GRACE_SECONDS)

    async def _finish(self, http: web.BaseRequest, request: Request, answer: Response) -> web.StreamResponse:
        cors = self._configuration.cors
        if cors is not None:
            answer.headers = {**answer.headers, **cors.headers_for(request.headers, answer.headers)}
        if answer.stream is None or request.query.get("feed") not in FEEDS:
            return await _send(http, answer)
        # Feeds are kept apart because they may wait for ever, so ``finish`` cancels them and waits for the others.
        task = asyncio.current_task()
        self._feeds.add(task)
        try:
            return await _send(http, answer)
        finally:
            self._feeds.discard(task)

    def _preflight(self, request: Request) -> Response | None:
        """Return the response to a CORS preflight request.

        Return None if the request is no preflight or asks for something that CORS does not allow. The router then
        answers it like any other request.
        """
        cors = self._configuration.cors
        allowed = None if cors is None else cors.preflight(request.headers)
        return None if allowed is None else Response(204, allowed)


_URL_ORIGIN: Final = re.compile("https?://[^/?]*", re.IGNORECASE)
"""The scheme and host before the path, if a client sends a whole URL as it would to a proxy (RFC 9112, 3.2.2)."""


def _request_headers(http: web.BaseRequest) -> dict[str, str]:
    """Return the headers of a request. Repeated headers are joined to one list by commas, as CouchDB joins them."""
    headers = {name.lower(): value for name, value in http.headers.items()}
    if len(headers) < len(http.headers):
        headers = {name: ", ".join(http.headers.getall(name)) for name in headers}
    return headers


def _effective_method(method: str, headers: dict[str, str]) -> str:
    """Return the method of a request, which ``X-HTTP-Method-Override`` replaces on a POST.

    That header is for clients that can send only GET and POST.
    """
    override = headers.get("x-http-method-override") if method == "POST" else None
    if override not in OVERRIDE_METHODS:
        return method
    # CouchDB's chttpd treats HEAD as GET and leaves it to mochiweb to drop the body, which sees a POST here.
    return "GET" if override == "HEAD" else override


async def _read_body(http: web.BaseRequest, headers: dict[str, str], largest: int) -> bytes | AsyncIterable[bytes]:
    if headers.get("expect", "").lower() == "100-continue":
        await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    length = http.content_length
    # A body of unknown length may be of any length.
    if length is None or length > limits.BUFFERED_BYTES:
        return _read_pieces(http.content, largest)
    if http.content.is_eof():
        return await http.content.read()
    return b"".join([piece async for piece in _read_pieces(http.content, largest)])


async def _read_pieces(body: StreamReader, largest: int) -> AsyncIterator[bytes]:
    """Yield the pieces of a request body.

    Raises ContentTooLargeError beyond ``largest`` bytes, and ResponseError (408) if no piece arrives in time.
    """
    length = 0
    while piece := await _read_piece(body):
        length += len(piece)
        if length > largest:
            raise _too_large()
        yield piece


async def _read_piece(body: StreamReader) -> bytes:
    try:
        async with asyncio.timeout(limits.BODY_SECONDS):
            return await body.readany()
    except TimeoutError:
        error = ResponseError("The request did not go on.", code="timeout")
        error.status = 408
        raise error from None


def _too_large() -> ContentTooLargeError:
    return ContentTooLargeError("the request entity is too large")


async def _send(http: web.BaseRequest, answer: Response) -> web.StreamResponse:
    """Send a response, and return it. A client that closes the connection meanwhile is not an error."""
    response = _http_response(http, answer)
    try:
        await response.prepare(http)
        if answer.stream is not None or (len(answer.body) > limits.WRITTEN_BYTES and http.method != "HEAD"):
            async with aclosing(_body_slices(answer)) as pieces:
                async for piece in pieces:
                    await response.write(piece)
        await response.write_eof()
    except ConnectionResetError:
        _log.debug("%s %s: the client has gone", http.method, http.path)
    return response


def _http_response(http: web.BaseRequest, answer: Response) -> web.StreamResponse:
    headers = {**answer.headers, "server": SERVER, "x-couch-request-id": _request_id(http)}
    # CouchDB states the milliseconds that it took to read the body.
    headers["x-couchdb-body-time"] = "0"
    if answer.stream is None and http.method != "HEAD":
        if len(answer.body) <= limits.WRITTEN_BYTES:
            return web.Response(status=answer.status, headers=headers, body=answer.body)
        headers["content-length"] = str(len(answer.body))
    return web.StreamResponse(status=answer.status, headers=headers)


def _request_id(http: web.BaseRequest) -> str:
    """Return the id of a request: the client's, if it is one that CouchDB accepts, or a random one."""
    given = http.headers.get("x-couch-request-id")
    return given if given is not None and _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(40):010x}"


_REQUEST_ID: Final = re.compile("[0-9A-Za-z_-]{0,36}")


async def _body_slices(answer: Response) -> AsyncGenerator[bytes | memoryview, None]:
    """Yield the body of a response in slices.

    Pieces may be of any size, and asyncio copies what it cannot send at once, so slices are small.
    """
    if answer.stream is None:
        for slice in _slices(answer.body):
            yield slice
        return
    async with aclosing(answer.stream) as pieces:
        async for piece in pieces:
            for slice in _slices(piece):
                yield slice


def _slices(piece: bytes) -> Iterable[bytes | memoryview]:
    if len(piece) <= limits.WRITTEN_BYTES:
        return (piece,)
    view = memoryview(piece)
    return (view[start : start + limits.WRITTEN_BYTES] for start in range(0, len(piece), limits.WRITTEN_BYTES))


def _is_loopback(host: str) -> bool:
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise ConfigurationError(f"there is no host {host!r}") from error
    # An IPv6 address may name an interface behind a percent sign.
    return all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in addresses)


def _url(scheme: str, host: str, port: int) -> str:
    bracketed = f"[{host}]" if ":" in host else host
    return f"{scheme}://{bracketed}:{port}"
