"""The fixtures that every room's tests share: one suite, every backend."""

import asyncio
import gc
import inspect
import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from couchmodel import Connection, NotFoundError, connect
from couchmodel._embedded.auth.passwords import admin_line
from couchmodel._embedded.server.http import serve
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request, Response
from couchmodel.engine import Database, Session
from couchmodel.transports import HTTPTransport
from tests.models import Recipe
from tests.watchdog import Watchdog

LIVE_URL = os.environ.get("COUCHMODEL_TEST_URL")
BACKENDS = ["memory", "file", "serve", pytest.param("live", marks=pytest.mark.couchdb)]
LEFT_OUT = pytest.StashKey[int]()
ADMIN = ("admin", "a secret: of/the @house")
HASHED = admin_line(ADMIN[1], iterations=1)


# On a busy machine everything may take long.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


def pytest_collection_finish() -> None:
    """Take the tests themselves out of what the garbage collector visits: that could hold a loop for a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def watchdog() -> Watchdog:
    """The thread that watches the event loops of all tests."""
    dog = Watchdog()
    dog.start()
    return dog


@pytest.fixture
async def watched_loop(request: pytest.FixtureRequest, watchdog: Watchdog) -> AsyncIterator[None]:
    """Fails a test whose event loop was held for a second, unless it is marked as one that holds it."""
    watchdog.watch(asyncio.get_running_loop())
    yield
    findings = watchdog.release()
    if findings and request.node.get_closest_marker("holds_loop") is None:
        pytest.fail("the event loop was " + "\nand ".join(findings), pytrace=False)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that need a CouchDB where there is none, and have the loop of asynchronous ones watched."""
    left_out = [] if LIVE_URL else [item for item in items if item.get_closest_marker("couchdb")]
    # What only CouchDB does is asked of no other backend.
    others = [item for item in items if _is_live_only(item) and not item.get_closest_marker("couchdb")]
    if dropped := {*left_out, *others}:
        config.stash[LEFT_OUT] = len(left_out)
        config.hook.pytest_deselected(items=list(dropped))
        items[:] = [item for item in items if item not in dropped]
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
            item.fixturenames.insert(0, "watched_loop")


def _is_live_only(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and "live" in item.fixturenames


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say in one line what was left out."""
    if count := config.stash.get(LEFT_OUT, 0):
        terminalreporter.write_line(f"{count} tests need a CouchDB: COUCHMODEL_TEST_URL names none.")


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The name of a way to reach a CouchDB."""
    return str(request.param)


@pytest.fixture
def live(backend: str) -> None:
    """Runs the test on a real CouchDB only: the embedded store does not do yet what it is about."""
    assert backend == "live"


@pytest.fixture
async def url(backend: str, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a backend."""
    async with AsyncExitStack() as stack:
        match backend:
            case "memory":
                yield "memory:"
            case "file":
                yield f"sqlite:{tmp_path / 'couch.db'}"
            case "serve":
                store = Store(None)
                stack.push_async_callback(store.close)
                server = await serve(store, "127.0.0.1", 0, (ADMIN[0], HASHED), remote=HTTPTransport)
                stack.push_async_callback(server.close)
                yield server.url.replace("://", "://admin:a%20secret%3A%20of%2Fthe%20%40house@")
            case _:
                yield LIVE_URL or ""


@pytest.fixture
async def couch(url: str) -> AsyncIterator[Connection]:
    """A connection to a backend, to which models are bound."""
    async with connect(url) as connection:
        yield connection


@pytest.fixture
async def database(couch: Connection) -> AsyncIterator[Database]:
    """A new, empty database. Its name is fresh: one deleted a moment ago is not safe to create again."""
    # One shard: those of several tell of their changes in no order.
    database = await couch.create(f"test-{secrets.token_hex(6)}", q=1)
    yield database
    with suppress(NotFoundError):
        await database.delete()


@pytest.fixture
def lost(couch: Connection, monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Makes the answer to the next write of a document end in an error, although it is carried out."""
    errors: list[BaseException] = []
    send = Session.send

    async def lossy(session: Session, request: Request) -> Response:
        response = await send(session, request)
        if request.method in ("PUT", "DELETE") and errors:
            raise errors.pop()
        return response

    monkeypatch.setattr(Session, "send", lossy)
    return errors.append


@pytest.fixture
async def recipes(couch: Connection, database: Database, monkeypatch: pytest.MonkeyPatch) -> type[Recipe]:
    """The model of recipes, bound to a new database with its indexes."""
    monkeypatch.setattr(Recipe, "__declared__", replace(Recipe.__declared__, database=database.id))
    await couch.apply(Recipe)
    return Recipe
