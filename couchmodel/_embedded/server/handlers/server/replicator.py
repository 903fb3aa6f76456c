"""The replications that the store runs: ``_replicate``, ``_scheduler`` and ``_active_tasks``."""

import asyncio
import re
from typing import Any, Final, NoReturn

from couchmodel._embedded.replicator.jobs import Asked, parse_asked
from couchmodel._embedded.replicator.scheduler import REPLICATOR, Replicator
from couchmodel._embedded.rules.params import LARGEST, boolean, whole_number
from couchmodel._embedded.server.request_body import json_object
from couchmodel._embedded.server.responses import OK, json_answer
from couchmodel._wire.messages import Request, Response
from couchmodel.errors import (
    BadRequestError,
    CouchModelError,
    NotFoundError,
    ResponseError,
    ServerError,
    StoreFileError,
    UnauthorizedError,
    UnsupportedError,
)

__all__ = ["active_tasks", "replicate", "scheduler"]

_STATES: Final = ("initializing", "error", "running", "pending", "crashing", "completed", "failed")
_LIMIT: Final = "100"


async def replicate(replicator: Replicator, request: Request) -> Response:
    """``POST /_replicate``."""
    body = await json_object(request)
    if body.get("cancel") is True:
        return await _cancel(replicator, request, body)
    asked = await asyncio.to_thread(parse_asked, body)  # which may name very many documents
    try:
        if asked.options.continuous:
            return json_answer(202, {**OK, "_local_id": await replicator.start(asked, request.user)})
        answer = await replicator.replicate(asked, request.user)
    except StoreFileError:
        raise
    except CouchModelError as error:
        _refuse(asked, error)
    return json_answer(200, {**OK, **answer})


async def _cancel(replicator: Replicator, request: Request, body: dict[str, Any]) -> Response:
    named = next((body[name] for name in ("_local_id", "replication_id", "id") if name in body), None)
    id = str(named) if named is not None else await replicator.id(parse_asked(body), request.user)
    await replicator.cancel(id, request.user)
    return json_answer(200, {**OK, "_local_id": id})


def _refuse(asked: Asked, error: CouchModelError) -> NoReturn:
    """Raise CouchDB's answer to a replication that has failed."""
    match error:
        case NotFoundError() if error.code == "db_not_found":
            raise ServerError(error.reason, code="db_not_found") from error
        case UnauthorizedError() if not asked.source.is_local or not asked.target.is_local:
            name = (asked.target if asked.source.is_local else asked.source).name
            raise UnauthorizedError(f"unauthorized to access or create database {name}") from error
        case ResponseError():
            raise error
    raise ServerError(str(error), code="error") from error


async def active_tasks(replicator: Replicator, request: Request) -> Response:
    """``GET /_active_tasks``."""
    running = [job for job in replicator.jobs() if job.state == "running"]
    return json_answer(200, [job.task(REPLICATOR) for job in running])


async def scheduler(replicator: Replicator, request: Request) -> Response:
    """``GET /_scheduler/jobs`` and ``/_scheduler/docs``, with a job's or a document's id for one."""
    match request.path[1:]:
        case ("jobs",):
            return _jobs(replicator, request)
        case ("jobs", id):
            return _job(replicator, id)
        case ("docs",) | ("docs", "_replicator"):
            return await _documents(replicator, request)
        case ("docs", "_replicator", id):
            return await _document(replicator, id)
        case ("docs", *name, _) if name and name[-1] == "_replicator":
            replicator.store.database("/".join(name))
            raise _no_other()
        case ("docs", name, *_) if name.endswith("/_replicator"):
            replicator.store.database(name)
            raise _no_other()
        case ("docs", *_):
            raise BadRequestError("Invalid path")
    return json_answer(404, {"error": "not found"})


def _no_other() -> UnsupportedError:
    return UnsupportedError("The embedded store runs the replications of its database _replicator only.")


def _jobs(replicator: Replicator, request: Request) -> Response:
    rows = [job.scheduled(REPLICATOR) for job in replicator.jobs()]
    skip, limit = _page(request)
    page = rows[skip : skip + limit]
    return json_answer(200, {"total_rows": len(rows), "offset": min(skip, len(rows)), "jobs": page})


def _job(replicator: Replicator, id: str) -> Response:
    for job in replicator.jobs():
        if job.id == id:
            return json_answer(200, job.scheduled(REPLICATOR))
    raise NotFoundError("missing")


async def _documents(replicator: Replicator, request: Request) -> Response:
    states = _wanted_states(request)
    skip, limit = _page(request)
    descending = boolean("descending", request.query.get("descending", "false"))
    rows = [_shown(replicator, body) for body in await replicator.documents()]
    found = [row for row in (reversed(rows) if descending else rows) if not states or row["state"] in states]
    page = found[skip : skip + limit]
    return json_answer(200, {"total_rows": len(rows), "offset": min(skip, len(rows)), "docs": page})


async def _document(replicator: Replicator, id: str) -> Response:
    return json_answer(200, _shown(replicator, await replicator.document(id)))


def _shown(replicator: Replicator, body: dict[str, Any]) -> dict[str, Any]:
    """How a document's replication stands: by what is in hand, or by what was written into the document."""
    job, state = replicator.job_of(body["_id"]), body.get("_replication_state")
    if job is not None and state is None:
        return job.shown(REPLICATOR)
    stats, reason = dict(body.get("_replication_stats", {})), body.get("_replication_state_reason")
    begun = stats.pop("start_time", None)
    return {
        "database": REPLICATOR,
        "doc_id": body["_id"],
        "id": None,
        **replicator.names(body),
        "state": state or "initializing",
        "error_count": 1 if state == "failed" else 0,
        "info": {"error": reason} if reason is not None else stats or None,
        "start_time": begun,
        "last_updated": body.get("_replication_state_time"),
    }


def _wanted_states(request: Request) -> list[str]:
    states = [state for state in request.query.get("states", "").split(",") if state]
    if not all(state in _STATES for state in states):
        unknown = ",".join(state for state in states if state not in _STATES)
        raise _unparsable(f"Unknown states [{unknown}]. Choose from: [{','.join(_STATES)}]")
    return states


def _page(request: Request) -> tuple[int, int]:
    query = request.query
    return _number("skip", query.get("skip", "0")), _number("limit", query.get("limit", _LIMIT))


def _number(name: str, text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise _unparsable(f"{name} must be an integer")
    if text.startswith("-") and whole_number(text[1:]):
        raise _unparsable(f"{name} not in range of [0,infinity]")
    return min(whole_number(text.lstrip("+-")), LARGEST)


_INTEGER: Final = re.compile(r"[+-]?\d+", re.ASCII)


def _unparsable(reason: str) -> BadRequestError:
    return BadRequestError(reason, code="query_parse_error")
