"""The fixtures of web applications: models in a new database, and clients of applications without a socket."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient

from couchmodel import Connection, CouchModel
from couchmodel.engine import Database
from couchmodel.integrations.fastapi import add_problem_details, crud_router
from tests.integrations.models import Dish

Client = Callable[..., AsyncClient]


@pytest.fixture
async def bind(
    couch: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> Callable[[type[CouchModel]], Any]:
    """A function that binds a model to a new database."""

    def bind(model: type[CouchModel]) -> Any:
        monkeypatch.setattr(model, "__declared__", replace(model.__declared__, database=database.id))
        return couch.apply(model)

    return bind


@pytest.fixture
async def client_of() -> AsyncIterator[Client]:
    """A function that returns the client of an application."""
    async with AsyncExitStack() as stack:
        clients: list[AsyncClient] = []

        def client_of(app: Any, **options: Any) -> AsyncClient:
            clients.append(AsyncClient(transport=ASGITransport(app), base_url="http://kitchen", **options))
            stack.push_async_callback(clients[-1].aclose)
            return clients[-1]

        yield client_of


@pytest.fixture
async def api(bind: Callable[[type[CouchModel]], Any], client_of: Client) -> Callable[..., Any]:
    """A function that returns the client of an application with the router of a model under ``/dishes``."""

    async def api(model: type[CouchModel] = Dish, **options: Any) -> AsyncClient:
        await bind(model)
        return client_of(application(model, **{name: as_tuple(value) for name, value in options.items()}))

    return api


def application(model: Any, **options: Any) -> FastAPI:
    """Return an application with the router of a model."""
    return make_application(model, **options)


@cache  # FastAPI takes its time
def make_application(model: Any, **options: Any) -> FastAPI:
    app = FastAPI()
    add_problem_details(app)
    app.include_router(crud_router(model, **options), prefix="/dishes")
    return app


def as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@pytest.fixture
async def client(api: Callable[..., Any]) -> AsyncClient:
    """The client of an application with the router of dishes."""
    client: AsyncClient = await api()
    return client
