"""Changes of documents as server-sent events."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import AsyncClient

from couchmodel.integrations._core.events import change_events
from tests.integrations.conftest import application
from tests.integrations.models import Dish, json_of
from tests.integrations.test_documents import problem


class Stream:
    """The events of an answer as they arrive, and the status and the headers before them."""

    def __init__(self) -> None:
        self.started: asyncio.Future[tuple[int, dict[str, str]]] = asyncio.get_running_loop().create_future()
        self._pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self.left = asyncio.Event()

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = {name.decode(): value.decode() for name, value in message["headers"]}
            self.started.set_result((message["status"], headers))
        elif message.get("body"):
            self._pieces.put_nowait(message["body"])

    async def receive(self) -> Any:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def event(self) -> dict[str, str]:
        """Return the next event."""
        lines = (await asyncio.wait_for(self._pieces.get(), 20)).decode().strip().split("\n")
        return dict(line.split(": ", 1) for line in lines)


@asynccontextmanager
async def opened(app: FastAPI, query: str = "", **headers: str) -> AsyncGenerator[Stream]:
    """A stream of the changes of dishes. The client leaves at the end."""
    stream = Stream()
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/dishes/_changes",
        "query_string": query.encode(),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    task = asyncio.ensure_future(app(scope, stream.receive, stream.send))
    try:
        yield stream
    finally:
        stream.left.set()
        await asyncio.wait_for(task, 20)


async def test_changes_arrive_as_events(client: AsyncClient) -> None:
    await client.post("/dishes", json=json_of(title="before"))
    async with opened(application(Dish)) as stream:
        status, headers = await stream.started
        assert (status, headers["content-type"]) == (200, "text/event-stream")
        first = await stream.event()
        assert first.keys() == {"retry", "id"}
        created = await client.post("/dishes", json=json_of(title="new", secret="hush"))
        event = await stream.event()
        assert (event["event"], event["data"]) == ("changed", created.text)
        await client.delete(created.headers["location"])
        event = await stream.event()
        assert event["event"] == "deleted"
        assert created.json()["id"] in event["data"]


async def test_a_client_that_comes_back_goes_on_where_it_was(client: AsyncClient) -> None:
    async with opened(application(Dish)) as stream:
        await stream.event()
        await client.post("/dishes", json=json_of(title="first"))
        seen = (await stream.event())["id"]
    await client.post("/dishes", json=json_of(title="second"))
    async with opened(application(Dish), last_event_id=seen) as stream:
        await stream.event()
        assert '"second"' in (await stream.event())["data"]
    async with opened(application(Dish), f"since={seen}") as stream:
        await stream.event()
        assert '"second"' in (await stream.event())["data"]


async def test_the_first_event_has_the_place_to_go_on_from(client: AsyncClient) -> None:
    async with opened(application(Dish)) as stream:
        place = (await stream.event())["id"]
    await client.post("/dishes", json=json_of(title="meanwhile"))
    async with opened(application(Dish), last_event_id=place) as stream:
        await stream.event()
        assert '"meanwhile"' in (await stream.event())["data"]


async def test_a_sequence_that_is_none_is_a_problem(client: AsyncClient, backend: str) -> None:
    response = await client.get("/dishes/_changes", params={"since": "not a sequence"})
    assert problem(response)[0] == 400


@pytest.mark.parametrize("backend", ["memory"])
async def test_an_idle_stream_shows_that_it_lives(client: AsyncClient) -> None:
    events = change_events(Dish.repository(), "0", "/dishes", heartbeat=0.01)
    assert (await anext(events)).startswith(b"retry: ")
    assert await anext(events) == b":\n\n"
    await client.post("/dishes", json=json_of(title="new"))
    while (event := await anext(events)) == b":\n\n":
        pass
    assert event.startswith(b"event: changed\n")
    await events.aclose()
