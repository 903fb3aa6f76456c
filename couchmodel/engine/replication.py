"""Replications that a server runs itself. They are documents of its ``_replicator`` database."""

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any, Final, TypeAlias, cast

from couchmodel._wire.messages import EMPTY
from couchmodel.engine._io.session import Session
from couchmodel.engine.document import Document
from couchmodel.errors import ConfigurationError, NotFoundError, ReplicationError
from couchmodel.types import JSONObject, ReplicationState, SchedulerJob

__all__ = ["Replication", "ReplicationEnd", "Replications", "replication_end"]

ReplicationEnd: TypeAlias = str | Mapping[str, Any]
"""A database to replicate from or to: its URL as the server sees it, or a result of :func:`replication_end`."""

_LONGEST_PAUSE: Final = 2.0
"""The longest time between two looks at the state of a replication, in seconds."""

_DATABASE: Final = "_replicator"


def replication_end(
    url: str, user: str | None = None, password: str | None = None, headers: Mapping[str, str] = EMPTY
) -> JSONObject:
    """Return a database to replicate from or to, with the credentials for it.

    The credentials are stored in plain text in the replication's document, which its owner and server admins can read.
    """
    made: JSONObject = {"url": url}
    if headers:
        made["headers"] = dict(headers)
    if user is not None:
        made["auth"] = {"basic": {"username": user, "password": password or ""}}
    return made


class Replications:
    """The replications of a server."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.path = (_DATABASE,)

    def __repr__(self) -> str:
        return f"<Replications of {self.session!r}>"

    async def create(
        self, source: ReplicationEnd, target: ReplicationEnd, id: str | None = None, **options: Any
    ) -> "Replication":
        """Make the server replicate from one database to another: once, or with ``continuous=True`` until cancelled.

        ``options`` are CouchDB's, such as ``create_target``, ``doc_ids``, ``selector`` and ``filter``. The server
        begins at once and goes on after a restart. Raises ConflictError if a replication of this ``id`` exists;
        ConfigurationError if ``source`` or ``target`` has no HTTP URL, which CouchDB requires.
        """
        ends = {"source": _check_end(source, "source"), "target": _check_end(target, "target")}
        replication = Replication(self, id or secrets.token_hex(16), {**options, **ends})
        await replication.save()
        return replication

    async def get(self, id: str) -> "Replication":
        """Load the replication of this id. Raises NotFoundError."""
        replication = Replication(self, id)
        await replication.fetch(discard_changes=True)
        return replication

    async def states(self, **params: Any) -> list[ReplicationState]:
        """Return the states of all replications (``GET /_scheduler/docs``); ``params`` are ``limit`` and ``skip``."""
        answer = await self.session.get(("_scheduler", "docs"), {name: str(value) for name, value in params.items()})
        return cast(list[ReplicationState], answer["docs"])

    async def jobs(self, **params: Any) -> list[SchedulerJob]:
        """Return the replications that are running or waiting to run (``GET /_scheduler/jobs``).

        ``params`` are ``limit`` and ``skip``.
        """
        answer = await self.session.get(("_scheduler", "jobs"), {name: str(value) for name, value in params.items()})
        return cast(list[SchedulerJob], answer["jobs"])


class Replication(Document):
    """A replication that a server runs: the document of the ``_replicator`` database that describes it."""

    async def state(self) -> ReplicationState:
        """Return the state of the replication. Raises NotFoundError if the replication was deleted."""
        try:
            return cast(ReplicationState, await self.session.get(("_scheduler", "docs", _DATABASE, self.id)))
        except NotFoundError:
            # Raises NotFoundError if the document is gone, too.
            await self.info()
            # The document exists, and the scheduler has not seen it yet.
            return {"database": _DATABASE, "doc_id": self.id, "state": "initializing", "error_count": 0, "info": None}

    async def wait(self, failures: int = 1) -> ReplicationState:
        """Wait until the replication is completed, and return its last state. A continuous one is never completed.

        Use :func:`asyncio.timeout` to limit the wait. Raises ReplicationError if the replication has failed for good,
        or ``failures`` times in a row, after which the server goes on trying; NotFoundError if it was deleted.
        """
        pause = 0.1
        while True:
            state = await self.state()
            if state["state"] == "completed":
                return state
            if state["state"] == "failed" or state["error_count"] >= failures:
                raise ReplicationError(_failure_message(state), state=state["state"])
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)  # short replications are noticed soon, long ones asked for rarely

    async def cancel(self) -> None:
        """Stop the replication and delete its document. Does nothing if it is gone; unsaved changes are discarded.

        The server stops the replication within a few seconds. Until then it has a :meth:`state`.
        """
        try:
            await self.fetch(discard_changes=True)  # the server writes into the document, so the revision may be old
            await self.delete()
        except NotFoundError:
            return


def _check_end(given: ReplicationEnd, name: str) -> ReplicationEnd:
    url = given if isinstance(given, str) else given.get("url", "")
    if not str(url).startswith(("http://", "https://")):
        raise ConfigurationError(f"the {name} of a replication is a URL as the server sees it: http://HOST:PORT/NAME")
    return given


def _failure_message(state: ReplicationState) -> str:
    info = state["info"] or {}
    ends = f"from {state.get('source')} to {state.get('target')}"
    return f"replication {state['doc_id']!r} {ends} is {state['state']}: {info.get('error', 'no reason is given')}"
