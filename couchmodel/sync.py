"""Replication between any two databases, embedded or on servers: once, both ways, or on and on.

It speaks CouchDB's protocol to both ends: revisions, conflicts, deletions, design documents and attachments arrive as
they are, and checkpoints in both databases let the next replication go on where the last one has ended, or was cut off.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from couchmodel._replication.options import Options
from couchmodel._replication.peer import Peer
from couchmodel._replication.replication import Replication
from couchmodel._wire.messages import Request
from couchmodel.engine.database import Database
from couchmodel.errors import CouchModelError, ResponseError, ServerError, TooManyRequestsError, TransportError

__all__ = ["Following", "Replicated", "follow", "replicate", "synchronize"]

_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 60.0
"""Seconds before a continuous replication that was cut off begins again, at first and at most."""


@dataclass(frozen=True, slots=True)
class Replicated:
    """What a replication has done, or has done so far.

    ``missing_checked`` revisions were put to the target, which lacked ``missing_found``; ``docs_read`` were read and
    ``docs_written`` written. ``doc_write_failures`` were refused by the target, by a validation function or for want
    of permission; they are not tried again. ``last_seq`` is the sequence of the source up to which all is there;
    ``pending``, where the source tells, how many changes follow it.
    """

    missing_checked: int
    missing_found: int
    docs_read: int
    docs_written: int
    doc_write_failures: int
    last_seq: str | int
    pending: int | None = None


async def replicate(
    source: Database,
    target: Database,
    *,
    create_target: bool = False,
    doc_ids: Sequence[str] | None = None,
    selector: Mapping[str, Any] | None = None,
    filter: str | None = None,
    query_params: Mapping[str, Any] | None = None,
    since_seq: str | int | None = None,
    use_checkpoints: bool = True,
    winning_revs_only: bool = False,
) -> Replicated:
    """Bring what the source has, and the target lacks, to the target, once.

    Of ``doc_ids``, ``selector`` (Mango) and ``filter`` (``design/function``, with ``query_params``) one may say which
    documents; the source sorts them out. ``since_seq`` is where to begin, whatever a checkpoint says.

    Raises NotFoundError for a database that is not there, unless ``create_target``; UnauthorizedError, ForbiddenError;
    TransportError where the connection was lost, after which the same call goes on from the last checkpoint.
    """
    options = Options(
        create_target=create_target,
        doc_ids=None if doc_ids is None else tuple(sorted(doc_ids)),
        selector=selector,
        filter=filter,
        query_params=query_params or {},
        since_seq=since_seq,
        use_checkpoints=use_checkpoints,
        winning_revs_only=winning_revs_only,
    )
    replication = Replication(await _peer(source), await _peer(target), options)
    await replication.run()
    return _state(replication)


async def synchronize(here: Database, there: Database, **options: Any) -> tuple[Replicated, Replicated]:
    """Replicate from here to there, and then from there to here; ``options`` are those of :func:`replicate`."""
    return await replicate(here, there, **options), await replicate(there, here, **options)


class Following:
    """A continuous replication. Iterate it for its progress; an iteration ends with an error of the replication."""

    def __init__(self, source: Peer, target: Peer, options: Options) -> None:
        self._source = source
        self._target = target
        self._options = options
        self._replication = Replication(source, target, options)
        self._moved = asyncio.Event()
        self._done = Replicated(0, 0, 0, 0, 0, 0)
        self.error: CouchModelError | None = None
        """What has cut it off, while it waits to begin again, or what has ended it."""

    @property
    def progress(self) -> Replicated:
        """What it has done so far."""
        return _sum(self._done, _state(self._replication))

    async def __aiter__(self) -> AsyncGenerator[Replicated, None]:
        while True:
            self._check()
            moved = self._moved
            yield self.progress
            await moved.wait()

    async def caught_up(self) -> Replicated:
        """Wait until everything that the source has is in the target; what has been done until then."""
        while True:
            self._check()
            moved = self._moved
            if not self._is_cut_off() and self._replication.through and not await self._replication.is_behind():
                return self.progress
            await moved.wait()

    async def run(self) -> None:
        """Replicate until it is cancelled, or an end refuses. Whatever was cut off begins again."""
        pause = _PAUSE
        while True:
            self._replication.on_progress = self._tell
            before = self.progress.last_seq
            try:
                await self._replication.run()
            except CouchModelError as error:
                self.error = error
                self._wake()
                if not _may_pass(error):
                    return
            pause = _PAUSE if self.progress.last_seq != before else min(2 * pause, _LONGEST_PAUSE)
            await asyncio.sleep(pause)
            self._done = self.progress
            self._replication = Replication(self._source, self._target, self._options)

    def _tell(self) -> None:
        self.error = None
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    def _is_cut_off(self) -> bool:
        return self.error is not None

    def _check(self) -> None:
        if self.error is not None and not _may_pass(self.error):
            raise self.error


@asynccontextmanager
async def follow(
    source: Database,
    target: Database,
    *,
    create_target: bool = False,
    doc_ids: Sequence[str] | None = None,
    selector: Mapping[str, Any] | None = None,
    filter: str | None = None,
    query_params: Mapping[str, Any] | None = None,
    winning_revs_only: bool = False,
    checkpoint_interval: float = 30.0,
) -> AsyncGenerator[Following]:
    """A context in which whatever changes in the source arrives in the target, over lost connections as well.

    The arguments are those of :func:`replicate`; ``checkpoint_interval`` is in seconds. Leaving the context writes a
    last checkpoint. Raises what :func:`replicate` does, but for a TransportError.
    """
    options = Options(
        continuous=True,
        create_target=create_target,
        doc_ids=None if doc_ids is None else tuple(sorted(doc_ids)),
        selector=selector,
        filter=filter,
        query_params=query_params or {},
        winning_revs_only=winning_revs_only,
        checkpoint_interval=max(1, int(checkpoint_interval * 1000)),
    )
    following = Following(await _peer(source), await _peer(target), options)
    running = asyncio.create_task(following.run())
    try:
        yield following
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _peer(database: Database) -> Peer:
    """The database as an end of a replication: its server's id tells it from one of the same name elsewhere."""
    transport = database.session.transport
    try:
        server = (await database.session.json(Request("GET", ()))).get("uuid")
    except (ResponseError, TransportError):
        server = None  # whoever may read a database need not be welcome at the server's door, nor be online yet
    return Peer(transport, database.path, f"{server or transport!r}/{database.id}")


def _state(replication: Replication) -> Replicated:
    counts = replication.counts
    return Replicated(
        counts.missing_checked,
        counts.missing_found,
        counts.docs_read,
        counts.docs_written,
        counts.doc_write_failures,
        replication.through,
        replication.pending,
    )


def _sum(before: Replicated, now: Replicated) -> Replicated:
    return Replicated(
        before.missing_checked + now.missing_checked,
        before.missing_found + now.missing_found,
        before.docs_read + now.docs_read,
        before.docs_written + now.docs_written,
        before.doc_write_failures + now.doc_write_failures,
        now.last_seq or before.last_seq,
        now.pending,
    )


def _may_pass(error: CouchModelError) -> bool:
    """Whether it may be better in a while."""
    return isinstance(error, TransportError | ServerError | TooManyRequestsError)
