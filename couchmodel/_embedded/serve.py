"""The router with a socket in front of it: an HTTP server that CouchDB's clients can talk to."""

import base64
import binascii
import hmac
import ipaddress
import socket
from collections.abc import AsyncIterable
from contextlib import aclosing
from typing import Final

from aiohttp import web

from couchmodel._embedded.answers import error_answer
from couchmodel._embedded.router import Router
from couchmodel._embedded.store import Store
from couchmodel._wire.messages import Request, Response, parse_target
from couchmodel._wire.users import ADMIN, NOBODY, User
from couchmodel.errors import BadRequestError, ConfigurationError, UnauthorizedError

__all__ = ["Server", "serve"]

SERVER: Final = "CouchDB/3.5.0 (couchmodel)"

WHOLE: Final = 1_048_576
"""Bytes of a body that is read before the router sees it; a longer one streams."""

LONGEST_LINE: Final = 65_536
"""Bytes of a request line or of a header, so that a query may have many keys."""

PATIENCE: Final = 3.0
"""Seconds that running requests have when the server is closed."""


class Server:
    """A server that listens. ``url`` is its address."""

    def __init__(self, runner: web.ServerRunner, url: str) -> None:
        self._runner = runner
        self.url = url

    async def close(self) -> None:
        """Listen no more, and let running requests come to an end. The store stays open."""
        await self._runner.cleanup()


async def serve(
    store: Store, host: str = "127.0.0.1", port: int = 5984, admin: tuple[str, str] | None = None
) -> Server:
    """Listen for requests to a store; with port 0, on any free port.

    ``admin`` is a name and a password. Without it everybody is an administrator, and the server only listens where
    nobody else can reach it.

    Raises:
        ConfigurationError: the server would be open to other machines.
        StoreFileError: the store cannot be opened.
    """
    if admin is None and not _is_loopback(host):
        raise ConfigurationError(f"everybody who reaches {host} could change everything: set an admin and a password")
    await store.open()
    front = _Front(Router(store), admin)
    server = web.Server(
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
        await web.TCPSite(runner, host, port).start()
    except BaseException:
        await runner.cleanup()
        raise
    return Server(runner, _url(host, runner.addresses[0][1]))


class _Front:
    """Turns HTTP into requests, and answers into HTTP."""

    def __init__(self, router: Router, admin: tuple[str, str] | None) -> None:
        self._router = router
        self._credentials = None if admin is None else f"{admin[0]}:{admin[1]}".encode()
        self._admin = ADMIN if admin is None else ADMIN._replace(name=admin[0])

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """The answer to one HTTP request, sent."""
        headers = {name.lower(): value for name, value in http.headers.items()}
        try:
            user = self._user(headers.get("authorization"))
            path, query = parse_target(http.raw_path)
        except (UnauthorizedError, BadRequestError) as error:
            return await _send(http, error_answer(error))
        request = Request(http.method, path, query, headers, await _body(http, headers), stream=True)
        return await _send(http, await self._router.answer(request, user))

    def _user(self, authorization: str | None) -> User:
        if self._credentials is None:
            return self._admin
        if authorization is None:
            return NOBODY
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic" or not hmac.compare_digest(_decoded(encoded), self._credentials):
            raise UnauthorizedError("Name or password is incorrect.")
        return self._admin


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded.strip())
    except (binascii.Error, ValueError):
        return b""


async def _body(http: web.BaseRequest, headers: dict[str, str]) -> bytes | AsyncIterable[bytes] | None:
    if not http.body_exists:
        return None
    if headers.get("expect", "").lower() == "100-continue":
        await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    length = http.content_length
    if length is not None and length <= WHOLE:
        return await http.content.read()
    return http.content.iter_any()


async def _send(http: web.BaseRequest, answer: Response) -> web.StreamResponse:
    headers = {**answer.headers, "server": SERVER}
    if answer.stream is None and http.method != "HEAD":
        whole = web.Response(status=answer.status, headers=headers, body=answer.body)
        await whole.prepare(http)
        await whole.write_eof()
        return whole
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(http)
    if answer.stream is not None:
        async with aclosing(answer.stream) as pieces:
            async for piece in pieces:
                await response.write(piece)
    await response.write_eof()
    return response


def _is_loopback(host: str) -> bool:
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise ConfigurationError(f"there is no host {host!r}") from error
    return all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in addresses)


def _url(host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"
