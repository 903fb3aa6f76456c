"""The scheduler of a store's replications, for requests to ``_replicate`` and documents of ``_replicator``.

A replication is a task of the event loop in which it was requested. It ends with this loop, or when the store is
closed. A document of ``_replicator`` begins its replication again when the store is opened the next time.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Final

from couchmodel._embedded import limits
from couchmodel._embedded.replicator.endpoints import AnswerRequest, OpenTransport, open_end, parse_end
from couchmodel._embedded.replicator.jobs import Job, ReplicationRequest, format_time, parse_replication_request
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.store import Store
from couchmodel._replication.replication import Replication
from couchmodel._wire.messages import Request, decode, document_path, encode
from couchmodel._wire.users import ADMIN, User
from couchmodel.errors import CouchModelError, NotFoundError, ResponseError, UnauthorizedError, response_error

__all__ = ["REPLICATOR", "Replicator"]

REPLICATOR: Final = "_replicator"

_ENDED: Final = ("completed", "failed")


class Replicator:
    """The replications of a store."""

    def __init__(self, store: Store, answer: AnswerRequest, remote: OpenTransport | None) -> None:
        """``remote`` opens transports to other servers; without it only databases of this store can be replicated."""
        self.store = store
        self._answer = answer
        self._remote = remote
        self._tasks: dict[str, tuple[Job, asyncio.Task[dict[str, Any]]]] = {}
        self._documents: dict[str, _Document] = {}
        self._ending: set[asyncio.Task[None]] = set()
        """Replications of documents that were deleted or changed. To end one may take as long as a server is silent."""
        self._watching: asyncio.Task[None] | None = None

    # --- requests to _replicate

    async def replicate(self, asked: ReplicationRequest, user: User) -> dict[str, Any]:
        """Run a replication to its end and return its answer. If the same one is running already, wait for that.

        Raises the error of the replication, UnauthorizedError if it is running for another user.
        """
        return await asyncio.shield(self._ensure_running(await self.id(asked, user), asked, user))

    async def start(self, asked: ReplicationRequest, user: User) -> str:
        """Begin a continuous replication if it is not running already, and return its id."""
        id = await self.id(asked, user)
        _ = self._ensure_running(id, asked, user)
        return id

    async def id(self, asked: ReplicationRequest, user: User) -> str:
        """Return the id of a replication. Raises NotFoundError if its source lacks the filter function."""
        source = open_end(asked.source, self.store.uuid, self._answer, self._remote, user)
        try:
            return await asked.id(self.store.uuid, source)
        finally:
            await source.transport.close()

    async def cancel(self, id: str, user: User) -> None:
        """End a replication.

        Raises NotFoundError if there is none with the id, UnauthorizedError if it belongs to another user.
        """
        found = self._tasks.get(id)
        if found is None:
            raise NotFoundError("missing")
        _require_owner(found[0], user)
        await _end(found[1])

    def jobs(self) -> list[Job]:
        """Return the jobs that are not done, in the order of their ids."""
        document_jobs = [document.job for document in self._documents.values() if document.job and not document.is_done]
        by_id = [
            (job.id, job) for job in (*(job for job, _ in self._tasks.values()), *document_jobs) if job.id is not None
        ]
        return [job for _, job in sorted(by_id, key=lambda pair: pair[0])]

    def job_of(self, document: str) -> Job | None:
        """Return the job of a document, if it has begun one."""
        found = self._documents.get(document)
        return found.job if found else None

    async def documents(self) -> list[dict[str, Any]]:
        """Return the documents of ``_replicator``, without its design documents.

        Raises NotFoundError if the database does not exist.
        """
        answer = await self._ask(Request("GET", (REPLICATOR, "_all_docs"), {"include_docs": "true"}))
        return [row["doc"] for row in answer["rows"] if not row["id"].startswith("_design/")]

    async def document(self, id: str) -> dict[str, Any]:
        """Return a document of ``_replicator``. Raises NotFoundError."""
        found: dict[str, Any] = await self._ask(Request("GET", document_path((REPLICATOR,), id)))
        return found

    @staticmethod
    def names(body: Mapping[str, Any]) -> dict[str, str]:
        """Return the names of a document's source and target, without passwords; an empty dict if one is invalid."""
        with suppress(CouchModelError):
            return {name: parse_end(body.get(name)).name for name in ("source", "target")}
        return {}

    def _ensure_running(self, id: str, asked: ReplicationRequest, user: User) -> "asyncio.Task[dict[str, Any]]":
        found = self._tasks.get(id)
        if found is not None:
            _require_owner(found[0], user)
            return found[1]
        job = self._job(asked, user, None)
        job.id = id
        task = asyncio.create_task(job.run_steadily() if asked.options.continuous else job.run())
        self._tasks[id] = job, task
        task.add_done_callback(lambda task: self._forget(id, task))
        return task

    def _forget(self, id: str, task: "asyncio.Task[dict[str, Any]]") -> None:
        self._tasks.pop(id, None)
        if not task.cancelled():
            task.exception()  # marks the error as seen: asyncio would log it if the client is gone

    def _job(self, asked: ReplicationRequest, user: User, document: str | None) -> Job:
        def make() -> Replication:
            ends = (asked.source, asked.target)
            source, target = (open_end(end, self.store.uuid, self._answer, self._remote, user) for end in ends)
            return Replication(source, target, asked.options)

        return Job(asked, user, make, partial(self.id, asked, user), document)

    # --- documents of _replicator

    def watch(self) -> None:
        """Start the replications of the documents in ``_replicator``, now and as documents are written."""
        database = self.store.databases.get(REPLICATOR)
        if database is not None and (self._watching is None or self._watching.done()):
            self._watching = asyncio.create_task(self._watch(database))

    async def close(self) -> None:
        """End all replications. Their documents in ``_replicator`` do not change, so they begin again later."""
        if self._watching is not None:
            await _end(self._watching)
        # A copy, since a task that ends removes itself.
        for _, task in list(self._tasks.values()):
            await _end(task)

    async def _watch(self, database: Database) -> None:
        since = "0"
        try:
            # An error says that the database was dropped, or that the store is closed.
            with database.watch() as watch, suppress(CouchModelError):
                while True:
                    since = await self._read_changes(since)
                    await watch.wait_for_change(limits.REPLICATOR_SECONDS)
        finally:
            for task in tuple(self._ending):
                task.cancel()  # these were ended before
            for id in list(self._documents):
                _ = self._end(id)
            await asyncio.gather(*self._ending, return_exceptions=True)

    async def _read_changes(self, since: str) -> str:
        """Take up the changes of ``_replicator`` after a sequence, and return the last one."""
        query = {"since": since, "include_docs": "true"}
        answer = await self._ask(Request("GET", (REPLICATOR, "_changes"), query))
        for row in answer["results"]:
            self._take_up(row["id"], row["doc"])
        return str(answer["last_seq"])

    def _take_up(self, id: str, body: Mapping[str, Any]) -> None:
        known = self._documents.get(id)
        if id.startswith("_design/") or (known and known.content == _own_members(body)):
            return
        before = self._end(id) if known else None
        if not body.get("_deleted") and body.get("_replication_state") not in _ENDED:
            self._documents[id] = _Document(self, id, body, before)

    def _end(self, id: str) -> "asyncio.Task[None]":
        """Cancel the replication of a document, and return its task without waiting for it."""
        task = self._documents.pop(id).task
        if not task.done():
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
        return task

    async def _ask(self, request: Request) -> Any:
        response = await self._answer(request, ADMIN)
        await response.collect()
        answer = decode(response.body)
        if response.status >= 400:
            raise response_error(response.status, answer["error"], answer["reason"])
        return answer

    async def make_job(self, id: str, body: Mapping[str, Any]) -> Job:
        """Make the job of a document, with the rights of an administrator: only administrators write ``_replicator``.

        Raises BadRequestError or ServerError if the document is invalid.
        """
        return self._job(await asyncio.to_thread(parse_replication_request, body), ADMIN, id)

    async def write_state(self, id: str, content: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Write a state into a document, unless its request for a replication has changed from ``content``."""
        for _ in range(limits.STATE_ATTEMPTS):
            try:
                document = await self._ask(Request("GET", document_path((REPLICATOR,), id)))
                if _own_members(document) != content:
                    return
                # A state replaces all members of the one before.
                kept = {name: value for name, value in document.items() if not name.startswith("_replication_")}
                body = encode({**kept, **state, "_replication_state_time": format_time(time.time())})
                await self._ask(Request("PUT", document_path((REPLICATOR,), id), body=body))
            except ResponseError as error:
                # After a conflict the document has changed: it is read and compared again. Any other error, such as a
                # deletion, ends the attempt.
                if error.status != 409:
                    return
            else:
                return


class _Document:
    """A document of ``_replicator`` and the task of its replication."""

    def __init__(
        self, replicator: Replicator, id: str, body: Mapping[str, Any], before: "asyncio.Task[None] | None"
    ) -> None:
        """``before`` is the task of the replication that an earlier version of the document asked for."""
        self.content = _own_members(body)
        self.job: Job | None = None
        self._replicator = replicator
        self._id = id
        self.task = asyncio.create_task(self._run(body, before))

    @property
    def is_done(self) -> bool:
        """True if the replication has ended."""
        return self.task.done()

    async def _run(self, body: Mapping[str, Any], before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait([before])
        try:
            self.job = await self._replicator.make_job(self._id, body)
        except CouchModelError as error:
            reason = error.reason if isinstance(error, ResponseError) else str(error)
            await self._write_state({"_replication_state": "failed", "_replication_state_reason": reason})
            return
        await self.job.run_steadily()
        stats = {**self.job.stats(), "start_time": format_time(self.job.began)}
        await self._write_state({"_replication_state": "completed", "_replication_stats": stats})

    async def _write_state(self, state: Mapping[str, Any]) -> None:
        await self._replicator.write_state(self._id, self.content, state)


def _require_owner(job: Job, user: User) -> None:
    if not user.is_admin and job.user.name != user.name:
        raise UnauthorizedError("You are not the owner of this replication.")


def _own_members(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of a document without the reserved ones, except for ``_deleted``.

    The replicator writes reserved members only, so a change of the others is a new request.
    """
    return {name: value for name, value in body.items() if name[:1] != "_" or name == "_deleted"}


async def _end(task: "asyncio.Task[Any]") -> None:
    """Cancel a task in any event loop. Wait for its end if the loop is the running one."""
    loop = task.get_loop()
    if loop is asyncio.get_running_loop():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    elif not loop.is_closed():
        loop.call_soon_threadsafe(task.cancel)
