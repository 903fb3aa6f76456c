"""What a replication that the store runs leaves behind."""

import asyncio
from typing import Any

from couchmodel._embedded.server.router import Router
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request, Response, target
from tests.embedded.conftest import Client


class Lines:
    """The ways to another server, which is the store itself."""

    def __init__(self, client: Client) -> None:
        self.client = client
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
        return await self._lines.client.ask(request.method, target(request.path, request.query), request.body)

    async def close(self) -> None:
        """Close it. The first that is closed waits until that is cancelled."""
        is_first = len(self._lines.open) > 1
        self._lines.open.discard(self)
        if is_first:
            self._lines.closing.set()
            await asyncio.Event().wait()


async def test_a_replication_that_is_ended_as_it_ends_closes_both_of_its_connections() -> None:
    client = Client(Store(None))
    lines = Lines(client)
    client.router = Router(client.store, remote=lines)
    for name in ("source", "target"):
        await client.ask("PUT", f"/{name}")
    ends = {"source": "http://elsewhere/source", "target": "http://elsewhere/target"}
    await client.ask("PUT", "/_replicator/one", ends)
    await lines.closing.wait()
    assert len(lines.open) == 1
    await client.router.close()
    assert not lines.open
    await client.store.close()
