"""A server that says what a test tells it to, however odd."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from couchmodel.engine import Session
from couchmodel.transports import HTTPTransport, RetryPolicy

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

QUICK = RetryPolicy(backoff=0.001)


class Heard(NamedTuple):
    """A request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Scripted:
    """A server on loopback: it gives the next answer of its script to each request, and the last one for ever after.

    None is silence. Nothing is ``b""``: the connection is closed instead of an answer. ``answer``, where there is one,
    does all that is done with a connection.
    """

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.script: list[bytes | None] = []
        self.heard: list[Heard] = []
        self.connections = 0
        self.url = ""
        self.server: asyncio.Server | None = None
        self._serving: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._serving[asyncio.current_task()] = writer
        try:
            while await self._answer(reader, writer):
                pass
        except (EOFError, ConnectionError):
            pass
        finally:
            writer.close()

    def stop_listening(self) -> None:
        if self.server is not None:
            self.server.close()

    async def hang_up(self) -> None:
        self.stop_listening()
        for writer in self._serving.values():
            writer.transport.abort()
        await asyncio.gather(*filter(None, self._serving))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if self.answer is not None:
            await self.answer(reader, writer)
            return False
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
        said = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        body = await _body(reader, headers)
        method, target, _ = line.split(" ", 2)
        self.heard.append(Heard(method, target, headers, body))
        if said is None:
            await reader.read()
            return False
        writer.write(said)
        await writer.drain()
        return bool(said) and b"connection: close" not in said.lower()


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "chunked" not in headers.get("transfer-encoding", ""):
        return await reader.readexactly(int(headers.get("content-length", 0)))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")
    return body


def say(status: str = "200 OK", body: bytes = b'{"ok":true}', *headers: str, length: int | None = None) -> bytes:
    """An answer of a server; ``length`` may lie about the body."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


@pytest.fixture
async def scripted() -> AsyncIterator[Callable[..., Awaitable[Scripted]]]:
    """Starts a server with a script."""
    started: list[Scripted] = []

    async def start(*script: bytes | None) -> Scripted:
        peer = Scripted()
        started.append(peer)
        peer.script = list(script)
        peer.server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
        host, port = peer.server.sockets[0].getsockname()
        peer.url = f"http://{host}:{port}"
        return peer

    yield start
    for peer in started:
        await peer.hang_up()


@pytest.fixture
async def line() -> AsyncIterator[Callable[..., Session]]:
    """Opens a session with a scripted server, or with a URL."""
    opened: list[Session] = []

    def open_(server: Scripted | str, retry_policy: RetryPolicy = QUICK, **options: Any) -> Session:
        url = server if isinstance(server, str) else server.url
        session = Session(HTTPTransport(url, retry_policy=retry_policy, **options))
        opened.append(session)
        return session

    yield open_
    for session in opened:
        await session.close()
    await asyncio.sleep(0.01)  # the loop lets go of a closed socket in one of its next turns
