"""Answer for the replications that the store runs: ``_replicate``, ``_scheduler`` and ``_active_tasks``."""

import asyncio
import re
from typing import Any, Final, NoReturn

from couchmodel._embedded import limits
from couchmodel._embedded.replicator.jobs import ReplicationRequest, parse_replication_request
from couchmodel._embedded.replicator.scheduler import REPLICATOR, Replicator
from couchmodel._embedded.rules.params import parse_boolean, parse_digits
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.request_body import json_object
from couchmodel._embedded.server.responses import OK, json_answer
from couchmodel._wire.messages import Request, Response
from couchmodel._wire.users import User
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
_DEFAULT_LIMIT: Final = "100"


async def replicate(exchange: Exchange) -> Response:
    """Answer ``POST /_replicate``: run a replication to its end, start a continuous one, or cancel one."""
    replicator = exchange.services.replicator
    body = await json_object(exchange.request)
    if body.get("cancel") is True:
        return await _cancel(replicator, exchange.user, body)
    replication = await asyncio.to_thread(parse_replication_request, body)  # a body may name very many documents
    try:
        if replication.options.continuous:
            return json_answer(202, {**OK, "_local_id": await replicator.start(replication, exchange.user)})
        answer = await replicator.replicate(replication, exchange.user)
    except StoreFileError:
        raise
    except CouchModelError as error:
        _raise_as_couchdb(replication, error)
    return json_answer(200, {**OK, **answer})


async def _cancel(replicator: Replicator, user: User, body: dict[str, Any]) -> Response:
    # By its id, or by a body that describes the same replication, whose id is computed.
    given_id = next((body[name] for name in ("_local_id", "replication_id", "id") if name in body), None)
    id = str(given_id) if given_id is not None else await replicator.id(parse_replication_request(body), user)
    await replicator.cancel(id, user)
    return json_answer(200, {**OK, "_local_id": id})


def _raise_as_couchdb(replication: ReplicationRequest, error: CouchModelError) -> NoReturn:
    """Raise the error that CouchDB answers when a replication fails in this way."""
    match error:
        case NotFoundError() if error.code == "db_not_found":
            # CouchDB answers 500 for a missing database of a replication, not 404.
            raise ServerError(error.reason, code="db_not_found") from error
        case UnauthorizedError() if not replication.source.is_local or not replication.target.is_local:
            name = (replication.target if replication.source.is_local else replication.source).name
            raise UnauthorizedError(f"unauthorized to access or create database {name}") from error
        case ResponseError():
            raise error
    raise ServerError(str(error), code="error") from error


async def active_tasks(exchange: Exchange) -> Response:
    """Answer ``GET /_active_tasks``."""
    running = [job for job in exchange.services.replicator.jobs() if job.state == "running"]
    return json_answer(200, [job.active_tasks_row(REPLICATOR) for job in running])


async def scheduler(exchange: Exchange) -> Response:
    """Answer ``GET /_scheduler/jobs`` and ``/_scheduler/docs``: all, or one by the id of a job or a document."""
    replicator, request = exchange.services.replicator, exchange.request
    match request.path[1:]:
        case ("jobs",):
            return _list_jobs(replicator, request)
        case ("jobs", id):
            return _show_job(replicator, id)
        case ("docs",) | ("docs", "_replicator"):
            return await _list_documents(replicator, request)
        case ("docs", "_replicator", id):
            return await _show_document(replicator, id)
        # CouchDB also runs replications of databases whose name ends with `/_replicator`. One that exists here is not
        # run, and one that does not exist is 404.
        case ("docs", *name, _) if name and name[-1] == "_replicator":
            replicator.store.database("/".join(name))
            raise _no_other_database()
        case ("docs", name, *_) if name.endswith("/_replicator"):
            replicator.store.database(name)
            raise _no_other_database()
        case ("docs", *_):
            raise BadRequestError("Invalid path")
    # Without a reason, as `couch_replicator_httpd` answers.
    return json_answer(404, {"error": "not found"})


def _no_other_database() -> UnsupportedError:
    return UnsupportedError("The embedded store runs the replications of its database _replicator only.")


def _list_jobs(replicator: Replicator, request: Request) -> Response:
    rows = [job.jobs_row(REPLICATOR) for job in replicator.jobs()]
    skip, limit = _parse_page(request)
    page = rows[skip : skip + limit]
    return json_answer(200, {"total_rows": len(rows), "offset": min(skip, len(rows)), "jobs": page})


def _show_job(replicator: Replicator, id: str) -> Response:
    for job in replicator.jobs():
        if job.id == id:
            return json_answer(200, job.jobs_row(REPLICATOR))
    raise NotFoundError("missing")


async def _list_documents(replicator: Replicator, request: Request) -> Response:
    states = _parse_states(request)
    skip, limit = _parse_page(request)
    descending = parse_boolean("descending", request.query.get("descending", "false"))
    rows = [_document_status(replicator, body) for body in await replicator.documents()]
    found = [row for row in (reversed(rows) if descending else rows) if not states or row["state"] in states]
    page = found[skip : skip + limit]
    return json_answer(200, {"total_rows": len(rows), "offset": min(skip, len(rows)), "docs": page})


async def _show_document(replicator: Replicator, id: str) -> Response:
    return json_answer(200, _document_status(replicator, await replicator.document(id)))


def _document_status(replicator: Replicator, body: dict[str, Any]) -> dict[str, Any]:
    """Return the status of a document's replication: of its job if there is one, else as stored in the document."""
    job, state = replicator.job_of(body["_id"]), body.get("_replication_state")
    if job is not None and state is None:
        return job.docs_row(REPLICATOR)
    stats, reason = dict(body.get("_replication_stats", {})), body.get("_replication_state_reason")
    begun = stats.pop("start_time", None)
    return {
        "database": REPLICATOR,
        "doc_id": body["_id"],
        "id": None,
        # A document that was never run, or whose run has ended: CouchDB shows its last state without a job.
        **replicator.names(body),
        "state": state or "initializing",
        "error_count": 1 if state == "failed" else 0,
        "info": {"error": reason} if reason is not None else stats or None,
        "start_time": begun,
        "last_updated": body.get("_replication_state_time"),
    }


def _parse_states(request: Request) -> list[str]:
    states = [state for state in request.query.get("states", "").split(",") if state]
    if not all(state in _STATES for state in states):
        unknown = ",".join(state for state in states if state not in _STATES)
        raise _query_error(f"Unknown states [{unknown}]. Choose from: [{','.join(_STATES)}]")
    return states


def _parse_page(request: Request) -> tuple[int, int]:
    query = request.query
    return _parse_number("skip", query.get("skip", "0")), _parse_number("limit", query.get("limit", _DEFAULT_LIMIT))


def _parse_number(name: str, text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise _query_error(f"{name} must be an integer")
    if text.startswith("-") and parse_digits(text[1:]):
        raise _query_error(f"{name} not in range of [0,infinity]")
    return min(parse_digits(text.lstrip("+-")), limits.LARGEST_NUMBER)


_INTEGER: Final = re.compile(r"[+-]?\d+", re.ASCII)


def _query_error(reason: str) -> BadRequestError:
    return BadRequestError(reason, code="query_parse_error")
