"""Clients that go away in the middle of a request."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from tests.workload.client import Client
from tests.workload.jobs import attachments
from tests.workload.jobs.documents import write_many
from tests.workload.jobs.queries import DECLARED

__all__ = ["go_away"]

_LONGEST = 0.03


async def go_away(client: Client) -> None:
    """Begin a request and end it after a random moment. What it has written is in doubt until it is read."""
    task = asyncio.ensure_future(random.choice(_WAYS)(client))
    await asyncio.wait([task], timeout=random.uniform(0, _LONGEST))
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
    for kept in client.kept:
        if kept.doubts:
            await client.look(kept)


async def _write(client: Client) -> None:
    # One that is there: the late creation of a document that was deleted since would be no conflict.
    kept = client.choose(there=True)
    if kept is not None:
        state = client.next_state()
        await client.write(kept, state, "PUT", body=client.body(kept, state))


async def _write_many(client: Client) -> None:
    if all(kept.state is not None for kept in client.kept):
        await write_many(client)


async def _find(client: Client) -> None:
    await client.ask("POST", random.choice(client.place.shared), "_find", body={"selector": {"text": {"$gt": ""}}})


async def _read_all(client: Client) -> None:
    await client.ask("GET", random.choice(client.place.shared), "_all_docs", query={"include_docs": "true"})


async def _read_view(client: Client) -> None:
    await client.ask("GET", random.choice(client.place.shared), "_design", DECLARED, "_view", "by-owner")


async def _wait(client: Client) -> None:
    query = {"feed": random.choice(("longpoll", "continuous", "eventsource")), "since": "now", "timeout": "200"}
    async with client.stream("GET", random.choice(client.place.shared), "_changes", query=query) as pieces:
        async for _ in pieces:
            pass


async def _replicate(client: Client) -> None:
    source, target = random.choice(client.place.shared), f"{client.private}-cut"
    selector = {"owner": client.name}
    asked = {"source": source, "target": target, "create_target": True, "selector": selector}
    await client.ask("POST", "_replicate", body=asked)


_WAYS: tuple[Callable[[Client], Awaitable[None]], ...] = (
    _write,
    _write_many,
    attachments.upload,
    attachments.download,
    _find,
    _read_all,
    _read_view,
    _wait,
    _replicate,
)
