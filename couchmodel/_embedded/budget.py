"""The time of a piece of work, in the event loop or on a thread.

A read begins in the event loop. If it turns out to be long, it raises BusyError and is run again on the reading thread.
Work that may take long gets a :class:`Budget` as an argument, as no other thread could stop it.
"""

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from typing import Final, NoReturn, TypeVar

from couchmodel._embedded import limits
from couchmodel.errors import ServerError

__all__ = ["TIMEOUT_CODE", "Budget", "BusyError", "in_event_loop", "require_thread"]

T = TypeVar("T")

TIMEOUT_CODE: Final = "timeout"
"""The code of the error of work that takes too long, as in CouchDB."""


class BusyError(Exception):
    """A job has to run on a worker instead: the connection is in use, or the job takes too long."""


def in_event_loop() -> bool:
    """Return True if this thread is running an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def require_thread() -> None:
    """Raise BusyError in an event loop. A job calls this before work that may take long, to run again on a thread."""
    if in_event_loop():
        raise BusyError


class Budget:
    """The time that a piece of work may take. It begins when it is made, by the thread that does the work."""

    __slots__ = ("_end", "_pause_due", "_waits")

    def __init__(self, seconds: float = math.inf) -> None:
        """``seconds`` are for work on a thread. In an event loop, work that is limited at all has much less."""
        self._waits = not in_event_loop()
        now = time.monotonic()
        is_long = self._waits or seconds == math.inf
        self._end = now + (seconds if is_long else min(seconds, limits.INLINE_SECONDS))
        self._pause_due = now + limits.UNBROKEN_SECONDS

    @property
    def seconds_left(self) -> float:
        """The seconds until the time is over, infinity without a limit."""
        return self._end - time.monotonic()

    def check(self) -> None:
        """Raise an error if the time is over: see :meth:`give_up`."""
        if time.monotonic() > self._end:
            self.give_up()

    def pause(self) -> None:
        """Check the time, and let other threads run if this one has run for long. Call this between two rows.

        A thread that makes many short calls of SQLite releases Python's global interpreter lock in each call and takes
        it again at once. Other threads that wait for the lock are woken, but often too late to get it.
        """
        now = time.monotonic()
        if now > self._end:
            self.give_up()
        if self._waits and now > self._pause_due:
            time.sleep(limits.PAUSE_SECONDS)
            self._pause_due = time.monotonic() + limits.UNBROKEN_SECONDS

    def give_up(self) -> NoReturn:
        """Raise the error of work whose time is over: BusyError in an event loop, ServerError on a thread."""
        require_thread()
        reason = "The request could not be processed in a reasonable amount of time."
        raise ServerError(reason, code=TIMEOUT_CODE)

    def pieces(self, values: Sequence[T]) -> Iterator[Sequence[T]]:
        """Yield values in slices. Checks the time before each."""
        for start in range(0, len(values), limits.CHECKED_VALUES):
            self.check()
            yield values[start : start + limits.CHECKED_VALUES]
