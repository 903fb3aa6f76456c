"""Servers that misbehave, and cuts in the middle: each ends in one error of the tree."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus

import pytest

from couchmodel import DocumentError, ProtocolError, Repository, RequestTimeoutError, ResponseError, TransportError
from couchmodel._wire.messages import Request
from couchmodel.engine import CouchDB, Session
from couchmodel.errors import ContentTooLargeError, TooManyRequestsError
from couchmodel.transports import RetryPolicy
from tests.models import Recipe
from tests.transports.conftest import Scripted, say

Start = Callable[..., Awaitable[Scripted]]
Open = Callable[..., Session]

ONCE = RetryPolicy(attempts=1)

ATTEMPTS = 5
"""How often what depends on who is faster is tried."""


async def pieces(count: int = 100, size: int = 64 * 1024) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * size


@pytest.mark.parametrize(
    "said",
    [
        say(body=b'{"a":', length=100),
        say(body=b'{"a":'),
        say(body=b"<html><body>Log in</body></html>"),
        say(body=b"\xff\xfe"),
        say(body=b""),
        say(body=b"{}", length=-1),
        say("302 Found", b"", "Location: https://me:secret@proxy/login?token=secret"),
        say("302 Found", b"", "Location: http://[bad"),
        say("200 OK", b"not gzip", "Content-Encoding: gzip"),
        say("200 OK", gzip.compress(b'{"a":1}')[:-12], "Content-Encoding: gzip"),
        say("200 OK", b"{}", "X-Long: " + "x" * 100_000),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"",
    ],
    ids=[
        *("cut off", "half JSON", "HTML", "not UTF-8", "empty", "negative length", "redirect", "redirect to nowhere"),
        *("not gzip", "half gzip", "long header", "bad chunk", "cut chunk", "bad status", "SSH", "closed"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_is_not_couchdbs_is_a_protocol_error(
    said: bytes, stream: bool, scripted: Start, line: Open
) -> None:
    server = await scripted(said and said.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
    session = line(server.url.replace("://", "://me:secret@"))
    with pytest.raises(ProtocolError, match=r"\(GET /db\)") as caught:
        await _json(session, Request("GET", ("db",), stream=stream))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [400, 404, 413, 429, 500, 502, 503, 599])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_keeps_couchdbs_reason(status: int, stream: bool, scripted: Start, line: Open) -> None:
    server = await scripted(say(f"{status} Odd", b'{"error":"oops","reason":"Something happened."}'))
    with pytest.raises(ResponseError, match=rf"^{status} oops: Something happened\. \(GET /db/a%2Fb\)") as caught:
        await line(server).send(Request("GET", ("db", "a/b"), {"rev": "1-a"}, stream=stream))
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"<html>\n  <h1>Bad gateway</h1>\n</html>", "<html> <h1>Bad gateway</h1> </html>"),
        (b"x" * 100_000, "x" * 200),
        (b"", "Bad Gateway"),
        (b'{"error":"half', '{"error":"half'),
        (b"[]", "[]"),
        (b'{"error":null}', '{"error":null}'),
    ],
)
async def test_an_error_that_is_not_couchdbs_keeps_its_words(
    said: bytes, reason: str, scripted: Start, line: Open
) -> None:
    with pytest.raises(ResponseError) as caught:
        await line(await scripted(say("502 Bad Gateway", said)), ONCE).get(("db",))
    assert caught.value.reason == reason


async def test_a_wait_that_the_server_asks_for_is_told(scripted: Start, line: Open) -> None:
    server = await scripted(say("429 Too Many Requests", b"", "Retry-After: 3600"))
    with pytest.raises(TooManyRequestsError, match=r"429 .*; the server asks to wait 3600 seconds"):
        await line(server).get(("db",))


@pytest.mark.parametrize(
    "retry_policy",
    [RetryPolicy(read_timeout=0.05), RetryPolicy(request=0.05), RetryPolicy(total=0.05)],
    ids=["read_timeout", "request", "total"],
)
async def test_a_server_that_hangs_is_a_timeout_and_is_not_asked_again(
    retry_policy: RetryPolicy, scripted: Start, line: Open
) -> None:
    server = await scripted(None)
    with pytest.raises(RequestTimeoutError, match=r"stopped answering \(GET /db\)"):
        await line(server, retry_policy).get(("db",))
    assert len(server.heard) == 1


async def test_the_total_holds_for_all_tries_and_waits(scripted: Start, line: Open) -> None:
    server = await scripted(say("503 Busy", b"", "Retry-After: 5"))
    with pytest.raises(RequestTimeoutError):
        await line(server, RetryPolicy(total=0.05)).get(("db",))


async def test_a_write_without_an_answer_in_time_says_that_its_outcome_is_unknown(scripted: Start, line: Open) -> None:
    with pytest.raises(
        RequestTimeoutError, match=r"unknown whether the write was carried out \(PUT /db/doc\)"
    ) as caught:
        await line(await scripted(None), RetryPolicy(read_timeout=0.05)).send(Request("PUT", ("db", "doc"), body=b"{}"))
    assert caught.value.carried_out is None


async def test_a_feed_may_be_silent_for_as_long_as_it_says(scripted: Start, line: Open) -> None:
    server = await scripted(None)
    feed = Request("GET", ("db", "_changes"), {"feed": "longpoll", "timeout": "100"})
    asking = asyncio.ensure_future(line(server, RetryPolicy(read_timeout=0.05)).get(feed.path, feed.query))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(asking), 0.3)
    asking.cancel()


async def test_a_cut_in_the_middle_of_a_download_is_a_protocol_error(scripted: Start, line: Open) -> None:
    server = await scripted(say(body=b"x" * 1000, length=2000) + b"", say())
    server.script[0] = (server.script[0] or b"").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    session = line(server)
    response = await session.send(Request("GET", ("db", "doc", "file"), stream=True))
    with pytest.raises(ProtocolError, match=r"cut off.*\(GET /db/doc/file\)"):
        await response.collect()
    assert await session.get(()) == {"ok": True}


@pytest.mark.parametrize("headers", [{}, {"content-length": str(100 * 64 * 1024)}], ids=["chunked", "with a length"])
async def test_a_cut_in_the_middle_of_an_upload_changes_nothing_and_says_so(
    headers: dict[str, str], scripted: Start, line: Open
) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(100_000)
        writer.transport.abort()

    server = await scripted()
    server.answer = cut
    session = line(server)
    with pytest.raises(TransportError, match=r"cut off, and not carried out.*\(PUT /db/doc/file\)") as caught:
        await session.send(Request("PUT", ("db", "doc", "file"), {"rev": "1-a"}, headers, pieces()))
    assert caught.value.carried_out is False


@pytest.mark.parametrize("said", [b"", say("503 Busy", b"")], ids=["closed", "busy"])
async def test_a_stream_that_has_gone_out_is_not_sent_again(said: bytes, scripted: Start, line: Open) -> None:
    server = await scripted(said, say())
    with pytest.raises((ProtocolError, ResponseError), match="PUT /db/doc/file"):
        await line(server).send(Request("PUT", ("db", "doc", "file"), {"rev": "1-a"}, body=pieces(3)))
    assert len(server.heard) == 1


async def test_a_stream_goes_out_once_its_server_is_there(unused_tcp_port: int, scripted: Start, line: Open) -> None:
    server = await scripted(say())
    session = line(f"http://127.0.0.1:{unused_tcp_port}", RetryPolicy(attempts=20, backoff=0.05, backoff_max=0.05))
    sending = asyncio.ensure_future(session.send(Request("PUT", ("db", "doc", "f"), body=pieces(3, 10))))
    late = await asyncio.start_server(server.serve, "127.0.0.1", unused_tcp_port)
    await sending
    assert server.heard[0].body == b"x" * 30
    late.close()


def refuse(listener: socket.socket, said: bytes, finish: bool) -> None:
    """Answer connections before they have sent all; blocking, as another process does it."""
    for _ in range(ATTEMPTS):
        connection, _ = listener.accept()
        with connection:
            heard = 0
            while heard < 100_000:
                heard += len(connection.recv(2**16))
            connection.sendall(said)
            while finish and connection.recv(2**20):
                pass


@pytest.mark.parametrize("status", [401, 403, 413])
@pytest.mark.parametrize("headers", [{}, {"content-length": str(100 * 64 * 1024)}], ids=["chunked", "with a length"])
@pytest.mark.parametrize("finish", [True, False], ids=["reads on", "closes"])
async def test_an_upload_that_is_refused_early_raises_what_the_server_said(
    status: int, headers: dict[str, str], finish: bool, line: Open
) -> None:
    said = say(f"{status} No", b'{"error":"no","reason":"file"}', "Connection: close")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        refusing = asyncio.ensure_future(asyncio.to_thread(refuse, listener, said, finish))
        session = line(f"http://127.0.0.1:{listener.getsockname()[1]}")
        for _ in range(ATTEMPTS):
            with pytest.raises(ResponseError, match=rf"^{status} no: file \(PUT /db/doc/file\)"):
                await session.send(Request("PUT", ("db", "doc", "file"), {"rev": "1-a"}, headers, pieces()))
        await refusing


async def test_an_error_that_is_cut_off_is_told_by_its_status(scripted: Start, line: Open) -> None:
    cut = say("413 Too Large", b'{"error":', "Connection: close", length=100)
    # Python 3.13 has another phrase for it.
    with pytest.raises(ContentTooLargeError, match=rf"{HTTPStatus(413).phrase} \(PUT /db/doc\)"):
        await line(await scripted(cut)).send(Request("PUT", ("db", "doc"), body=b"{}"))


async def test_what_the_source_of_an_upload_raises_comes_through(scripted: Start, line: Open) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise OSError("the disk is gone")

    session = line(await scripted(say()))
    with pytest.raises(OSError, match="the disk is gone"):
        await session.send(Request("PUT", ("db", "doc", "file"), body=broken()))
    assert await session.get(()) == {"ok": True}


@pytest.mark.parametrize("body", [None, b"{}", "stream"])
async def test_a_cancelled_task_leaves_the_pool_healthy(body: bytes | str | None, scripted: Start, line: Open) -> None:
    server = await scripted(None)
    session = line(server, connections=2)
    for _ in range(5):
        request = Request("POST", ("db",), body=pieces() if isinstance(body, str) else body)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(session.send(request), 0.05)
    server.script = [say()]
    assert await asyncio.wait_for(session.get(()), 30) == {"ok": True}


async def test_a_download_that_is_given_up_leaves_the_pool_healthy(scripted: Start, line: Open) -> None:
    session = line(await scripted(*[say(body=b"x" * 10_000_000)] * 5, say()), connections=2)
    for _ in range(5):
        response = await session.send(Request("GET", ("db",), stream=True))
        assert response.stream is not None
        await response.stream.aclose()
    assert await asyncio.wait_for(session.get(()), 30) == {"ok": True}


async def _json(session: Session, request: Request) -> object:
    response = await session.send(request)
    await response.collect()
    return await session.json(Request(request.method, request.path))


@pytest.mark.parametrize("said", [b'{"_id":"doc","a":', b"<html>", b"", b"[]", b'"text"'])
async def test_a_document_that_is_none_is_an_error_of_its_model(said: bytes, scripted: Start) -> None:
    server = await scripted(say(body=said))
    async with CouchDB(server.url) as couch:
        with pytest.raises(DocumentError, match="Recipe"):
            await Repository(Recipe, couch.database("db")).get("doc")


@pytest.mark.parametrize("said", [b'{"_id":"doc","a":', b"<html>", b"", b"[]", b'"text"'])
async def test_an_answer_that_is_no_document_is_a_protocol_error_of_the_engine(said: bytes, scripted: Start) -> None:
    server = await scripted(say(body=said))
    async with CouchDB(server.url) as couch:
        with pytest.raises(ProtocolError, match=r"not a document: .* \(GET /db/doc\)"):
            await couch.database("db").get("doc")
