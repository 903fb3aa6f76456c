"""Turns for the other tasks of an event loop.

An await suspends a task only where something below it has to wait. An embedded store rarely waits, and a row that has
arrived already is not waited for either. A loop of such awaits would keep timeouts from striking and other tasks from
running. So what may be repeated without a wait gives the event loop a turn when one is due.

Nothing here imports asyncio: a bare ``yield`` is how a coroutine asks any event loop for its next turn.
"""

import threading
from collections.abc import Generator
from time import monotonic_ns
from types import coroutine
from typing import Final

__all__ = ["give_turn", "turn_is_due"]

INTERVAL: Final = 1_000_000
"""Nanoseconds between two turns. A turn costs about 10 microseconds, so this is one per cent of the time."""


class _Clock(threading.local):
    """The time at which this thread's event loop is to have its next turn."""

    due = 0


_clock: Final = _Clock()


def turn_is_due() -> bool:
    """Tell whether it is time for :func:`give_turn`. It is on the way of every read: a call costs 0.1 microseconds."""
    return monotonic_ns() > _clock.due


async def give_turn() -> None:
    """Let the event loop run its other tasks.

    The task may be cancelled here. So it is called before an operation, and not behind one whose result would be lost.
    """
    await _suspend()
    _clock.due = monotonic_ns() + INTERVAL


@coroutine
def _suspend() -> Generator[None]:
    yield
