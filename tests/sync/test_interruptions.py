"""A replication that is cut off, or meets a server with no time, loses nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from couchmodel import Connection, TransportError, UnauthorizedError, connect
from couchmodel._retry import Backoff
from couchmodel._wire.messages import Request, Response, Transport
from couchmodel.engine import CouchDB, Database
from couchmodel.errors import ForbiddenError, ServerError
from couchmodel.sync import follow, replicate

Answer = Callable[[Request], Awaitable[Response | None]]


class Unreliable:
    """A way to a database on which ``answer`` may answer in the server's place, or raise."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.answer: Answer | None = None

    async def send(self, request: Request) -> Response:
        said = await self.answer(request) if self.answer else None
        return said or await self._transport.send(request)

    async def close(self) -> None:
        pass


@pytest.fixture
async def source(couch: Connection, database: Database) -> Database:
    async with database.create_docs([f"d{number:04}" for number in range(1500)]):
        pass
    return database


@pytest.fixture
async def line() -> AsyncIterator[Unreliable]:
    async with connect("memory:") as couch:
        await couch.create("target")
        yield Unreliable(couch.session.transport)


@pytest.fixture
def target(line: Unreliable) -> Database:
    return CouchDB(line).database("target")


def failing(line: Unreliable, endpoint: str, after: int, failure: Response | Exception, times: int = 1000) -> None:
    """Let an endpoint fail ``times`` times when it has been asked ``after`` times."""
    asked = 0

    async def answer(request: Request) -> Response | None:
        nonlocal asked
        asked += endpoint in request.path
        if endpoint not in request.path or not after < asked <= after + times:
            return None
        if isinstance(failure, Exception):
            raise failure
        return failure

    line.answer = answer


async def count(target: Database) -> int:
    return (await target.info())["doc_count"]


async def test_what_was_cut_off_goes_on(
    source: Database, line: Unreliable, target: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("couchmodel._replication.peer._BACKOFF", Backoff(0.001))
    failing(line, "_bulk_docs", 7, TransportError("cut"))
    with pytest.raises(TransportError):
        await replicate(source, target)
    assert 0 < await count(target) < 1500
    line.answer = None
    done = await replicate(source, target)
    assert await count(target) == 1500
    assert done.missing_found < 1500
    assert (await replicate(source, target)).missing_checked == 0


@pytest.mark.parametrize("failure", [TransportError("cut"), Response(429), Response(503)])
async def test_what_fails_for_a_moment_is_asked_again(
    source: Database, line: Unreliable, target: Database, failure: Response | Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("couchmodel._replication.peer._BACKOFF", Backoff(0.001))
    failing(line, "_bulk_docs", 2, failure, times=3)
    assert (await replicate(source, target)).docs_written == 1500


@pytest.mark.parametrize(("status", "error"), [(401, UnauthorizedError), (500, ServerError)])
async def test_a_target_that_refuses_all_ends_it(
    source: Database, line: Unreliable, target: Database, status: int, error: type[Exception]
) -> None:
    failing(line, "_bulk_docs", 3, Response(status))
    with pytest.raises(error):
        await replicate(source, target)
    line.answer = None
    await replicate(source, target)
    assert await count(target) == 1500


async def test_what_is_refused_is_counted_and_the_rest_arrives(
    source: Database, line: Unreliable, target: Database
) -> None:
    async def answer(request: Request) -> Response | None:
        body = await request.read() if "_bulk_docs" in request.path else b""
        return Response(413) if b'"d0007"' in body else None

    line.answer = answer
    done = await replicate(source, target)
    assert (done.docs_written, done.doc_write_failures) == (1499, 1)
    assert (await replicate(source, target)).missing_checked == 0


async def test_a_source_that_may_only_be_read_will_do(line: Unreliable, target: Database, database: Database) -> None:
    await (await target.create("pie")).save()

    async def answer(request: Request) -> Response | None:
        return Response(403) if request.method == "PUT" else None

    line.answer = answer
    assert (await replicate(target, database)).docs_written == 1
    assert (await replicate(target, database)).docs_written == 0
    with pytest.raises(ForbiddenError):
        await replicate(database, CouchDB(line).database("new"), create_target=True)


async def test_a_continuous_one_waits_for_the_connection(
    source: Database, line: Unreliable, target: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("couchmodel._replication.peer._BACKOFF", Backoff(0.001))
    monkeypatch.setattr("couchmodel.sync._BACKOFF", Backoff(0.001))
    failing(line, "_revs_diff", 3, TransportError("cut"), times=12)
    async with asyncio.timeout(30), follow(source, target) as following:
        await following.wait_until_caught_up()
        assert await count(target) == 1500


async def test_a_replication_that_fails_leaves_no_request_behind(
    source: Database, line: Unreliable, target: Database
) -> None:
    """A request that is sent again after its connection was closed would open another one."""
    from_line, waiting = Unreliable(source.session.transport), 0

    async def answer(request: Request) -> Response | None:
        nonlocal waiting
        if "_changes" in request.path and request.query["since"] != "0":
            waiting += 1
            try:
                await asyncio.Event().wait()
            finally:
                waiting -= 1
        return None

    from_line.answer = answer
    failing(line, "_bulk_docs", 0, Response(401))
    with pytest.raises(UnauthorizedError):
        await replicate(CouchDB(from_line).database(source.id), target)
    assert waiting == 0
