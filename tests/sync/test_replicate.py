"""Replications that a server runs by itself: ``_replicate``, ``_replicator`` and ``_scheduler``."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from couchmodel import BadRequestError, Connection, ForbiddenError, NotFoundError, connect
from couchmodel._wire.messages import Request, encode
from couchmodel.engine import Database, Document
from couchmodel.errors import ServerError

HISTORY = [
    "session_id",
    "start_time",
    "end_time",
    "start_last_seq",
    "end_last_seq",
    "recorded_seq",
    "missing_checked",
    "missing_found",
    "docs_read",
    "docs_written",
    "doc_write_failures",
    "bulk_get_docs",
    "bulk_get_attempts",
]


async def post(couch: Connection, **body: Any) -> Any:
    return await couch.session.json(Request("POST", ("_replicate",), body=encode(body)))


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """The server does it in its own time, and tells nobody."""
    for _ in range(600):
        if await condition():
            return
        await asyncio.sleep(0.05)
    raise TimeoutError


async def has(database: Database, id: str) -> bool:
    with suppress(NotFoundError):
        return bool(await database[id])
    return False


@pytest.fixture
async def source(database: Database) -> Database:
    async with database.create_docs(["a", "b", "c"]):
        pass
    return database


@pytest.fixture
async def replicator(couch: Connection) -> Database:
    """The database of replications."""
    return await couch.create("_replicator", exists_ok=True)


async def test_a_replication_answers_its_history(couch: Connection, source: Database, neighbour: Database) -> None:
    ends = {"source": source.id, "target": neighbour.id}
    answer = await post(couch, **ends, create_target=True)
    assert list(answer) == ["ok", "session_id", "source_last_seq", "replication_id_version", "history"]
    (entry,) = answer["history"]
    assert list(entry) == HISTORY
    assert entry | {"missing_checked": 3, "missing_found": 3, "docs_read": 3, "docs_written": 3} == entry
    again = await post(couch, **ends)
    assert (list(again)[:2], again["history"]) == (["ok", "no_changes"], answer["history"])
    await Document(source, "d", {}).save()
    third = await post(couch, **ends)
    assert [each["docs_written"] for each in third["history"]] == [4, 3]


async def test_one_by_ids_answers_its_counts_beside(couch: Connection, source: Database, neighbour: Database) -> None:
    answer = await post(couch, source=source.id, target=neighbour.id, create_target=True, doc_ids=["b", "none"])
    assert (answer["docs_read"], answer["docs_written"], answer["doc_write_failures"]) == (1, 1, 0)
    assert [id async for id in neighbour.akeys()] == ["b"]


async def test_one_without_checkpoints_says_no_more(couch: Connection, source: Database, neighbour: Database) -> None:
    answer = await post(couch, source=source.id, target=neighbour.id, create_target=True, use_checkpoints=False)
    assert answer == {"ok": True, "use_checkpoints": False}


async def test_a_continuous_one_runs_until_it_is_cancelled(
    couch: Connection, source: Database, neighbour: Database
) -> None:
    ends = {"source": source.id, "target": neighbour.id, "create_target": True, "continuous": True}
    answer = await post(couch, **ends)
    assert answer["_local_id"].endswith("+continuous+create_target")
    assert await post(couch, **ends) == answer
    await until(lambda: has(neighbour, "c"))
    await Document(source, "later", {}).save()
    await until(lambda: has(neighbour, "later"))
    jobs = {job["id"]: job for job in (await couch.session.get(("_scheduler", "jobs")))["jobs"]}
    assert (await couch.session.get(("_scheduler", "jobs", answer["_local_id"])))["doc_id"] is None
    assert [event["type"] for event in jobs[answer["_local_id"]]["history"]] == ["started", "added"]
    tasks = [task["replication_id"] for task in await couch.active_tasks() if task["type"] == "replication"]  # type: ignore[typeddict-item]
    assert answer["_local_id"] in tasks
    assert await post(couch, **ends, cancel=True) == answer
    with pytest.raises(NotFoundError):
        await post(couch, **ends, cancel=True)


@pytest.mark.parametrize(
    ("given", "error", "reason"),
    [
        ({"source": "x"}, ServerError, "Missing replicator database"),
        ({"doc_ids": "a"}, BadRequestError, "parameter `doc_ids` must be an array"),
        ({"continuous": "x"}, BadRequestError, "parameter `continuous` must be a boolean"),
        ({"selector": 1}, BadRequestError, "parameter `selector` must be a JSON object"),
        ({"query_params": 1}, BadRequestError, "parameter `query_params` must be an object"),
        ({"doc_ids": ["a"], "filter": "d/f"}, BadRequestError, "mutually exclusive"),
        ({}, ServerError, "could not open"),
    ],
)
async def test_what_cannot_be_replicated_is_refused(
    couch: Connection, database: Database, given: dict[str, Any], error: type[Exception], reason: str
) -> None:
    body = {"source": f"{database.id}-none", "target": database.id, **given}
    if given == {"source": "x"}:
        del body["target"]
    with pytest.raises(error, match=reason):
        await post(couch, **body)


async def test_a_server_that_is_not_there_is_an_error(couch: Connection, database: Database, backend: str) -> None:
    if backend == "live":
        pytest.skip("CouchDB waits for it")
    with pytest.raises(ServerError, match="cannot be reached"):
        await post(couch, source="http://127.0.0.1:1/x", target=database.id)


@pytest.fixture
def own(backend: str, url: str) -> Callable[[str], str]:
    """A database as documents of ``_replicator`` name it: by URL, or by name where there is no server to have one."""
    return (lambda name: f"{url}/{name}") if url.startswith("http") else (lambda name: name)


async def test_a_document_is_completed(
    couch: Connection, source: Database, neighbour: Database, replicator: Database, own: Callable[[str], str]
) -> None:
    ends = {"source": own(source.id), "target": own(neighbour.id), "create_target": True}
    asks = Document(replicator, f"test-{secrets.token_hex(6)}", ends)
    await asks.save()

    async def completed() -> bool:
        return (await replicator[asks.id]).get("_replication_state") == "completed"

    await until(completed)
    state = await couch.session.get(("_scheduler", "docs", "_replicator", asks.id))
    assert (state["state"], state["info"]["docs_written"]) == ("completed", 3)
    assert "secret" not in state["source"]
    assert asks.id in [each["doc_id"] for each in (await couch.session.get(("_scheduler", "docs")))["docs"]]
    assert await has(neighbour, "c")
    await (await replicator[asks.id]).delete()


async def test_a_document_runs_until_it_is_deleted(
    couch: Connection, source: Database, neighbour: Database, replicator: Database, own: Callable[[str], str]
) -> None:
    ends = {"source": own(source.id), "target": own(neighbour.id), "create_target": True, "continuous": True}
    asks = Document(replicator, f"test-{secrets.token_hex(6)}", ends)
    await asks.save()
    await until(lambda: has(neighbour, "c"))
    state = await couch.session.get(("_scheduler", "docs", "_replicator", asks.id))
    assert (state["state"], state["doc_id"]) == ("running", asks.id)
    await asks.delete()

    async def gone() -> bool:
        jobs = (await couch.session.get(("_scheduler", "jobs")))["jobs"]
        return asks.id not in [job["doc_id"] for job in jobs]

    await until(gone)
    await Document(source, "later", {}).save()
    await asyncio.sleep(0.1)
    assert not await has(neighbour, "later")


@pytest.mark.parametrize("body", [{}, {"source": "http://x/y"}, {"source": "http://x/y", "target": {"url": 1}}])
async def test_a_document_that_asks_for_nothing_is_refused(replicator: Database, body: dict[str, Any]) -> None:
    with pytest.raises(ForbiddenError):
        await Document(replicator, f"test-{secrets.token_hex(6)}", body).save()


async def test_the_scheduler_knows_what_it_has_not_got(couch: Connection, replicator: Database) -> None:
    for path in (("jobs", "none"), ("docs", "_replicator", "none"), ("none",)):
        with pytest.raises(NotFoundError):
            await couch.session.get(("_scheduler", *path))
    # CouchDB has another word for a state that is no word of its own anywhere.
    with pytest.raises(BadRequestError, match=r"\[initializing,error,running"):
        await couch.session.get(("_scheduler", "docs"), {"states": "bogus"})


async def test_a_store_that_is_opened_again_goes_on(tmp_path: Path) -> None:
    url = f"sqlite:{tmp_path / 'couch.db'}"
    async with connect(url) as couch:
        source = await couch.create("source")
        replicator = await couch.create("_replicator", exists_ok=True)
        ends = {"source": "source", "target": "target", "create_target": True, "continuous": True}
        await Document(replicator, "on", ends).save()
        await Document(source, "first", {}).save()
        await until(lambda: has(couch.database("target"), "first"))
    async with connect(url) as couch:
        await Document(couch.database("source"), "second", {}).save()
        await until(lambda: has(couch.database("target"), "second"))
