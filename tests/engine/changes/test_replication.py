"""Replications that a server runs."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from urllib.parse import unquote, urlsplit

import pytest

from couchmodel import ConfigurationError, Connection, NotFoundError
from couchmodel.engine import Database, Replication, replication_end
from couchmodel.errors import ReplicationError
from couchmodel.types import JSONObject


@pytest.fixture(autouse=True)
async def served(backend: str, couch: Connection) -> None:
    """Runs the test where there is a server: in a process of its own, an embedded store has no URL."""
    if backend in ("memory", "file"):
        pytest.skip("an embedded store has no URL")
    await couch.create("_replicator", exists_ok=True)


@pytest.fixture
async def target(couch: Connection) -> AsyncIterator[Database]:
    """The name of a database that is not there yet."""
    target = couch.database(f"test-{secrets.token_hex(6)}")
    yield target
    with suppress(NotFoundError):
        await target.delete()


@pytest.fixture
def of(url: str) -> Callable[[str], JSONObject]:
    """One end of a replication, by the name of its database."""
    parts = urlsplit(url)

    def of(name: str) -> JSONObject:
        return replication_end(
            f"http://{parts.hostname}:{parts.port}/{name}", unquote(parts.username or ""), unquote(parts.password or "")
        )

    return of


async def finish(replication: Replication) -> None:
    await replication.cancel()
    await until(lambda: is_gone(replication))


async def is_gone(replication: Replication) -> bool:
    try:
        await replication.state()
    except NotFoundError:
        return True
    return False


async def has(database: Database, id: str) -> bool:
    try:
        await database.get(id)
    except NotFoundError:
        return False
    return True


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """The server does it in its own time, and tells nobody."""
    for _ in range(300):
        if await condition():
            return
        await asyncio.sleep(0.1)
    raise TimeoutError


async def test_a_replication_ends_when_all_is_there(
    couch: Connection, database: Database, target: Database, of: Callable[[str], JSONObject]
) -> None:
    await (await database.create("pie", data={"title": "Apple pie"})).save()
    replication = await couch.replications.create(of(database.id), of(target.id), create_target=True)
    async with asyncio.timeout(30):
        state = await replication.wait()
    assert (state["state"], (state["info"] or {})["docs_written"]) == ("completed", 1)
    assert (await target.get("pie"))["title"] == "Apple pie"
    assert replication.id in [each["doc_id"] for each in await couch.replications.states()]
    await finish(replication)


async def test_a_continuous_one_goes_on_until_it_is_cancelled(
    couch: Connection, database: Database, target: Database, of: Callable[[str], JSONObject]
) -> None:
    ends = of(database.id), of(target.id)
    replication = await couch.replications.create(*ends, f"{target.id}-on", create_target=True, continuous=True)
    await (await database.create("pie")).save()
    await until(lambda: has(target, "pie"))
    assert replication.id in [job["doc_id"] for job in await couch.replications.jobs()]
    assert (await replication.state())["state"] == "running"
    await finish(await couch.replications.get(replication.id))
    await replication.cancel()


async def test_a_failure_tells_its_reason(
    couch: Connection, database: Database, of: Callable[[str], JSONObject], backend: str
) -> None:
    replication = await couch.replications.create(of(f"{database.id}-nowhere"), of(database.id))
    with pytest.raises(ReplicationError, match=r"crashing: \w+") as caught:
        async with asyncio.timeout(60):
            await replication.wait()
    assert caught.value.state == "crashing"
    # CouchDB may tell of a connection in its pool that is closed by now.
    reason = ((await replication.state())["info"] or {})["error"]
    assert reason.startswith("db_not_found") or backend == "live"
    assert reason in str(caught.value)
    await finish(replication)


@pytest.mark.parametrize("source", ["recipes", "", replication_end("recipes")])
async def test_an_end_needs_a_url(couch: Connection, source: str | JSONObject) -> None:
    with pytest.raises(ConfigurationError, match="source of a replication is a URL"):
        await couch.replications.create(source, "http://elsewhere/recipes")


def test_no_password_is_shown(couch: Connection, url: str) -> None:
    secret = replication_end("http://elsewhere/recipes", "ada", "sesame")
    assert secret["auth"]["basic"]["password"] == "sesame"
    assert "sesame" not in repr(Replication(couch.replications, "x", {"source": secret}))
