"""Limit the time of work on a thread, and let other threads run in between.

The caller sets a time limit for its thread with :func:`time_limit`. Long work, such as a selector with a million
conditions, calls :func:`check_time` now and then, as no other thread could stop it.

A thread that makes many short calls of SQLite releases Python's global interpreter lock in each call and takes it again
at once. Other threads that wait for the lock are woken, but often too late to get it. So :func:`check_time` also sleeps
for a moment when the thread has run long enough.
"""

import math
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

__all__ = ["DeadlineExceededError", "begin_turn", "check_time", "in_pieces", "time_budget", "time_left"]

T = TypeVar("T")

PIECE: Final = 100
"""Values to process between two looks at the clock."""

LONG: Final = 0.005
"""Seconds that a thread runs before it lets others run."""

BREATH: Final = 0.000_05
"""Seconds that it then sleeps: long enough for another thread to take the interpreter lock."""


class DeadlineExceededError(Exception):
    """The time limit of the running work is over."""


class _Limit(threading.local):
    """This thread's time limit, and the time at which it lets others run: seconds of the monotonic clock."""

    end = math.inf
    turn = math.inf


_limit: Final = _Limit()


@contextmanager
def time_budget(seconds: float) -> Generator[None]:
    """Run the block with a time limit: :func:`check_time` raises OverdueError after that many seconds."""
    before = _limit.end
    _limit.end = time.monotonic() + seconds
    try:
        yield
    finally:
        _limit.end = before


def begin_turn() -> None:
    """Begin a turn of this thread: ``LONG`` seconds from now the next :func:`check_time` lets other threads run.

    Threads that never call this never sleep in :func:`check_time`.
    """
    _limit.turn = time.monotonic() + LONG


def check_time() -> None:
    """Raise OverdueError if the time limit is over, and let other threads run if this one's turn is over."""
    now = time.monotonic()
    if now > _limit.end:
        raise DeadlineExceededError
    if now > _limit.turn:
        time.sleep(BREATH)
        begin_turn()


def time_left() -> float:
    """Return the seconds until the time limit is over, infinity without a limit."""
    return _limit.end - time.monotonic()


def in_pieces(values: Sequence[T]) -> Generator[Sequence[T]]:
    """Yield values in slices, checking the time before each. Raises OverdueError."""
    for start in range(0, len(values), PIECE):
        check_time()
        yield values[start : start + PIECE]
