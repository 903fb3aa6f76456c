"""Turns for the other tasks of an event loop.

An await suspends a task only if something below it has to wait. An embedded store rarely waits, and neither does a
client for a row that has arrived already. A loop of such awaits would keep timeouts from striking and other tasks from
running. So each operation that may be repeated without a wait gives the event loop a turn when one is due.

This module does not import asyncio: with a bare ``yield``, a coroutine gives a turn to any event loop.
"""

import threading
from collections.abc import Generator
from time import monotonic_ns
from types import coroutine
from typing import Final

__all__ = ["give_turn", "turn_is_due"]

INTERVAL: Final = 1_000_000
"""Nanoseconds between two turns. A turn costs about 10 microseconds, so turns take one per cent of the time."""


class _Clock(threading.local):
    """The time, in nanoseconds, at which this thread's event loop is due its next turn."""

    due = 0


_clock: Final = _Clock()


def turn_is_due() -> bool:
    """Return True if it is time for :func:`give_turn`. Every read calls this; a call costs 0.1 microseconds."""
    return monotonic_ns() > _clock.due


async def give_turn() -> None:
    """Let the event loop run its other tasks.

    The task may be cancelled here. So call this before an operation, and not after one whose result would be lost.
    """
    await _suspend()
    _clock.due = monotonic_ns() + INTERVAL


@coroutine
def _suspend() -> Generator[None]:
    yield
