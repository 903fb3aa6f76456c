"""The line to a server, on every backend."""

import asyncio
from typing import Any

import pytest

from couchmodel import ConnectError, Connection, NotFoundError, ResponseError
from couchmodel._wire.messages import Request, Response
from couchmodel.engine import CouchDB, Database, Session


async def test_an_error_says_what_was_asked_and_why_not(database: Database) -> None:
    with pytest.raises(NotFoundError, match=rf"^404 not_found: missing \(GET /{database.id}/a%2Fb\)$") as caught:
        await database.session.get((*database.path, "a/b"), {"attachments": "true"})
    error = caught.value
    assert (error.status, error.code, error.reason, error.method) == (404, "not_found", "missing", "GET")


async def test_an_error_without_a_body_says_what_its_status_means(database: Database) -> None:
    with pytest.raises(NotFoundError, match=r"404 not_found: .*Not Found \(HEAD /"):
        await database.session.send(Request("HEAD", (*database.path, "nobody")))


async def test_a_streamed_answer_that_is_an_error_is_raised(database: Database) -> None:
    with pytest.raises(ResponseError, match="missing"):
        await database.session.send(Request("GET", (*database.path, "nobody"), stream=True))


class _Counted(Response):
    decodings = 0

    def json(self) -> Any:
        self.decodings += 1
        return super().json()


async def test_an_answer_is_decoded_once() -> None:
    answers: list[_Counted] = []

    class Answering:
        async def send(self, request: Request) -> Response:
            answers.append(_Counted(200, body=b'{"_id":"a","_rev":"1-a","title":"Apple pie"}'))
            return answers[-1]

        async def close(self) -> None:
            """Nothing to close."""

    document = await CouchDB(Answering()).database("db").get("a")
    assert (document["title"], [answer.decodings for answer in answers]) == ("Apple pie", [1])


async def test_what_has_not_changed_is_no_error(database: Database) -> None:
    await database.session.send(Request("PUT", (*database.path, "a"), body=b"{}"))
    first = await database.session.send(Request("GET", (*database.path, "a")))
    again = Request("GET", (*database.path, "a"), headers={"if-none-match": first.headers["etag"]})
    assert (await database.session.send(again)).status == 304


async def test_closing_twice_is_harmless_and_a_closed_one_says_so(url: str) -> None:
    async with CouchDB(url) as couch:
        await couch.info()
        await couch.close()
    with pytest.raises(ConnectError, match=r"the connection is closed: .* \(GET /db/pie\)"):
        await couch.database("db").get("pie")


async def test_a_closed_one_is_opened_again_by_its_context(url: str, backend: str) -> None:
    couch = CouchDB(url)
    for _ in range(2):
        async with couch:
            if backend in ("serve", "live"):
                assert (await couch.info())["couchdb"] == "Welcome"


def test_each_event_loop_opens_and_closes_its_own_connections() -> None:
    class Answering:
        async def send(self, request: Request) -> Response:
            return Response(200, body=b"{}")

        async def close(self) -> None:
            """Nothing to close."""

    session = Session(Answering())

    async def use() -> None:
        assert await session.get(()) == {}
        await session.close()

    for _ in range(2):
        asyncio.run(use())


async def test_a_server_says_who_asks(couch: Connection) -> None:
    context = (await couch.session.get(("_session",)))["userCtx"]
    assert "_admin" in context["roles"]
