"""How long what runs in a thread may go on.

Whoever begins it sets the limit. What may take long asks now and then whether it is over, for nobody could stop it from
outside: a selector may ask a document a million things.
"""

import math
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

__all__ = ["OverdueError", "check_time", "in_pieces", "time_left", "time_limit"]

T = TypeVar("T")

PIECE: Final = 100
"""Values that are gone through between two looks at the clock."""


class OverdueError(Exception):
    """The time is over."""


class _Limit(threading.local):
    end = math.inf


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


def check_time() -> None:
    """Raise OverdueError where the time is over."""
    if time.monotonic() > _limit.end:
        raise OverdueError


def time_left() -> float:
    """Seconds until the time is over."""
    return _limit.end - time.monotonic()


def in_pieces(values: Sequence[T]) -> Generator[Sequence[T]]:
    """Many values, a few at a time. Raises OverdueError."""
    for start in range(0, len(values), PIECE):
        check_time()
        yield values[start : start + PIECE]
