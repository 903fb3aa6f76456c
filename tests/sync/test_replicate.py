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
from couchmodel.types import JSONObject
from tests.engine.requests import call

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


async def test_ids_are_taken_as_they_stand_in_a_url(couch: Connection, source: Database, neighbour: Database) -> None:
    for id in ("d e", "d+e", "d/e", "d%"):
        await Document(source, id, {}).save()
    ends = {"source": source.id, "target": neighbour.id, "create_target": True}
    await post(couch, **ends, doc_ids=["d%2fe", "d+e", "%61"])
    assert [id async for id in neighbour.akeys()] == ["a", "d e", "d/e"]


@pytest.mark.parametrize("options", [{}, {"doc_ids": ["none"]}, {"selector": {"n": 1}}])
async def test_no_documents_are_no_changes(
    couch: Connection, database: Database, neighbour: Database, options: dict[str, Any]
) -> None:
    if options:
        await Document(database, "a", {}).save()
    ends = {"source": database.id, "target": neighbour.id, "create_target": True}
    assert await post(couch, **ends, **options) == {"ok": True, "no_changes": True}


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"winning_revs_only": True}, ["1-bb"]), ({"winning_revs_only": False}, ["1-bb", "1-aa"]), ({}, ["1-bb", "1-aa"])],
)
async def test_conflicts_may_be_left_behind(
    couch: Connection, database: Database, neighbour: Database, options: dict[str, Any], expected: list[str]
) -> None:
    docs = [{"_id": "two", "_rev": "1-aa"}, {"_id": "two", "_rev": "1-bb"}]
    await call(database, "POST", "_bulk_docs", {"docs": docs, "new_edits": False})
    await post(couch, source=database.id, target=neighbour.id, create_target=True, **options)
    (row,) = (await call(neighbour, "GET", "_changes?style=all_docs"))["results"]
    assert [each["rev"] for each in row["changes"]] == expected


async def test_one_may_begin_at_a_sequence(couch: Connection, source: Database, neighbour: Database) -> None:
    since = (await source.info())["update_seq"]
    await Document(source, "later", {}).save()
    ends = {"source": source.id, "target": neighbour.id, "create_target": True, "since_seq": since}
    answer = await post(couch, **ends)
    assert answer["history"][0]["start_last_seq"] == since
    assert [id async for id in neighbour.akeys()] == ["later"]
    await Document(source, "last", {}).save()
    again = await post(couch, **ends)
    assert again["history"][0]["start_last_seq"] == since
    assert [each["docs_written"] for each in again["history"]] == [2, 1]


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
    tasks: list[Any] = [task for task in await couch.active_tasks() if task["type"] == "replication"]
    through = {task["replication_id"]: task["through_seq"] for task in tasks}
    assert str(through[answer["_local_id"]]).startswith("4-")
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
        ({"winning_revs_only": 1}, BadRequestError, "parameter `winning_revs_only` must be a boolean"),
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
    state: JSONObject = {}

    async def known() -> bool:
        # CouchDB 3.5 may answer 500 (function_clause in couch_replicator_httpd_util) while it takes a job out.
        with suppress(ServerError):
            state.update(await couch.session.get(("_scheduler", "docs", "_replicator", asks.id)))
        return bool(state)

    await until(known)
    assert (state["state"], state["info"]["docs_written"]) == ("completed", 3)
    assert "secret" not in state["source"]
    assert asks.id in [each["doc_id"] for each in (await couch.session.get(("_scheduler", "docs")))["docs"]]
    assert await has(neighbour, "c")
    await (await replicator[asks.id]).delete()


async def test_a_document_takes_the_options_of_a_replication(
    couch: Connection, source: Database, neighbour: Database, replicator: Database, own: Callable[[str], str]
) -> None:
    since = (await source.info())["update_seq"]
    docs = [{"_id": "two", "_rev": "1-aa"}, {"_id": "two", "_rev": "1-bb"}]
    await call(source, "POST", "_bulk_docs", {"docs": docs, "new_edits": False})
    ends = {"source": own(source.id), "target": own(neighbour.id), "create_target": True, "continuous": True}
    asks = Document(replicator, f"test-{secrets.token_hex(6)}", {**ends, "since_seq": since, "winning_revs_only": True})
    await asks.save()
    await until(lambda: has(neighbour, "two"))
    (row,) = (await call(neighbour, "GET", "_changes?style=all_docs"))["results"]
    assert [each["rev"] for each in row["changes"]] == ["1-bb"]
    await (await replicator[asks.id]).delete()


async def test_a_document_waits_for_its_filter_function(
    couch: Connection,
    source: Database,
    neighbour: Database,
    replicator: Database,
    own: Callable[[str], str],
    backend: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("couchmodel._embedded.limits.BACKOFF_SECONDS", 0.1)
    ends = {"source": own(source.id), "target": own(neighbour.id), "create_target": True, "continuous": True}
    asks = Document(replicator, f"test-{secrets.token_hex(6)}", {**ends, "filter": "d/wanted"})
    await asks.save()

    async def failing() -> bool:
        with suppress(NotFoundError):
            state = await couch.session.get(("_scheduler", "docs", "_replicator", asks.id))
            return bool(state["state"] == "error" and "_design/d" in state["info"]["error"])
        return False

    await until(failing)
    await Document(source, "_design/d", {"filters": {"wanted": "function (doc) { return doc._id == 'b' }"}}).save()
    if backend != "live":  # CouchDB looks again after half a minute
        await until(lambda: has(neighbour, "b"))
        assert [id async for id in neighbour.akeys()] == ["b"]
    await (await replicator[asks.id]).delete()


async def test_a_filter_function_that_is_not_there_is_told(
    couch: Connection, source: Database, neighbour: Database
) -> None:
    for options in ({}, {"continuous": True}):
        with pytest.raises(NotFoundError, match="Couldn't open document `_design/none` from source"):
            await post(couch, source=source.id, target=neighbour.id, filter="none/d", create_target=True, **options)
    with pytest.raises((BadRequestError, ServerError), match="Invalid filter"):
        await post(couch, source=source.id, target=neighbour.id, filter="none", create_target=True)


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
