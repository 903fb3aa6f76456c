"""Whatever is asked of the store, it answers: never with a fault of its own, and nothing is broken afterwards.

``COUCHMODEL_TEST_FUZZ=5000`` tries so many conversations.
"""

import asyncio
import json
import logging
import os
from contextlib import aclosing

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from couchmodel._embedded import limits
from couchmodel._embedded.maintenance import check as checking
from couchmodel._embedded.server.router import Router
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request, Response
from tests.embedded.server.strategies import CURRENT, Ask, requests

EXAMPLES = int(os.environ.get("COUCHMODEL_TEST_FUZZ", "150"))


UNHEALTHY = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


class Conversation:
    """Requests that are put to one store, and what is wrong with the answers."""

    def __init__(self) -> None:
        self.store = Store(None)
        self.router = Router(self.store)

    async def hold(self, asked: list[Ask]) -> None:
        for seed in (
            Ask("PUT", ("db",)),
            Ask("PUT", ("db", "a"), body={"n": 1}),
            Ask("PUT", ("db", "a", "f"), {"rev": CURRENT}, {}, b"xyz"),
        ):
            assert (await self.ask(seed)).status == 201
        for ask in asked:
            answer = await self.ask(ask)
            assert 200 <= answer.status < 600
            if answer.status >= 400 and ask.method != "HEAD":
                # CouchDB gives no reason where its scheduler has nothing of that name.
                needed = {"error"} if ask.path[:1] == ("_scheduler",) else {"error", "reason"}
                assert needed <= answer.json().keys(), ask
        assert await self.store.read_in_thread(lambda connection: checking.check(connection, 5).problems) == []
        await self.store.close()

    async def ask(self, ask: Ask) -> Response:
        rev = await self._current(ask.path)
        body = ask.body
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).replace(CURRENT, rev).encode()
        query, headers = (
            {name: text.replace(CURRENT, rev) for name, text in given.items()} for given in (ask.query, ask.headers)
        )
        headers = {"content-type": "application/json", **headers}
        async with asyncio.timeout(30):
            answer = await self.router.answer(Request(ask.method, ask.path, query, headers, body))
            if answer.stream is not None:
                async with aclosing(answer.stream) as pieces:
                    count = 0
                    async for _ in pieces:
                        count += 1
                        if count > 20:  # a feed with a heartbeat goes on for ever
                            break
                answer = Response(answer.status, answer.headers, b"{}")
        return answer

    async def _current(self, path: tuple[str, ...]) -> str:
        if len(path) < 2 or path[0] != "db" or "\ud800" in path[1]:
            return "1-a"
        answer = await self.router.answer(Request("GET", path[:2]))
        if answer.stream is not None:
            await answer.stream.aclose()
        return str(answer.json().get("_rev", "1-a")) if answer.status == 200 and answer.body[:1] == b"{" else "1-a"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Feeds do not wait for long."""
    monkeypatch.setattr(limits, "FEED_SECONDS", 0.01)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=UNHEALTHY)
@given(st.lists(requests(), min_size=1, max_size=8))
@example([Ask("GET", ("db", "_all_docs"), {"limit": "9" * 30})])
@example([Ask("GET", ("db", "_changes"), {"since": "9" * 5000})])
@example([Ask("PUT", ("db", "_local", "l"), body={"_rev": "0-" + "9" * 30})])
@example(
    [
        Ask("PUT", ("\ud800",)),
        Ask("PUT", ("db", "\ud800"), body={}),
        Ask("COPY", ("db", "a"), headers={"destination": "%ff"}),
    ]
)
def test_every_request_is_answered_and_nothing_is_broken(caplog: pytest.LogCaptureFixture, asked: list[Ask]) -> None:
    caplog.clear()
    with caplog.at_level(logging.ERROR, "couchmodel.embedded"):
        asyncio.run(Conversation().hold(asked))
    assert [record.getMessage() for record in caplog.records] == []
