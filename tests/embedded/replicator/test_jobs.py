"""What a replication that the store runs leaves behind."""

import asyncio
from typing import Any

import pytest

from couchmodel._embedded.server.router import Router
from couchmodel._wire.messages import Request, Response, request_target
from tests.embedded.conftest import Client


class Lines:
    """The ways to another server, which is the store itself."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.opened = asyncio.Event()
        """Is set when both ends have been asked something."""
        self.closing = asyncio.Event()
        self.open: set[Line] = set()

    def __call__(self, url: str, **_: Any) -> "Line":
        """Return a new one."""
        return Line(self)


class Line:
    """One of these ways. It is open from its first request on."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    async def send(self, request: Request) -> Response:
        """Return the answer of the store."""
        self._lines.open.add(self)
        if len(self._lines.open) > 1:
            self._lines.opened.set()
        answer = await self._lines.client.ask(request.method, request_target(request.path, request.query), request.body)
        await answer.collect()
        return answer

    async def close(self) -> None:
        """Close it. The first that has been open waits until that is cancelled."""
        was_open = self in self._lines.open
        self._lines.open.discard(self)
        if was_open and not self._lines.closing.is_set():
            self._lines.closing.set()
            await asyncio.Event().wait()


ENDS = {"source": "http://elsewhere/source", "target": "http://elsewhere/target"}


@pytest.fixture
async def lines(client: Client) -> Lines:
    """The ways by which the client's store replicates between two of its databases."""
    lines = Lines(client)
    client.router = Router(client.store, remote=lines)
    for name in ("source", "target"):
        await client.ask("PUT", f"/{name}")
    return lines


async def test_a_replication_that_is_ended_as_it_ends_closes_both_of_its_connections(
    client: Client, lines: Lines
) -> None:
    await client.ask("PUT", "/_replicator/one", ENDS)
    await lines.closing.wait()
    assert len(lines.open) == 1
    await client.router.close()
    assert not lines.open


async def test_a_replication_that_takes_long_to_end_keeps_no_other_waiting(client: Client, lines: Lines) -> None:
    rev = (await client.json("PUT", "/_replicator/slow", {**ENDS, "continuous": True}))["rev"]
    await lines.opened.wait()
    await client.ask("DELETE", f"/_replicator/slow?rev={rev}")
    await lines.closing.wait()
    lines.opened.clear()
    await client.ask("PUT", "/_replicator/other", ENDS)
    async with asyncio.timeout(60):
        await lines.opened.wait()
    await client.router.close()
    assert not lines.open
