"""A replication, which reads the changes of a source in order and copies their documents to a target."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import asdict
from typing import Any, Final

from couchmodel._replication.checkpoints import Checkpoints
from couchmodel._replication.filters import filter_code
from couchmodel._replication.options import ReplicationCounts, ReplicationOptions, replication_id
from couchmodel._replication.peer import Peer
from couchmodel._replication.transfer import Transfer
from couchmodel._wire.messages import encode
from couchmodel.errors import (
    CouchModelError,
    NotFoundError,
    PreconditionFailedError,
    ProtocolError,
    ResponseError,
    ServerError,
)

__all__ = ["Replication"]

_log: Final = logging.getLogger("couchmodel.replication")

_PAGE: Final = 500
"""Changes in one request."""

_BATCH: Final = 100
"""Documents in a batch."""

_PARALLEL_BATCHES: Final = 4
"""Batches that are moved at the same time."""

_HEARTBEAT: Final = "10000"
"""Milliseconds after which a source without changes has to send a heartbeat."""


class Replication:
    """One replication. It can be run once. ``counts`` and ``copied_seq`` show its progress."""

    def __init__(self, source: Peer, target: Peer, options: ReplicationOptions) -> None:
        self.source = source
        self.target = target
        self.options = options
        self.session = secrets.token_hex(16)
        self.counts = ReplicationCounts()
        self.copied_seq: str | int = 0
        """The sequence of the source up to which everything is in the target."""
        self.checkpoint_seq: str | int = 0
        """The sequence of the last checkpoint."""
        self.has_begun = False
        """True once ``copied_seq`` is known from the checkpoints, if there are any."""
        self.pending: int | None = None
        """Changes of the source that follow ``copied_seq``; None if the source does not say."""
        self.on_progress: Callable[[], None] | None = None
        """A function that is called when the replication begins, and each time that ``copied_seq`` has changed."""
        self._checkpoints = Checkpoints(source, target, "", self.session)
        self._filter_code: str | None = None
        self._start_times: tuple[str | None, ...] = ()
        self._transfer = Transfer(source, target, self.counts)
        self._saved_at = time.monotonic()
        self._has_changes = False

    async def run(self) -> dict[str, Any]:
        """Replicate once, or until cancelled if it is continuous, and return CouchDB's answer without ``ok``.

        Raises NotFoundError if an end does not exist, and any other error of an end: a ResponseError or TransportError.
        """
        await self._open_ends()
        try:
            return await self._run()
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, CouchModelError):
                raise
            message = f"the answers of {self.source.name} or {self.target.name} are not CouchDB's: {error!r}"
            raise ProtocolError(message) from error

    async def _run(self) -> dict[str, Any]:
        await self._begin()
        try:
            await self._replicate()
        except asyncio.CancelledError:
            # A checkpoint saves work, but a cancellation must not wait for a server that is gone.
            with suppress(CouchModelError, TimeoutError):
                async with asyncio.timeout(1):
                    await self._save_progress()
            raise
        if not self.options.use_checkpoints:
            return {"use_checkpoints": False}
        if not self._has_changes:
            return {"no_changes": True, **self._checkpoints.log}
        await self._save_progress()
        return self._checkpoints.log

    @property
    def refused(self) -> tuple[str, ...]:
        """The ids of documents that could not be read or written, in the order of their first failure."""
        return tuple(self._transfer.refused)

    def totals(self) -> dict[str, int]:
        """Return the counts of this session and of those before it, as CouchDB shows them."""
        before = self._checkpoints.before
        return {name: count + before.get(name, 0) for name, count in asdict(self.counts).items()}

    async def is_behind(self) -> bool:
        """Return True if the source has changes after ``copied_seq``."""
        return bool((await self._read_changes(self.copied_seq, waits=False, limit=1))["results"])

    async def _open_ends(self) -> None:
        source = await self._read_start_time(self.source)
        if self.options.create_target:
            with suppress(PreconditionFailedError):
                await self.target.create(self.options.create_target_params)
        self._start_times = source, await self._read_start_time(self.target)

    @staticmethod
    async def _read_start_time(peer: Peer) -> str | None:
        """Return the ``instance_start_time`` of a database; None if it tells none.

        Raises NotFoundError, in CouchDB's words, if there is no such database.
        """
        try:
            return await peer.instance_start_time()
        except NotFoundError as error:
            raise NotFoundError(f"could not open {peer.name}", code="db_not_found") from error

    async def _begin(self) -> None:
        self._filter_code = await filter_code(self.source, self.options)
        id = replication_id(self.source.name, self.target.name, self.options, self._filter_code)
        self._checkpoints = Checkpoints(self.source, self.target, id, self.session)
        start: str | int = 0
        if self.options.use_checkpoints:
            start = await self._checkpoints.read()
        if self.options.since_seq is not None:
            self._checkpoints.start = start = self.options.since_seq
        self.copied_seq = self.checkpoint_seq = start
        self.has_begun = True
        self._report_progress()

    async def _replicate(self) -> None:
        async with aclosing(self._pages()) as pages:  # no request may go on once the replication has failed
            async for page in pages:
                await self._process_page(page)

    async def _process_page(self, page: Mapping[str, Any]) -> None:
        rows = page["results"]
        if rows:
            self._has_changes = True
            # Only after the whole page is copied does its sequence count, so a failure repeats revisions and loses
            # none.
            await self._copy({row["id"]: [change["rev"] for change in row["changes"]] for row in rows})
        self.copied_seq, self.pending = page["last_seq"], page.get("pending")
        self._report_progress()
        if (time.monotonic() - self._saved_at) * 1000 >= self.options.checkpoint_interval:
            await self._write_checkpoint()

    def _report_progress(self) -> None:
        if self.on_progress is not None:
            self.on_progress()

    async def _pages(self) -> AsyncGenerator[dict[str, Any], None]:
        """Yield pages of changes. The next page is requested while the last one is copied."""
        request = asyncio.create_task(self._read_changes(self.copied_seq, waits=self.options.continuous))
        try:
            while True:
                page = await self._wait_for_page(request)
                # A page that is not full is the last one.
                if not self.options.continuous and len(page["results"]) < _PAGE:
                    yield page
                    return
                request = asyncio.create_task(self._read_changes(page["last_seq"], waits=self.options.continuous))
                yield page
        finally:
            request.cancel()
            await asyncio.gather(request, return_exceptions=True)

    async def _wait_for_page(self, request: asyncio.Task[dict[str, Any]]) -> dict[str, Any]:
        """Wait for a page of changes and return it. Write checkpoints while the source has no changes."""
        while not request.done():
            await asyncio.wait([request], timeout=self.options.checkpoint_interval / 1000)
            if not request.done():
                await self._write_checkpoint()
        return request.result()

    async def _read_changes(self, since: str | int, *, waits: bool, limit: int = _PAGE) -> dict[str, Any]:
        options = self.options
        query = {"style": "main_only" if options.winning_revs_only else "all_docs", "limit": str(limit)}
        query["since"] = since if isinstance(since, str) else encode(since).decode()
        if waits:
            query |= {"feed": "longpoll", "heartbeat": _HEARTBEAT}
        body: Mapping[str, Any] | None = None
        if options.doc_ids is not None:
            query["filter"], body = "_doc_ids", {"doc_ids": options.doc_ids}
        elif options.selector is not None:
            query["filter"], body = "_selector", {"selector": options.selector}
        elif options.filter is not None:
            query |= {name: _parameter(value) for name, value in options.query_params.items()}
            query["filter"] = options.filter
        return await self.source.changes(query, body)

    async def _copy(self, revs: Mapping[str, list[str]]) -> None:
        """Copy the documents of a page, several batches at a time."""
        ids, gate = list(revs), asyncio.Semaphore(_PARALLEL_BATCHES)

        async def move(some: list[str]) -> None:
            async with gate:
                await self._transfer.copy_missing({id: revs[id] for id in some})

        moving = [asyncio.create_task(move(ids[at : at + _BATCH])) for at in range(0, len(ids), _BATCH)]
        try:
            await asyncio.gather(*moving)
        finally:
            for task in moving:
                task.cancel()
            await asyncio.gather(*moving, return_exceptions=True)

    async def _write_checkpoint(self) -> None:
        """Write a checkpoint, unless the filter function has changed.

        Raises ServerError if it has: the replication has another id then, and has to begin again.
        """
        if await filter_code(self.source, self.options) != self._filter_code:
            raise ServerError(f"the filter {self.options.filter!r} has changed", code="filter_changed")
        await self._save_progress()

    async def _save_progress(self) -> None:
        if not self.options.use_checkpoints or self.copied_seq == self.checkpoint_seq:
            return
        await self._check_same_databases()
        by_ids = self.options.doc_ids is not None
        await self._checkpoints.write(self.copied_seq, self.totals(), by_ids=by_ids)
        try:
            await self._check_same_databases()
        except ResponseError:  # it was created anew in between, and its checkpoint is of documents that it lacks
            await self._checkpoints.forget()
            raise
        self.checkpoint_seq, self._saved_at = self.copied_seq, time.monotonic()

    async def _check_same_databases(self) -> None:
        """Raise ServerError if a database was deleted and created again, so that it has lost what was written."""
        for word, peer, created in zip(
            ("source", "target"), (self.source, self.target), self._start_times, strict=True
        ):
            if await peer.instance_start_time() != created:
                reason = f"instance_start_time on {word} database has changed since last checkpoint."
                raise ServerError(reason, code="checkpoint_commit_failure")


def _parameter(value: Any) -> str:
    return value if isinstance(value, str) else encode(value).decode()
