"""The router as an HTTP server, spoken to by a plain socket and by a client."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator

import aiohttp
import pytest

from couchmodel._embedded.auth.passwords import admin_line
from couchmodel._embedded.server.http import Server, serve
from couchmodel._embedded.storage.store import Store
from couchmodel.errors import ConfigurationError

ADMIN = ("admin", "pässword:with colon")
CREDENTIALS = "Basic " + b64encode(":".join(ADMIN).encode()).decode()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server with an administrator and a database."""
    store = Store(None)
    await store.create_database("db")
    server = await serve(store, "127.0.0.1", 0, (ADMIN[0], admin_line(ADMIN[1], iterations=1)))
    yield server
    await server.close()
    await store.close()


@pytest.fixture
async def http(server: Server) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that is the administrator."""
    async with aiohttp.ClientSession(server.url, headers={"Authorization": CREDENTIALS}) as session:
        yield session


async def exchange(server: Server, *pieces: str | bytes) -> bytes:
    """What the server answers to these bytes."""
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for piece in pieces:
        writer.write(piece.encode() if isinstance(piece, str) else piece)
        await writer.drain()
    answer = await reader.read()
    writer.close()
    return answer


def head(method: str, target: str, *headers: str) -> str:
    lines = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close", f"Authorization: {CREDENTIALS}"]
    return "\r\n".join([*lines, *headers, "", ""])


@pytest.mark.parametrize("target", ["/db/..", "/db/%2e%2e", "/db/a%2Fb", "/db/a+b", "/db/a%2Bb", "/db/%E2%98%83"])
async def test_an_id_reaches_the_store_as_it_is(server: Server, target: str) -> None:
    put = await exchange(server, head("PUT", target, "Content-Length: 2"), b"{}")
    assert put.startswith(b"HTTP/1.1 201")
    assert (await exchange(server, head("GET", target))).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("target", ["/db/%zz", "/db/%", "/db/a?rev=%f"])
async def test_a_broken_escape_is_refused(server: Server, target: str) -> None:
    answer = await exchange(server, head("GET", target))
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.endswith(b'{"error":"bad_request","reason":"invalid_url_encoding"}\n')


async def test_a_client_that_asks_first_is_told_to_go_on(server: Server) -> None:
    answer = await exchange(server, head("PUT", "/db/a", "Expect: 100-continue", "Content-Length: 2"), b"{}")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201")


async def test_a_head_has_the_length_and_no_body(server: Server) -> None:
    await exchange(server, head("PUT", "/db/a", "Content-Length: 2"), b"{}")
    got = await exchange(server, head("GET", "/db/a"))
    answer = await exchange(server, head("HEAD", "/db/a"))
    assert answer.endswith(b"\r\n\r\n")
    length = len(got.partition(b"\r\n\r\n")[2])
    assert f"content-length: {length}\r\n".encode() in answer.lower()


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        (None, "You are not authorized to access this db."),
        ("Basic " + b64encode(b"admin:wrong").decode(), "Name or password is incorrect."),
        ("Basic " + b64encode(b"nobody:x").decode(), "Name or password is incorrect."),
        ("Basic " + b64encode(b"_:_").decode(), "You are not authorized to access this db."),
        ("Bearer token", "You are not authorized to access this db."),
    ],
)
async def test_a_stranger_is_refused(server: Server, authorization: str | None, reason: str) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    async with aiohttp.ClientSession(server.url) as stranger, stranger.get("/db/a", headers=headers) as answer:
        assert (answer.status, await answer.json()) == (401, {"error": "unauthorized", "reason": reason})


async def test_the_session_says_who_asks(http: aiohttp.ClientSession) -> None:
    async with http.get("/_session") as answer:
        assert (await answer.json())["userCtx"] == {"name": "admin", "roles": ["_admin"]}


async def test_large_bodies_stream_both_ways(http: aiohttp.ClientSession) -> None:
    data = bytes(range(256)) * 20_000

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 100_000):
            yield data[start : start + 100_000]

    async with http.put("/db/a/file", data=pieces(), headers={"Content-Type": "image/png"}) as answer:
        assert answer.status == 201
    async with http.get("/db/a/file") as answer:
        assert answer.content_length == len(data)
        assert await answer.read() == data


async def test_a_compressed_document_is_unpacked(http: aiohttp.ClientSession) -> None:
    async with http.put("/db/a", json={"text": "x" * 1000}, compress="gzip") as answer:
        assert answer.status == 201
    async with http.get("/db/a") as answer:
        assert (await answer.json())["text"] == "x" * 1000


async def test_a_feed_over_http_tells_changes_as_they_come(http: aiohttp.ClientSession) -> None:
    async with http.get("/db/_changes?feed=continuous&since=now") as answer:
        assert (await answer.content.readline()) == b"\n"
        async with http.put("/db/a", json={}):
            pass
        assert json.loads(await answer.content.readline())["id"] == "a"


async def test_a_client_that_does_not_read_holds_up_nobody(server: Server, http: aiohttp.ClientSession) -> None:
    for _ in range(10):
        async with http.post("/db/_bulk_docs", json={"docs": [{"text": "x" * 1000}] * 500}) as answer:
            assert answer.status == 201
    host, port = server.url.removeprefix("http://").split(":")
    idle = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
    for _, writer in idle:
        writer.write(head("GET", "/db/_changes?include_docs=true&feed=continuous").encode())
    for _ in range(20):
        async with http.get("/db") as answer:
            assert (await answer.json())["doc_count"] == 5000
    for _, writer in idle:
        writer.close()
    await asyncio.wait_for(server.close(), 30)


async def test_closing_ends_a_feed_that_waits(server: Server, http: aiohttp.ClientSession) -> None:
    async with http.get("/db/_changes?feed=continuous&since=now") as answer:
        await answer.content.readline()
        await asyncio.wait_for(server.close(), 30)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "8.8.8.8"])  # noqa: S104 - it is refused
async def test_an_open_server_only_listens_where_nobody_else_can_reach_it(host: str) -> None:
    with pytest.raises(ConfigurationError, match="--admin NAME:PASSWORD"):
        await serve(Store(None), host, 0)


async def test_without_an_administrator_everybody_is_one() -> None:
    store = Store(None)
    server = await serve(store, "127.0.0.1", 0)
    async with aiohttp.ClientSession(server.url) as anyone, anyone.put("/db") as answer:
        assert answer.status == 201
    await server.close()
    await store.close()
