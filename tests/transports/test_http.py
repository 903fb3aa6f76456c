"""What can go wrong between here and a server, and what is said of it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest

from couchmodel import ConnectError, ProtocolError, RequestTimeoutError, UnauthorizedError, connect
from couchmodel._embedded.server.http import serve
from couchmodel._embedded.storage.store import Store
from couchmodel.engine import CouchDB

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def answering() -> AsyncIterator[Callable[[bytes | None], Awaitable[str]]]:
    """Starts a server that says some bytes to each request, or nothing at all; gives its URL."""
    servers: list[asyncio.Server] = []

    async def start(said: bytes | None) -> str:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            if said is None:
                await reader.read()
            else:
                writer.write(said)
                await writer.drain()
            writer.close()

        servers.append(await asyncio.start_server(answer, "127.0.0.1", 0))
        host, port = servers[-1].sockets[0].getsockname()
        return f"http://me:secret@{host}:{port}"

    yield start
    for server in servers:
        server.close()


async def test_an_unreachable_server_is_a_connect_error() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://me:secret@127.0.0.1:{closed.getsockname()[1]}"
        async with CouchDB(url) as couch:
            with pytest.raises(ConnectError, match=r"127.0.0.1.*cannot be reached.*is CouchDB running") as caught:
                await couch.info()
    assert "secret" not in str(caught.value)


async def test_a_wrong_password_is_unauthorized() -> None:
    store = Store(None)
    server = await serve(store, "127.0.0.1", 0, ("admin", "right"))
    try:
        async with connect(server.url.replace("://", "://admin:wrong@")) as couch:
            with pytest.raises(UnauthorizedError, match="401 unauthorized: Name or password is incorrect") as caught:
                await couch.keys()
    finally:
        await server.close()
        await store.close()
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
        b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"",
    ],
    ids=["cut off", "HTML", "redirect", "not HTTP", "closed"],
)
async def test_an_answer_that_is_not_couchdbs_is_a_protocol_error(
    said: bytes, answering: Callable[[bytes | None], Awaitable[str]]
) -> None:
    async with CouchDB(await answering(said)) as couch:
        with pytest.raises(ProtocolError, match="GET /") as caught:
            await couch.info()
    assert "secret" not in str(caught.value)


async def test_a_server_that_hangs_is_a_timeout(answering: Callable[[bytes | None], Awaitable[str]]) -> None:
    couch = CouchDB(await answering(None), timeout=aiohttp.ClientTimeout(sock_read=0.05))
    async with couch:
        with pytest.raises(RequestTimeoutError, match="stopped answering"):
            await couch.info()


async def test_an_error_that_is_not_couchdbs_keeps_its_words(
    answering: Callable[[bytes | None], Awaitable[str]],
) -> None:
    url = await answering(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 11\r\n\r\nno upstream")
    async with CouchDB(url) as couch:
        with pytest.raises(Exception, match=r"502 .*no upstream \(GET /\)"):
            await couch.info()


def test_one_transport_serves_several_loops_one_after_the_other() -> None:
    async def once() -> None:
        store = Store(None)
        server = await serve(store, "127.0.0.1", 0, None)
        async with CouchDB(server.url) as couch:
            await couch.info()
        await server.close()
        await store.close()

    asyncio.run(once())
    asyncio.run(once())
