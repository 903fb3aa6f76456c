"""A replication: from the changes of a source to the documents of a target, in the order of the changes."""

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
from couchmodel._replication.options import Counts, Options, replication_id
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
"""Changes that are asked for at a time."""

_BATCH: Final = 100
_AT_ONCE: Final = 4
"""Documents of a batch, and batches that are under way at a time."""

_HEARTBEAT: Final = "10000"
"""Milliseconds after which a source that has nothing to tell shows that it is there."""


class Replication:
    """One replication. It is run once; ``counts`` and ``through`` tell how far it has come meanwhile."""

    def __init__(self, source: Peer, target: Peer, options: Options) -> None:
        self.source = source
        self.target = target
        self.options = options
        self.session = secrets.token_hex(16)
        self.counts = Counts()
        self.through: str | int = 0
        """The sequence of the source up to which everything is in the target."""
        self.committed: str | int = 0
        """That of the last checkpoint."""
        self.pending: int | None = None
        self.progressed: Callable[[], None] | None = None
        """Called whenever ``through`` has moved on."""
        self._checkpoints = Checkpoints(source, target, "", self.session)
        self._code: str | None = None
        self._started: tuple[str | None, ...] = ()
        self._transfer = Transfer(source, target, self.counts)
        self._saved = time.monotonic()
        self._has_changes = False

    async def run(self) -> dict[str, Any]:
        """Replicate, and for a continuous one do so until it is cancelled; CouchDB's answer without ``ok``.

        Raises NotFoundError where an end is not there, and what else an end answers or fails with.
        """
        await self._verify()
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
            # What is done need not be done again; but whoever cancels does not want to wait for a dead server.
            with suppress(CouchModelError, TimeoutError):
                async with asyncio.timeout(1):
                    await self._save()
            raise
        if not self.options.use_checkpoints:
            return {"use_checkpoints": False}
        if not self._has_changes:
            return {"no_changes": True, **self._checkpoints.log}
        await self._save()
        return self._checkpoints.log

    def totals(self) -> dict[str, int]:
        """The counts of this session and of those before it, as CouchDB tells them."""
        before = self._checkpoints.before
        return {name: count + before.get(name, 0) for name, count in asdict(self.counts).items()}

    async def is_behind(self) -> bool:
        """Whether the source has changes that have not been dealt with."""
        return bool((await self._ask(self.through, waits=False, limit=1))["results"])

    async def _verify(self) -> None:
        source = await self._open(self.source)
        if self.options.create_target:
            with suppress(PreconditionFailedError):
                await self.target.create(self.options.create_target_params)
        self._started = source, await self._open(self.target)

    @staticmethod
    async def _open(peer: Peer) -> str | None:
        """When the database was made. Raises NotFoundError, in CouchDB's words."""
        try:
            return await peer.started()
        except NotFoundError as error:
            raise NotFoundError(f"could not open {peer.name}", code="db_not_found") from error

    async def _begin(self) -> None:
        self._code = await filter_code(self.source, self.options)
        id = replication_id(self.source.name, self.target.name, self.options, self._code)
        self._checkpoints = Checkpoints(self.source, self.target, id, self.session)
        start: str | int = 0
        if self.options.use_checkpoints:
            start = await self._checkpoints.read()
        if self.options.since_seq is not None:
            self._checkpoints.start = start = self.options.since_seq
        self.through = self.committed = start

    async def _replicate(self) -> None:
        async with aclosing(self._pages()) as pages:  # nothing may be asked for any more once it has failed
            async for page in pages:
                await self._take(page)

    async def _take(self, page: Mapping[str, Any]) -> None:
        rows = page["results"]
        if rows:
            self._has_changes = True
            await self._move({row["id"]: [change["rev"] for change in row["changes"]] for row in rows})
        self.through, self.pending = page["last_seq"], page.get("pending")
        if self.progressed is not None:
            self.progressed()
        if (time.monotonic() - self._saved) * 1000 >= self.options.checkpoint_interval:
            await self._stop_over()

    async def _pages(self) -> AsyncGenerator[dict[str, Any], None]:
        """The changes, some at a time; the next are on their way while these are dealt with."""
        asking = asyncio.create_task(self._ask(self.through, waits=self.options.continuous))
        try:
            while True:
                page = await self._arrived(asking)
                if not self.options.continuous and len(page["results"]) < _PAGE:
                    yield page
                    return
                asking = asyncio.create_task(self._ask(page["last_seq"], waits=self.options.continuous))
                yield page
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _arrived(self, asking: asyncio.Task[dict[str, Any]]) -> dict[str, Any]:
        """The page; while the source has nothing to tell there is time for a checkpoint."""
        while not asking.done():
            await asyncio.wait([asking], timeout=self.options.checkpoint_interval / 1000)
            if not asking.done():
                await self._stop_over()
        return asking.result()

    async def _ask(self, since: str | int, *, waits: bool, limit: int = _PAGE) -> dict[str, Any]:
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

    async def _move(self, revs: Mapping[str, list[str]]) -> None:
        """Move a page, several batches of it at a time."""
        ids, gate = list(revs), asyncio.Semaphore(_AT_ONCE)

        async def move(some: list[str]) -> None:
            async with gate:
                await self._transfer.move({id: revs[id] for id in some})

        moving = [asyncio.create_task(move(ids[at : at + _BATCH])) for at in range(0, len(ids), _BATCH)]
        try:
            await asyncio.gather(*moving)
        finally:
            for task in moving:
                task.cancel()
            await asyncio.gather(*moving, return_exceptions=True)

    async def _stop_over(self) -> None:
        """Save how far it has come, if what it does is still what it was asked for.

        Raises ServerError where the filter function is another one by now, so that a new replication begins.
        """
        if await filter_code(self.source, self.options) != self._code:
            raise ServerError(f"the filter {self.options.filter!r} has changed", code="filter_changed")
        await self._save()

    async def _save(self) -> None:
        if not self.options.use_checkpoints or self.through == self.committed:
            return
        await self._check_same()
        by_ids = self.options.doc_ids is not None
        await self._checkpoints.write(self.through, self.totals(), by_ids=by_ids)
        try:
            await self._check_same()
        except ResponseError:  # it was made anew in between, and has a checkpoint of what it has not got
            await self._checkpoints.forget()
            raise
        self.committed, self._saved = self.through, time.monotonic()

    async def _check_same(self) -> None:
        """Raise ServerError where a database is another one of its name: what was written is gone with the old one."""
        for word, peer, started in zip(("source", "target"), (self.source, self.target), self._started, strict=True):
            if await peer.started() != started:
                reason = f"instance_start_time on {word} database has changed since last checkpoint."
                raise ServerError(reason, code="checkpoint_commit_failure")


def _parameter(value: Any) -> str:
    return value if isinstance(value, str) else encode(value).decode()
