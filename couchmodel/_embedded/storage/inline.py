"""Run short reads in the event loop, where the way to a thread would cost ten times the work.

A read may run twice, so it must not change anything, not even Python objects. It sees the database as of one moment.
"""

import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from couchmodel._embedded import limits
from couchmodel._embedded.budget import BusyError
from couchmodel._embedded.storage.sqlite import Connection, Job, SQLiteError, may_be_repeated, server_error
from couchmodel._embedded.storage.transactions import Snapshots

__all__ = ["Inline"]

T = TypeVar("T")

_NEVER: Final = 2**63
"""A deadline in nanoseconds that is never reached."""


class Inline:
    """A connection for reads in the event loop.

    It never waits: not for another program that has the file locked, and not for a long read.
    """

    __slots__ = ("_deadline", "_snapshots", "lock")

    def __init__(
        self, connection: Connection, lock: threading.Lock, connect: Callable[[], Connection] | None = None
    ) -> None:
        """``connect`` opens another connection to the same file."""
        self._snapshots = Snapshots(connection, connect)
        self.lock = lock
        self._deadline = _NEVER
        self._set_handler()

    @property
    def connection(self) -> Connection:
        """The connection, which may be replaced by another one."""
        return self._snapshots.connection

    def run(self, job: Job[T]) -> T:
        """Run a job and return its result.

        Raises BusyError if the job has to run on a worker instead.
        """
        if not self.lock.acquire(blocking=False):
            raise BusyError
        try:
            # The progress handler reads it, see ``_set_handler``. The rollback must not be interrupted, so it runs
            # without.
            self._deadline = time.monotonic_ns() + limits.INLINE_NANOSECONDS
            return self._snapshots.run(job, self._clear_deadline)
        except SQLiteError as error:
            # Interrupted by the deadline, or locked by another program: a worker may wait for either.
            if may_be_repeated(error):
                if self._snapshots.renew():
                    self._set_handler()
                raise BusyError from None
            raise server_error(error) from error
        finally:
            self.lock.release()

    def _set_handler(self) -> None:
        # The handler is set once: to set it for each read would cost more than the read. It has to compare with the
        # clock, because SQLite's count of instructions carries over from one statement to the next.
        self.connection.set_progress_handler(self._is_late, limits.CLOCK_STEPS)

    def _clear_deadline(self) -> None:
        self._deadline = _NEVER

    def _is_late(self) -> bool:
        return time.monotonic_ns() > self._deadline
