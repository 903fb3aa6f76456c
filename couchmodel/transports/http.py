"""The transport over HTTP, with aiohttp. No other module sees aiohttp's client and its exceptions."""

import asyncio
import copy
import inspect
import logging
import os
import ssl
import time
import warnings
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn
from weakref import WeakKeyDictionary, WeakSet

import aiohttp
from yarl import URL

from couchmodel._retry import BUSY_STATUSES
from couchmodel._wire.answers import describe_request
from couchmodel._wire.messages import EMPTY, JSON_TYPE, Request, Response, request_target
from couchmodel.errors import (
    ConfigurationError,
    ConnectError,
    ProtocolError,
    RequestTimeoutError,
    TLSError,
    TransportError,
)
from couchmodel.transports.credentials import Credentials, credentials_of, send_authenticated
from couchmodel.transports.request_stream import RequestStream
from couchmodel.transports.retries import Retries, is_idempotent
from couchmodel.transports.retry_policy import RetryPolicy, is_feed, read_timeout_of_feed
from couchmodel.transports.sockets import open_socket
from couchmodel.transports.urls import redact, split_credentials

__all__ = ["HTTPTransport", "redact"]

_log: Final = logging.getLogger("couchmodel.http")

_CHUNK: Final = 64 * 1024
"""The most bytes that are read from an answer at a time."""

_SHORT: Final = 32 * 1024
"""The bytes below which a piece of an answer waits for more to come."""

_GATHERING: Final = 0.005
"""Seconds that a short piece waits. Rows are decoded meanwhile, so this costs time only before the last of them."""

_MAX_PIECE: Final = 512 * 1024
"""The most bytes of a body that are handed to aiohttp at a time. It warns of 1 MiB, and smaller pieces cost time."""

_OPTIONS: Final = frozenset(inspect.signature(aiohttp.ClientSession).parameters) - {"auth", "headers"}


class HTTPTransport:
    """A CouchDB server or cluster.

    The first request in an event loop makes a pool of connections for that loop. So one transport serves programs that
    start several loops one after the other, as test suites do.

    Each attempt is logged by ``couchmodel.http`` at level DEBUG, with method, path, status and milliseconds.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str | None = None,
        password: str | None = None,
        cookie: str | None = None,
        auth: Credentials | None = None,
        headers: Mapping[str, str] | None = None,
        ca: str | os.PathLike[str] | ssl.SSLContext | None = None,
        retry_policy: RetryPolicy | None = None,
        connections: int = 100,
        **options: Any,
    ) -> None:
        """``url`` may hold the user and the password.

        ``user`` and ``password`` are short for ``auth=BasicAuth(user, password)``, ``cookie`` is the value of an
        ``AuthSession``. ``ca`` is a file or folder of certificates to trust in place of the system's, or an SSL
        context. ``retry_policy`` has the timeouts and the rules of retries. ``connections`` is the most connections at
        a time. ``options`` go to :class:`aiohttp.ClientSession`.

        Raises ConfigurationError for a URL that names no server, and for arguments that cannot work.
        """
        self.url, from_url = split_credentials(url)
        login = (user, password) if user or password else from_url or (None, None)
        self._auth = credentials_of(*login, cookie, auth)
        self._plain_headers = dict(headers or {})
        self._headers = {**self._plain_headers, **(self._auth.static_headers if self._auth else EMPTY)}
        self._policy = _check_policy(_pop_patience(options) if "patience" in options else retry_policy)
        self._options = _session_options(options, self._policy)
        self._middlewares = (*self._options.get("middlewares", ()), _send_once)
        self._context = _context(ca)
        if self._context is not None and "connector" in options:
            raise ConfigurationError("ca= does not apply to your own connector: give the connector an SSL context")
        if not isinstance(connections, int) or connections < 1:
            raise ConfigurationError(f"connections={connections!r} must be a whole number, 1 or more")
        self._connections = connections
        self._retries = Retries(self._policy)
        self._users: HTTPTransport | None = None
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()
        self._open_streams: WeakSet[_ResponseStream] = WeakSet()

    def __repr__(self) -> str:
        return f"<HTTPTransport {self.url}>"

    async def send(self, request: Request) -> Response:
        """Return the server's answer. Raises ConnectError, RequestTimeoutError or ProtocolError if none came.

        If it is safe, the request is sent again by the rules of :class:`~couchmodel.engine.RetryPolicy`.
        """
        if self._policy.total is not None:
            return await self._send_within(self._policy.total, request)
        return await self._send(request)

    def for_users(self) -> "HTTPTransport":
        """Return a transport to the same server, with connections of its own and without credentials.

        Its requests are those of the users that their headers name. It is made once, and closed with this one.
        """
        if self._users is None:
            self._users = other = copy.copy(self)
            own = {"_retries": Retries(self._policy), "_sessions": WeakKeyDictionary(), "_open_streams": WeakSet()}
            vars(other).update(own, _auth=None, _headers=self._plain_headers)
        return self._users

    async def close(self) -> None:
        """Close the connections of the running loop."""
        if self._users is not None:
            await self._users.close()
        loop = asyncio.get_running_loop()
        # aiohttp does not wake a task that waits for more of an answer.
        for stream in [stream for stream in self._open_streams if stream.loop is loop]:
            stream.cut()
        session = self._sessions.pop(loop, None)
        if session is not None:
            await session.close()

    def translate(self, error: Exception, request: Request) -> NoReturn:
        """Raise the error of :mod:`couchmodel.errors` for an error of aiohttp."""
        doubt = "" if is_idempotent(request) else ", and it is unknown whether the write was carried out"
        match error:
            case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
                message = f"the TLS connection to {self.url} failed: {error}; pass a CA of your own as ca="
                raise TLSError(f"{message} ({describe_request(request)})") from error
            case aiohttp.ConnectionTimeoutError():
                message = f"{self.url} did not accept a connection in time; is the address right?"
                raise ConnectError(f"{message} ({describe_request(request)})") from error
            case aiohttp.ClientConnectorError():
                message = f"{self.url} cannot be reached ({error.strerror}); is CouchDB running?"
                raise ConnectError(f"{message} ({describe_request(request)})") from error
            case TimeoutError():
                raise RequestTimeoutError(
                    f"{self.url} stopped answering{doubt} ({describe_request(request)})"
                ) from error
            case _:
                # A ClientResponseError holds its request, with the credentials.
                cause = None if isinstance(error, aiohttp.ClientResponseError) else error
                raise self._cut_off_error(error, request, doubt) from cause

    async def _send(self, request: Request) -> Response:
        try:
            response = await self._attempt(request)
        except TransportError as error:
            return await self._retries.retry(request, error, self._attempt)
        if response.status in BUSY_STATUSES:
            return await self._retries.retry(request, response, self._attempt)
        return response

    async def _send_within(self, seconds: float, request: Request) -> Response:
        try:
            async with asyncio.timeout(seconds):
                return await self._send(request)
        except TimeoutError as error:
            if isinstance(error, TransportError):
                raise
            self.translate(error, request)

    async def _attempt(self, request: Request) -> Response:
        if self._auth is None or not self._auth.is_refreshable:
            return await self._try(request)
        return await send_authenticated(self._auth, request, self._try)

    async def _try(self, request: Request, credentials: Mapping[str, str] = EMPTY) -> Response:
        body = request.body
        if body is not None and not isinstance(body, bytes | RequestStream):
            request.body = body = RequestStream(body)
        start = time.perf_counter() if _log.isEnabledFor(logging.DEBUG) else None
        try:
            response = await self._exchange(request, body, credentials)
        except (aiohttp.ClientError, OSError) as error:
            if start is not None:
                _log_attempt(request, type(error).__name__, start)
            if isinstance(body, RequestStream) and body.source_error is not None:
                raise body.source_error from body.source_error.__cause__
            self.translate(error, request)
        if start is not None:
            _log_attempt(request, response.status, start)
        return response

    async def _exchange(
        self, request: Request, body: bytes | RequestStream | None, credentials: Mapping[str, str]
    ) -> Response:
        session = self._sessions.get(asyncio.get_running_loop()) or self._open()
        timeout: aiohttp.ClientTimeout = self._options["timeout"]
        headers = {**request.headers, **credentials} if credentials else request.headers
        data: bytes | AsyncIterable[bytes | memoryview] | None = body
        if isinstance(body, bytes) and len(body) > _MAX_PIECE:
            data, headers = _pieces(body), {**headers, "content-length": str(len(body))}
        answer = await session.request(
            request.method,
            # Quoted already: yarl must not quote it again.
            URL(self.url + request_target(request.path, request.query), encoded=True),
            headers=headers,
            data=data,
            # A redirection is an error: it mostly comes from a server that is not CouchDB.
            allow_redirects=False,
            # A caller that asks for an encoding gets the body in that encoding.
            auto_decompress="accept-encoding" not in request.headers,
            timeout=_feed_timeout(timeout, request) if is_feed(request) else timeout,
            middlewares=None if is_idempotent(request) else self._middlewares,
        )
        if request.stream and answer.status < 400:
            stream = _ResponseStream(self, request, answer)
            self._open_streams.add(stream)
            return Response(answer.status, answer.headers, stream=stream)
        return Response(answer.status, answer.headers, await _read_body(answer))

    def _open(self) -> aiohttp.ClientSession:
        options = dict(self._options)
        if "connector" not in options:
            tls = True if self._context is None else self._context
            options["connector"] = aiohttp.TCPConnector(limit=self._connections, ssl=tls, socket_factory=open_socket)
        if not options.keys() & {"cookie_jar", "cookies"}:
            # Credentials keep their own cookie: aiohttp's jar would drop that of a host without a name.
            options["cookie_jar"] = aiohttp.DummyCookieJar()
        # A session cannot be closed any more without its event loop, only forgotten.
        for closed in [loop for loop in self._sessions if loop.is_closed()]:
            del self._sessions[closed]
        session = aiohttp.ClientSession(headers=self._headers, **options)
        self._sessions[asyncio.get_running_loop()] = session
        return session

    def _cut_off_error(self, error: Exception, request: Request, doubt: str) -> ProtocolError:
        said = str(error) or type(error).__name__
        if _is_incomplete(request):
            cut = ProtocolError(
                f"the request to {self.url} was cut off, and not carried out: {said} ({describe_request(request)})"
            )
            cut.carried_out = False
            return cut
        return ProtocolError(
            f"the answer of {self.url} was cut off or is not HTTP: {said}{doubt} ({describe_request(request)})"
        )


class _ResponseStream:
    """The body of an answer, in the pieces in which it arrives."""

    def __init__(self, transport: HTTPTransport, request: Request, answer: aiohttp.ClientResponse) -> None:
        self._transport = transport
        self._request = request
        self._answer = answer
        self.loop = asyncio.get_running_loop()
        # The rows of a feed are passed on at once. The bytes of an attachment come fast, and a wait would stop them.
        self._gathers = not is_feed(request) and request.headers.get("accept") == JSON_TYPE

    async def __aiter__(self) -> AsyncIterator[bytes]:
        content = self._answer.content
        try:
            while piece := await content.read(_CHUNK):
                yield piece
                if len(piece) < _SHORT and self._gathers and not content.is_eof():
                    await _gather(content)
        # aiohttp raises RuntimeError if more is read after the connection was lost.
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            self._transport.translate(error, self._request)
        finally:
            self._answer.close()

    def cut(self) -> None:
        """Raise the error of a lost connection in a task that waits for more of the body."""
        self._answer.content.set_exception(aiohttp.ClientConnectionError("the client was closed"))

    async def aclose(self) -> None:
        """Close the connection, unless the whole body has arrived: then the connection is back in the pool."""
        self._answer.close()


async def _pieces(body: bytes) -> AsyncIterator[memoryview]:
    view = memoryview(body)
    for start in range(0, len(view), _MAX_PIECE):
        yield view[start : start + _MAX_PIECE]


async def _read_body(answer: aiohttp.ClientResponse) -> bytes:
    """Read the body of an answer and return it.

    Return an empty body for an error that is cut off: its status says enough.
    """
    try:
        return await answer.read()
    except aiohttp.ClientPayloadError:
        if answer.status < 400:
            raise
        return b""


async def _gather(content: aiohttp.StreamReader) -> None:
    """Wait for a moment, or until the last piece has come, so that short pieces are read together.

    CouchDB sends rows as it finds them, three or four at a time. Waking up for each piece costs more than decoding it.
    """
    try:
        async with asyncio.timeout(_GATHERING):
            await content.wait_eof()
    except TimeoutError as error:
        if isinstance(error, aiohttp.ClientError):
            raise


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Send a write not more than once: a middleware of aiohttp.

    If a connection that has been used before is lost, aiohttp sends a PUT or a DELETE again by itself. The answer to
    the second attempt would hide the outcome of the first.
    """
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientConnectionError(str(error)) from error


def _check_policy(policy: Any) -> RetryPolicy:
    if policy is not None and not isinstance(policy, RetryPolicy):
        raise ConfigurationError(f"retry_policy= must be a RetryPolicy, not a {type(policy).__name__}")
    return policy or RetryPolicy()


def _pop_patience(options: dict[str, Any]) -> Any:
    """Take the former name of ``retry_policy`` out of the options, and warn the caller of the library."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").startswith("couchmodel."):
        frame, level = frame.f_back, level + 1
    message = "patience= is now retry_policy=; the old name works in this version only"
    warnings.warn(message, DeprecationWarning, stacklevel=level)
    return options.pop("patience")


def _session_options(options: dict[str, Any], policy: RetryPolicy) -> dict[str, Any]:
    if unknown := sorted(options.keys() - _OPTIONS):
        raise ConfigurationError(
            f"{', '.join(unknown)}: neither couchmodel nor aiohttp.ClientSession has such an argument"
        )
    timeout = options.get("timeout")
    if timeout is None:
        timeout = aiohttp.ClientTimeout(
            total=policy.request,
            # This includes the wait for a free connection of the pool, which others may hold for as long as they read.
            connect=policy.connect + policy.read_timeout,
            sock_connect=policy.connect,
            sock_read=policy.read_timeout,
        )
    elif isinstance(timeout, int | float):
        timeout = aiohttp.ClientTimeout(total=timeout)
    # A loop= is dropped: each session belongs to the loop in which its first request is sent.
    return {**{name: value for name, value in options.items() if name != "loop"}, "timeout": timeout}


def _feed_timeout(usual: aiohttp.ClientTimeout, request: Request) -> aiohttp.ClientTimeout:
    """Return the timeout of a feed, which may last for ever, and be silent for as long as its request says."""
    read_timeout = read_timeout_of_feed(request, usual.sock_read)
    return aiohttp.ClientTimeout(sock_connect=usual.sock_connect, sock_read=read_timeout)


def _context(ca: str | os.PathLike[str] | ssl.SSLContext | None) -> ssl.SSLContext | None:
    if ca is None or isinstance(ca, ssl.SSLContext):
        return ca
    try:
        if Path(ca).is_dir():
            return ssl.create_default_context(capath=ca)
        return ssl.create_default_context(cafile=ca)
    except ssl.SSLError:
        raise ConfigurationError(f"ca={os.fspath(ca)!r} holds no certificates in PEM format") from None
    except OSError as error:
        raise ConfigurationError(f"ca={os.fspath(ca)!r} cannot be read: {error.strerror}") from None


def _is_incomplete(request: Request) -> bool:
    """Return True if the end of a streamed body was certainly not sent."""
    body = request.body
    if not isinstance(body, RequestStream) or body.is_complete:
        return False
    length = request.headers.get("content-length", "")
    return not length.isdecimal() or body.length_read < int(length)


def _log_attempt(request: Request, outcome: object, start: float) -> None:
    milliseconds = (time.perf_counter() - start) * 1000
    _log.debug("%s %s: %s, %.1f ms", request.method, request_target(request.path), outcome, milliseconds)
