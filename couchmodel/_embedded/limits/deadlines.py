"""How long what runs in a thread may go on: until it is stopped, and until it lets others in.

Whoever begins it sets the limit. What may take long asks now and then whether it is over, for nobody could stop it from
outside: a selector may ask a document a million things.

A thread that asks SQLite for many short things lets go of Python's lock only to take it again at once: others that
wait for it are told, and come too late, as often as not. So it has to wait for a moment itself.
"""

import math
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

__all__ = ["OverdueError", "begin_turn", "check_time", "in_pieces", "time_left", "time_limit"]

T = TypeVar("T")

PIECE: Final = 100
"""Values that are gone through between two looks at the clock."""


LONG: Final = 0.005
BREATH: Final = 0.000_05
"""Seconds that a thread goes on before it lets others in, and those that it then waits."""


class OverdueError(Exception):
    """The time is over."""


class _Limit(threading.local):
    end = math.inf
    turn = math.inf


_limit: Final = _Limit()


@contextmanager
def time_limit(seconds: float) -> Generator[None]:
    """A context in which :func:`check_time` raises OverdueError when the time is over."""
    before = _limit.end
    _limit.end = time.monotonic() + seconds
    try:
        yield
    finally:
        _limit.end = before


def begin_turn() -> None:
    """From now on this thread, which asks SQLite for things, lets others in when it looks at the clock."""
    _limit.turn = time.monotonic() + LONG


def check_time() -> None:
    """Look at the clock. Raises OverdueError where the time is over."""
    now = time.monotonic()
    if now > _limit.end:
        raise OverdueError
    if now > _limit.turn:
        time.sleep(BREATH)
        begin_turn()


def time_left() -> float:
    """Seconds until the time is over."""
    return _limit.end - time.monotonic()


def in_pieces(values: Sequence[T]) -> Generator[Sequence[T]]:
    """Many values, a few at a time. Raises OverdueError."""
    for start in range(0, len(values), PIECE):
        check_time()
        yield values[start : start + PIECE]
