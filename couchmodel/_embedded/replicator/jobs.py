"""The job of one replication that the store runs: its attempts, its state, and the rows that show it to clients."""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from couchmodel._embedded import limits
from couchmodel._embedded.replicator.endpoints import End, parse_end
from couchmodel._embedded.settings import NODE
from couchmodel._replication.filters import filter_code
from couchmodel._replication.options import ReplicationOptions, parse_options, replication_id
from couchmodel._replication.peer import Peer
from couchmodel._replication.replication import Replication
from couchmodel._retry import Backoff
from couchmodel._wire.users import User
from couchmodel.errors import CouchModelError, NotFoundError, ResponseError, UnauthorizedError

__all__ = ["Job", "ReplicationRequest", "format_time", "parse_replication_request"]

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class ReplicationRequest:
    """The parsed body of a request for a replication."""

    source: End
    target: End
    options: ReplicationOptions

    async def id(self, store: str, source: Peer) -> str:
        """Return the id of the replication: the name of its checkpoints, and ``+continuous`` and ``+create_target``.

        Raises NotFoundError if the source lacks the filter function, and any other error that the source answers with.
        """
        here, there = (f"{store}/{end.name}" if end.is_local else end.name for end in (self.source, self.target))
        id = replication_id(here, there, self.options, await filter_code(source, self.options))
        return id + "+continuous" * self.options.continuous + "+create_target" * self.options.create_target


def parse_replication_request(body: Mapping[str, Any]) -> ReplicationRequest:
    """Parse the body of ``_replicate``, or a document of ``_replicator``.

    Raises BadRequestError if it is invalid, ServerError if an end is missing.
    """
    return ReplicationRequest(parse_end(body.get("source")), parse_end(body.get("target")), parse_options(body))


class Job:
    """A replication that is running, waiting for its next attempt, or completed.

    ``make`` makes a new Replication for each attempt. ``identify`` returns the id, which depends on the code of the
    filter function, and so may change between attempts.
    """

    def __init__(
        self,
        asked: ReplicationRequest,
        user: User,
        make: Callable[[], Replication],
        identify: Callable[[], Awaitable[str]],
        document: str | None = None,
    ) -> None:
        self.id: str | None = None
        self.asked = asked
        self.user = user
        self.document = document
        # Clients show it only. CouchDB's is the id of an Erlang process.
        self.pid = f"<{next(_numbers)}>"
        self.began = self.updated = time.time()
        self.state = "pending"
        self.errors = 0
        self.error: str | None = None
        # Newest first, as `_scheduler/jobs` shows them.
        self.events: deque[dict[str, str]] = deque(maxlen=limits.JOB_EVENTS)
        self.replication = make()
        self._make = make
        self._identify = identify
        self._note("added")

    async def run(self) -> dict[str, Any]:
        """Run the replication once. Raises the error of the replication."""
        await self._find_id()
        self.state, self.replication = "running", self._make()
        self._note("started")
        try:
            # A replication runs once: its connections are closed at its end, and each attempt has its own counts.
            answer = await self.replication.run()
        except CouchModelError as error:
            # The words of `couch_replicator_scheduler`: `crashing` waits for its next attempt, `error` has not found
            # its id, `failed` is given up.
            self.state, self.error = "crashing", error_text(error)
            self.errors += 1
            self._note("crashed", self.error)
            raise
        finally:
            self.updated = time.time()
            await self.close()
        self.state, self.error, self.errors = "completed", None, 0
        return answer

    async def _find_id(self) -> None:
        try:
            self.id = await self._identify()
        except CouchModelError as error:
            self.state, self.error, self.updated = "error", _error_reason(error), time.time()
            self.errors += 1
            raise

    async def run_steadily(self) -> dict[str, Any]:
        """Run the replication until it is completed. After a failure it waits longer each time, then tries again."""
        while True:
            before = self.replication.copied_seq
            try:
                return await self.run()
            except CouchModelError:
                if self.replication.copied_seq not in (0, before):
                    self.errors = 1  # the attempt made progress, so the pause is short again
                backoff = Backoff(limits.BACKOFF_SECONDS, longest=limits.LONGEST_BACKOFF_SECONDS)
                await asyncio.sleep(backoff.wait(self.errors))

    async def close(self) -> None:
        """Close the connections to both ends, even if the task is cancelled in between."""
        try:
            await self.replication.source.transport.close()
        finally:
            await self.replication.target.transport.close()

    # --- rows for clients

    def stats(self) -> dict[str, Any]:
        """Return the numbers of what has been done, with the names of ``_scheduler``."""
        replication, totals = self.replication, self.replication.totals()
        return {
            "revisions_checked": totals["missing_checked"],
            "missing_revisions_found": totals["missing_found"],
            "docs_read": totals["docs_read"],
            "docs_written": totals["docs_written"],
            "changes_pending": replication.pending,
            "doc_write_failures": totals["doc_write_failures"],
            "bulk_get_docs": totals["bulk_get_docs"],
            "bulk_get_attempts": totals["bulk_get_attempts"],
            "checkpointed_source_seq": replication.checkpoint_seq,
        }

    def info(self) -> dict[str, Any] | None:
        """Return the member ``info`` of ``_scheduler``: the error, or the numbers of what has been done."""
        return {"error": self.error} if self.error is not None else self.stats()

    def jobs_row(self, database: str | None) -> dict[str, Any]:
        """Return the row of ``_scheduler/jobs``."""
        return {
            "database": database if self.document else None,
            "id": self.id,
            "pid": self.pid if self.state == "running" else None,
            "source": self.asked.source.name,
            "target": self.asked.target.name,
            "user": self.user.name,
            "doc_id": self.document,
            "info": self.info(),
            "history": list(self.events),
            "node": NODE,
            "start_time": format_time(self.began),
        }

    def docs_row(self, database: str) -> dict[str, Any]:
        """Return the row of ``_scheduler/docs``."""
        return {
            "database": database,
            "doc_id": self.document,
            "id": self.id,
            "node": NODE,
            "source": self.asked.source.name,
            "target": self.asked.target.name,
            "state": self.state,
            "info": self.info(),
            "error_count": self.errors,
            "last_updated": format_time(self.updated),
            "start_time": format_time(self.began),
            "source_proxy": None,
            "target_proxy": None,
        }

    def active_tasks_row(self, database: str | None) -> dict[str, Any]:
        """Return the row of ``_active_tasks``."""
        stats, options = self.stats(), self.asked.options
        return {
            "node": NODE,
            "pid": self.pid,
            "process_status": "waiting",
            **stats,
            "checkpoint_interval": options.checkpoint_interval,
            "continuous": options.continuous,
            "database": database if self.document else None,
            "doc_id": self.document,
            "replication_id": self.id,
            "source": self.asked.source.name,
            "source_seq": self.replication.copied_seq,
            "started_on": int(self.began),
            "target": self.asked.target.name,
            "through_seq": self.replication.copied_seq,
            "type": "replication",
            "updated_on": int(time.time()),
            "user": self.user.name,
        }

    def _note(self, kind: str, reason: str | None = None) -> None:
        members = {"reason": reason} if reason else {}
        self.events.appendleft({"timestamp": format_time(time.time()), "type": kind, **members})


def error_text(error: CouchModelError) -> str:
    """Return the text of an error in CouchDB's form, ``code: reason``."""
    match error:
        case NotFoundError(code="db_not_found"):
            return f"db_not_found: {error.reason}"
        case UnauthorizedError():
            return f"unauthorized: {error}"
        case ResponseError():
            return f"{error.code}: {error.reason}"
    return str(error)


def _error_reason(error: CouchModelError) -> str:
    return error.reason if isinstance(error, ResponseError) else str(error)


def format_time(seconds: float) -> str:
    """Return a time, in seconds since the epoch, as ``_scheduler`` writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
