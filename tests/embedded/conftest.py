"""A store, and a short way to put requests to it."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from couchmodel._embedded.server.router import Router
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request, Response, parse_target
from couchmodel._wire.users import ADMIN, User


class Client:
    """Puts requests to a store, without a server in between."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.router = Router(store)

    async def ask(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        user: User = ADMIN,
    ) -> Response:
        """The answer, its stream unread. What is no bytes and no stream is sent as JSON."""
        path, query = parse_target(target)
        sent = {"content-type": "application/json", **(headers or {})}
        raw = (
            body if body is None or isinstance(body, bytes) or hasattr(body, "__aiter__") else json.dumps(body).encode()
        )
        return await self.router.answer(Request(method, path, query, sent, raw), user)

    async def json(self, method: str, target: str, body: Any = None) -> Any:
        """The decoded body of the answer, whatever its status."""
        answer = await self.ask(method, target, body)
        await answer.collect()
        return answer.json()


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client of an empty store in memory."""
    store = Store(None)
    yield Client(store)
    await store.close()


@pytest.fixture
async def database(client: Client) -> str:
    """The target of an empty database."""
    await client.ask("PUT", "/db")
    return "/db"
