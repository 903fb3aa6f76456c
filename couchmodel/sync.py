"""Replication between any two databases, embedded or on servers: once, in both directions, or continuously.

It uses CouchDB's replication protocol for both databases. Revisions, conflicts, deletions, design documents and
attachments arrive as they are. Checkpoints in both databases let the next replication go on where the last one ended or
was cut off.
"""

import asyncio
import warnings
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from couchmodel._replication.options import ReplicationOptions, sort_ids
from couchmodel._replication.peer import Peer
from couchmodel._replication.replication import Replication
from couchmodel._retry import Backoff
from couchmodel._wire.messages import Request
from couchmodel.engine.database import Database
from couchmodel.errors import (
    ConfigurationError,
    CouchModelError,
    ResponseError,
    ServerError,
    TooManyRequestsError,
    TransportError,
)

__all__ = ["ContinuousReplication", "ReplicationStats", "follow", "replicate", "synchronize"]

_BACKOFF: Final = Backoff(0.5, longest=60.0)
"""The wait before a continuous replication that was cut off begins again. It starts anew if there was progress."""


@dataclass(frozen=True, slots=True)
class ReplicationStats:
    """The counts of a replication that has ended, or of a continuous one until now.

    ``missing_checked`` revisions were compared with the target, which lacked ``missing_found`` of them. ``docs_read``
    were read and ``docs_written`` written. ``doc_write_failures`` could not be read or written, for example because of
    a guard, a validation function or a missing permission; they are not tried again. ``refused`` are the ids of their
    documents, which :func:`replicate` sends again with ``doc_ids=done.refused, use_checkpoints=False``. ``last_seq`` is
    the sequence of the source up to which the target has everything. ``pending`` is the number of changes after it, or
    None if the source does not say.
    """

    missing_checked: int
    missing_found: int
    docs_read: int
    docs_written: int
    doc_write_failures: int
    last_seq: str | int
    pending: int | None = None
    refused: tuple[str, ...] = ()


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
) -> ReplicationStats:
    """Copy once to the target the revisions of the source that the target lacks, and return the counts.

    One of ``doc_ids``, ``selector`` (Mango) and ``filter`` (``design/function``, with ``query_params``) may select
    documents; the source applies it. ``since_seq`` is the sequence to begin after, in place of that of a checkpoint.

    Raises NotFoundError if a database does not exist, except for a target with ``create_target``. Raises
    UnauthorizedError and ForbiddenError. Raises TransportError if the connection was lost; the same call then goes on
    from the last checkpoint.
    """
    options = ReplicationOptions(
        create_target=create_target,
        doc_ids=_sorted_ids(doc_ids),
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


async def synchronize(here: Database, there: Database, **options: Any) -> tuple[ReplicationStats, ReplicationStats]:
    """Replicate from ``here`` to ``there``, and then from ``there`` to ``here``.

    ``options`` are those of :func:`replicate`. Return the counts of both.
    """
    return await replicate(here, there, **options), await replicate(there, here, **options)


class ContinuousReplication:
    """A continuous replication.

    Iterate over it for its progress. The iteration raises the error that ends the replication.
    """

    def __init__(self, source: Peer, target: Peer, options: ReplicationOptions) -> None:
        self._source = source
        self._target = target
        self._options = options
        self._replication = Replication(source, target, options)
        self._progress_event = asyncio.Event()
        self._earlier_progress = ReplicationStats(0, 0, 0, 0, 0, 0)
        self.error: CouchModelError | None = None
        """The error that has cut the replication off, while it waits to begin again, or the error that has ended it."""

    @property
    def progress(self) -> ReplicationStats:
        """The counts until now."""
        return _sum(self._earlier_progress, _state(self._replication))

    async def __aiter__(self) -> AsyncGenerator[ReplicationStats, None]:
        while True:
            self._raise_final_error()
            progress_event = self._progress_event
            yield self.progress
            await progress_event.wait()

    async def wait_until_caught_up(self) -> ReplicationStats:
        """Wait until the target has everything that the source has, and return the counts until then.

        Raises the error that ends the replication.
        """
        while True:
            self._raise_final_error()
            # The event is taken before the look at the state, so that progress in between is not missed.
            progress_event = self._progress_event
            if not self._is_cut_off() and self._replication.has_begun and not await self._replication.is_behind():
                return self.progress
            await progress_event.wait()

    async def caught_up(self) -> ReplicationStats:
        """Call :meth:`wait_until_caught_up`, which is the present name. This one works for one more version."""
        _warn_of_former_name("Following.caught_up", "ContinuousReplication.wait_until_caught_up")
        return await self.wait_until_caught_up()

    async def run(self) -> None:
        """Replicate until cancelled, or until an error that will not pass. After any other error, begin again."""
        failures = 1
        while True:
            self._replication.on_progress = self._on_progress
            before = self.progress.last_seq
            try:
                await self._replication.run()
            except CouchModelError as error:
                self.error = error
                self._wake_waiters()
                if not _is_temporary(error):
                    return
            # A replication that got on is not one that fails again and again, so its waits begin anew.
            failures = 1 if self.progress.last_seq != before else failures + 1
            await asyncio.sleep(_BACKOFF.wait(failures))
            # The counts of the run that has ended are added up before the next run takes its place.
            self._earlier_progress = self.progress
            self._replication = Replication(self._source, self._target, self._options)

    def _on_progress(self) -> None:
        self.error = None
        self._wake_waiters()

    def _wake_waiters(self) -> None:
        self._progress_event.set()
        # Each event wakes those who wait now. Who comes later waits for the next one.
        self._progress_event = asyncio.Event()

    def _is_cut_off(self) -> bool:
        return self.error is not None

    def _raise_final_error(self) -> None:
        if self.error is not None and not _is_temporary(self.error):
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
) -> AsyncGenerator[ContinuousReplication]:
    """Run the block while a continuous replication copies all changes of the source to the target.

    It goes on after lost connections. The arguments are those of :func:`replicate`; ``checkpoint_interval`` is in
    seconds. Leaving the context writes a last checkpoint. An error that ends the replication is raised by the
    :class:`ContinuousReplication` of the block.
    """
    options = ReplicationOptions(
        continuous=True,
        create_target=create_target,
        doc_ids=_sorted_ids(doc_ids),
        selector=selector,
        filter=filter,
        query_params=query_params or {},
        winning_revs_only=winning_revs_only,
        # The options are in milliseconds, as those of CouchDB.
        checkpoint_interval=max(1, int(checkpoint_interval * 1000)),
    )
    following = ContinuousReplication(await _peer(source), await _peer(target), options)
    running = asyncio.create_task(following.run())
    try:
        yield following
    finally:
        running.cancel()
        # ``run`` keeps the error that ends it, so only the cancellation is left here.
        await asyncio.gather(running, return_exceptions=True)


async def _peer(database: Database) -> Peer:
    """Return a database as an end of a replication.

    The id of its server is part of its name, which tells it from a database of the same name elsewhere.
    """
    transport = database.session.transport
    try:
        server = (await database.session.json(Request("GET", ()))).get("uuid")
    except (ResponseError, TransportError):
        server = None  # a user of a database may not be allowed to read GET /, or may be offline
    return Peer(transport, database.path, f"{server or transport!r}/{database.id}")


def _state(replication: Replication) -> ReplicationStats:
    counts = replication.counts
    return ReplicationStats(
        counts.missing_checked,
        counts.missing_found,
        counts.docs_read,
        counts.docs_written,
        counts.doc_write_failures,
        replication.copied_seq,
        replication.pending,
        replication.refused,
    )


def _sum(before: ReplicationStats, now: ReplicationStats) -> ReplicationStats:
    return ReplicationStats(
        before.missing_checked + now.missing_checked,
        before.missing_found + now.missing_found,
        before.docs_read + now.docs_read,
        before.docs_written + now.docs_written,
        before.doc_write_failures + now.doc_write_failures,
        now.last_seq or before.last_seq,
        now.pending,
        # A document may have been refused in several runs.
        tuple(dict.fromkeys((*before.refused, *now.refused))),
    )


def _is_temporary(error: CouchModelError) -> bool:
    """Return True if an error may pass with time."""
    return isinstance(error, TransportError | ServerError | TooManyRequestsError)


# --- former names, which work for one more version

_FORMER_NAMES: Final[dict[str, type]] = {"Following": ContinuousReplication, "Replicated": ReplicationStats}


def __getattr__(name: str) -> Any:
    if name not in _FORMER_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _warn_of_former_name(name, _FORMER_NAMES[name].__name__)
    return _FORMER_NAMES[name]


def _warn_of_former_name(former: str, name: str) -> None:
    warnings.warn(f"{former} is now {name}; the old name works in this version only", DeprecationWarning, stacklevel=3)


def _sorted_ids(doc_ids: Iterable[str] | None) -> tuple[str, ...] | None:
    if doc_ids is None:
        return None
    # A text is an iterable of its characters, and would silently replicate nothing.
    found = [doc_ids] if isinstance(doc_ids, str) else list(doc_ids)
    if isinstance(doc_ids, str) or not all(isinstance(each, str) for each in found):
        raise ConfigurationError(f"doc_ids is a list of ids, as in ['apple_pie'], not {doc_ids!r}")
    return sort_ids(found)
