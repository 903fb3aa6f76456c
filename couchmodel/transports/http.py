"""A CouchDB server, reached by HTTP with aiohttp: the only module that sees aiohttp's client and its exceptions."""

import asyncio
import base64
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import Any, Final, NoReturn
from urllib.parse import unquote, urlsplit, urlunsplit
from weakref import WeakKeyDictionary

import aiohttp
from yarl import URL

from couchmodel._wire.messages import Request, Response, target
from couchmodel.errors import ConfigurationError, ConnectError, ProtocolError, RequestTimeoutError
from couchmodel.transports.outgoing import Outgoing

__all__ = ["HTTPTransport", "redact"]

_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
"""Seconds to connect, and seconds without a byte. A large body may take as long as it keeps coming."""

_CHUNK: Final = 64 * 1024


class HTTPTransport:
    """A CouchDB server or cluster.

    A connection pool is made for each running loop, on its first request, so one transport serves programs that start
    several loops one after the other, as test suites do.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str | None = None,
        password: str | None = None,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        """``url`` may hold the credentials; ``options`` go to :class:`aiohttp.ClientSession`.

        Raises ConfigurationError for a URL that names no server.
        """
        self.url, from_url = _split_credentials(url)
        credentials = (user or "", password or "") if user is not None else from_url
        self._headers = dict(headers or {})
        if credentials is not None:
            self._headers["Authorization"] = _basic(*credentials)
        self._options: dict[str, Any] = {"timeout": _TIMEOUT, **options}
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"<HTTPTransport {self.url}>"

    async def send(self, request: Request) -> Response:
        """The server's answer. Raises ConnectError, RequestTimeoutError or ProtocolError where none came."""
        session = self._sessions.get(asyncio.get_running_loop()) or self._open()
        body = Outgoing(request.body) if isinstance(request.body, AsyncIterable) else request.body
        try:
            answer = await session.request(
                request.method,
                URL(self.url + target(request.path, request.query), encoded=True),
                headers=request.headers,
                data=body,
                allow_redirects=False,
            )
            if request.stream and answer.status < 400:
                return Response(answer.status, answer.headers, stream=_Body(self, request, answer))
            return Response(answer.status, answer.headers, await answer.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            if isinstance(body, Outgoing) and body.error is not None:
                raise body.error from None
            self.translate(error, request)

    async def close(self) -> None:
        """Close the connections of the running loop."""
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await session.close()

    def translate(self, error: Exception, request: Request) -> NoReturn:
        """Raise the error of the tree for one of aiohttp's."""
        asked = f"{request.method} {target(request.path)}"
        match error:
            case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
                raise ConnectError(f"the TLS connection to {self.url} failed: {error}") from error
            case aiohttp.ConnectionTimeoutError():
                raise ConnectError(f"{self.url} did not accept a connection in time; is that its address?") from error
            case aiohttp.ClientConnectorError():
                raise ConnectError(f"{self.url} cannot be reached ({error.strerror}); is CouchDB running?") from error
            case TimeoutError():
                raise RequestTimeoutError(f"{self.url} stopped answering ({asked})") from error
            case _:
                said = str(error) or type(error).__name__
                raise ProtocolError(f"the answer of {self.url} was cut off or is not HTTP: {said} ({asked})") from error

    def _open(self) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(headers=self._headers, **self._options)
        self._sessions[asyncio.get_running_loop()] = session
        return session


class _Body:
    """The body of an answer that is still arriving."""

    def __init__(self, transport: HTTPTransport, request: Request, answer: aiohttp.ClientResponse) -> None:
        self._transport = transport
        self._request = request
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._answer.content.iter_chunked(_CHUNK):
                yield chunk
        except (aiohttp.ClientError, TimeoutError) as error:
            self._transport.translate(error, self._request)
        finally:
            self._answer.close()

    async def aclose(self) -> None:
        """Give the connection up. One that has delivered its whole body went back to the pool by itself."""
        self._answer.close()


def redact(url: str) -> str:
    """The URL without its credentials."""
    scheme, separator, rest = url.rpartition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"


def _split_credentials(url: str) -> tuple[str, tuple[str, str] | None]:
    try:
        parts = urlsplit(url)
        has_port = parts.port != 0
    except ValueError:
        raise ConfigurationError(f"{redact(url)!r} is no URL of a server: its host or port is malformed") from None
    if not parts.hostname or not has_port:
        raise ConfigurationError(f"{redact(url)!r} names no server: write http://HOST:PORT")
    if parts.query or parts.fragment:
        raise ConfigurationError(f"{redact(url)!r} has a query or a fragment: write http://HOST:PORT")
    bare = urlunsplit((parts.scheme.lower(), parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
    if parts.username is None:
        return bare, None
    return bare, (unquote(parts.username), unquote(parts.password or ""))


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
