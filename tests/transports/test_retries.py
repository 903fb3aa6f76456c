"""What is sent again, what is not, and what is said where nobody can tell."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from couchmodel import ConfigurationError, ConflictError, ConnectError, ProtocolError, ResponseError
from couchmodel._wire.messages import Request
from couchmodel.engine import CouchDB, Session
from couchmodel.transports import Patience, RetryPolicy
from tests.transports.conftest import Scripted, say

Start = Callable[..., Awaitable[Scripted]]

NOTHING_SAID = b""
BUSY = say("503 Service Unavailable", b'{"error":"down","reason":"starting"}')
CONFLICT = say("409 Conflict", b'{"error":"conflict","reason":"Document update conflict."}')
STORED = say("201 Created", b'{"ok":true,"id":"doc","rev":"2-b"}')
EDIT = b'{"_id":"doc","_rev":"1-a","n":2}'


Open = Callable[..., Session]

READS = [
    Request("GET", ("db", "doc")),
    Request("HEAD", ("db", "doc")),
    *(
        Request("POST", path, body=b"{}")
        for path in (
            ("db", "_find"),
            ("db", "_all_docs"),
            ("db", "_all_docs", "queries"),
            ("db", "_bulk_get"),
            ("db", "_revs_diff"),
            ("db", "_explain"),
            ("db", "_design", "x", "_view", "y"),
            ("db", "_partition", "p", "_find"),
            ("db", "_partition", "p", "_design", "x", "_view", "y"),
            ("_dbs_info",),
        )
    ),
]
WRITES = [
    Request("PUT", ("db",)),
    Request("PUT", ("db", "doc"), body=b'{"n":1}'),
    Request("PUT", ("db", "_local", "doc"), body=b'{"_rev":"0-1"}'),
    Request("PUT", ("db", "_security"), body=b"{}"),
    Request("PUT", ("db", "doc"), {"batch": "ok", "rev": "1-a"}, body=b"{}"),
    Request("POST", ("db",), body=b"{}"),
    Request("POST", ("_find",), body=b"{}"),
    Request("POST", ("db", "_bulk_docs"), body=b'{"docs":[]}'),
    Request("POST", ("db", "_design", "x", "_update", "_view"), body=b"{}"),
    Request("DELETE", ("db",)),
]


@pytest.mark.parametrize("request_", READS, ids=repr)
@pytest.mark.parametrize("said", [NOTHING_SAID, BUSY], ids=["closed", "busy"])
async def test_a_read_is_repeated(request_: Request, said: bytes, scripted: Start, line: Open) -> None:
    server = await scripted(said, say(body=b""))
    session = line(server)
    await session.send(request_)
    assert len(server.heard) == 2


@pytest.mark.parametrize("request_", WRITES, ids=repr)
@pytest.mark.parametrize("said", [NOTHING_SAID, BUSY], ids=["closed", "busy"])
async def test_any_other_write_is_sent_once(request_: Request, said: bytes, scripted: Start, line: Open) -> None:
    server = await scripted(say(), said, say())
    session = line(server)
    await session.get(())  # the connection has served before
    with pytest.raises((ProtocolError, ResponseError), match=rf"{request_.method} /"):
        await session.send(request_)
    assert len(server.heard) == 2


async def test_a_write_that_got_no_answer_says_so(scripted: Start, line: Open) -> None:
    session = line(await scripted(NOTHING_SAID))
    with pytest.raises(ProtocolError, match=r"unknown whether the write was carried out \(POST /db\)") as caught:
        await session.send(Request("POST", ("db",), body=b"{}"))
    assert caught.value.carried_out is None


@pytest.mark.parametrize(
    "write",
    [
        Request("PUT", ("db", "doc"), body=EDIT),
        Request("PUT", ("db", "_design", "doc"), body=EDIT),
        Request("PUT", ("db", "doc", "file.txt"), {"rev": "1-a"}, body=b"text"),
        Request("PUT", ("db", "doc"), {"new_edits": "false"}, body=EDIT),
        Request("DELETE", ("db", "doc"), {"rev": "1-a"}),
        Request("DELETE", ("db", "doc"), headers={"if-match": "1-a"}),
    ],
    ids=repr,
)
@pytest.mark.parametrize("said", [NOTHING_SAID, BUSY], ids=["closed", "busy"])
async def test_a_write_with_a_revision_is_repeated(write: Request, said: bytes, scripted: Start, line: Open) -> None:
    server = await scripted(said, STORED)
    session = line(server)
    assert (await session.json(write))["rev"] == "2-b"
    assert [heard.body for heard in server.heard] == [write.body or b""] * 2


async def test_a_repeat_that_meets_anothers_change_is_a_conflict(scripted: Start, line: Open) -> None:
    theirs = say(body=b'{"_id":"doc","_rev":"2-b","n":3,"_revisions":{"start":2,"ids":["b","a"]}}')
    session = line(await scripted(NOTHING_SAID, CONFLICT, theirs))
    with pytest.raises(ConflictError):
        await session.send(Request("PUT", ("db", "doc"), body=EDIT))


@pytest.mark.parametrize(
    "stored",
    [
        say(body=b'{"_id":"doc","_rev":"2-b","n":2,"_revisions":{"start":2,"ids":["b","a"]}}'),
        say(body=b'{"_id":"doc","_rev":"3-c","n":3,"_revisions":{"start":3,"ids":["c","b","a"]}}'),
        say("404 Object Not Found", b'{"error":"not_found","reason":"deleted"}'),
        say(body=b"<html>"),
        NOTHING_SAID,
    ],
    ids=["the same", "changed since", "deleted since", "not CouchDB's", "closed"],
)
async def test_a_repeat_whose_conflict_may_be_with_its_own_first_try_is_told(
    stored: bytes, scripted: Start, line: Open
) -> None:
    session = line(await scripted(NOTHING_SAID, CONFLICT, stored))
    with pytest.raises(ProtocolError, match=r"unknown whether .* answered 409 \(PUT /db/doc\)") as caught:
        await session.send(Request("PUT", ("db", "doc"), body=EDIT))
    assert isinstance(caught.value.__cause__, ProtocolError)


async def test_a_deletion_that_got_no_answer_is_not_taken_for_done(scripted: Start, line: Open) -> None:
    gone = say("404 Object Not Found", b'{"error":"not_found","reason":"deleted"}')
    session = line(await scripted(NOTHING_SAID, gone))
    with pytest.raises(ProtocolError, match=r"unknown whether .* answered 404 \(DELETE /db/doc\)"):
        await session.send(Request("DELETE", ("db", "doc"), {"rev": "1-a"}))


@pytest.mark.parametrize("tries", [1, 3])
async def test_attempts_end(tries: int, scripted: Start, line: Open) -> None:
    server = await scripted(BUSY)
    session = line(server, retry_policy=RetryPolicy(attempts=tries, backoff=0.001))
    with pytest.raises(ResponseError, match=r"503 down: starting \(GET /\)"):
        await session.get(())
    assert len(server.heard) == tries


@pytest.mark.parametrize("body", [None, b"{}"])
async def test_a_server_that_answers_429_has_done_nothing(body: bytes | None, scripted: Start, line: Open) -> None:
    server = await scripted(say("429 Too Many Requests", b"{}", "Retry-After: 0"), say())
    session = line(server, retry_policy=RetryPolicy(backoff=60))
    await session.send(Request("POST", ("db",), body=body))
    assert len(server.heard) == 2


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.parametrize("later", ["1", format_datetime(datetime.now(UTC) + timedelta(days=365), usegmt=True)])
async def test_a_server_that_asks_for_too_much_is_not_asked_again(
    status: str, later: str, scripted: Start, line: Open
) -> None:
    server = await scripted(say(status, b"{}", f"Retry-After: {later}"))
    session = line(server, retry_policy=RetryPolicy(retry_after_max=0.5))
    with pytest.raises(ResponseError, match=f"{status[:3]} "):
        await session.get(())
    assert len(server.heard) == 1


async def test_the_time_that_a_server_asks_for_is_waited(scripted: Start, line: Open) -> None:
    session = line(await scripted(say("503 Service Unavailable", b"{}", "Retry-After: 1"), say()))
    start = time.monotonic()
    await session.get(())
    assert time.monotonic() - start >= 1


async def test_a_refused_connection_is_tried_again_for_any_request(unused_tcp_port: int, line: Open) -> None:
    session = line(f"http://127.0.0.1:{unused_tcp_port}")
    with pytest.raises(ConnectError, match=r"cannot be reached .*\(POST /db\)") as caught:
        await session.send(Request("POST", ("db",), body=b"{}"))
    assert caught.value.carried_out is False


async def test_a_last_try_that_does_not_connect_does_not_hide_the_first(scripted: Start, line: Open) -> None:
    server = await scripted(say(), NOTHING_SAID)
    session = line(server)
    await session.get(())
    server.stop_listening()
    with pytest.raises(ProtocolError, match="unknown whether the write was carried out"):
        await session.send(Request("PUT", ("db", "doc"), body=EDIT))


@pytest.mark.parametrize(
    "options",
    [{"attempts": 0}, {"attempts": 1.5}, {"read_timeout": -1}, {"connect": "soon"}, {"backoff": float("nan")}],
)
def test_a_retry_policy_that_cannot_work_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=f"RetryPolicy\\({next(iter(options))}="):
        RetryPolicy(**options)  # type: ignore[arg-type]


async def test_patience_is_a_retry_policy_with_a_warning(scripted: Start, line: Open) -> None:
    with pytest.warns(DeprecationWarning, match="Patience is now RetryPolicy") as warned:
        former = Patience(tries=2, silence=20, backoff=0.001)
    assert warned[0].filename == __file__
    assert (former.attempts, former.read_timeout, former.backoff) == (2, 20, 0.001)
    assert (former.tries, former.silence) == (2, 20)
    server = await scripted(BUSY)
    with pytest.raises(ResponseError):
        await line(server, former).get(())
    assert len(server.heard) == 2


async def test_the_argument_patience_is_retry_policy_with_a_warning(scripted: Start) -> None:
    server = await scripted(BUSY)
    with pytest.warns(DeprecationWarning, match="patience= is now retry_policy=") as warned:
        couch = CouchDB(server.url, patience=RetryPolicy(attempts=2, backoff=0.001))
    assert warned[0].filename == __file__
    async with couch:
        with pytest.raises(ResponseError):
            await couch.info()
    assert len(server.heard) == 2


@pytest.mark.filterwarnings("ignore:Patience is now")
def test_patience_is_compared_copied_and_checked_as_a_retry_policy() -> None:
    former = Patience(tries=2)
    assert former == Patience(attempts=2)
    assert replace(former, tries=3, silence=9) == Patience(tries=3, silence=9)  # type: ignore[call-arg]
    assert replace(former, backoff=1).tries == 2
    assert Patience().tries == RetryPolicy().attempts
    with pytest.raises(ConfigurationError, match="attempts=0"):
        Patience(tries=0)
