"""Keep long reads out of the event loop, and limit their time.

A read begins in the event loop. If it turns out to be long, it raises BusyError and is run again on the reading thread.
A very long one runs there in several turns, so that other reads come in between.
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from couchmodel._embedded.limits.deadlines import DeadlineExceededError, time_budget
from couchmodel.errors import ServerError

__all__ = ["TIMEOUT", "TURN", "BusyError", "bounded", "in_event_loop", "require_thread"]

TURN: Final = 0.1
"""Seconds after which a read leaves the reading thread to others, and goes on in its next turn."""

TIMEOUT: Final = 60.0
"""Seconds that a query may take: the default of CouchDB's setting ``request_timeout``."""

INLINE: Final = 0.005
"""Seconds that a read may take in the event loop before it is run again on the thread."""


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


@contextmanager
def bounded(seconds: float) -> Generator[None]:
    """Run the block with a time limit. The block has to call ``check_time`` for the limit to take effect.

    Raises:
        BusyError: the block took longer than ``INLINE`` seconds in an event loop.
        ServerError: the block took longer than ``seconds`` on a thread.
    """
    try:
        with time_budget(INLINE if in_event_loop() else seconds):
            yield
    except DeadlineExceededError:
        require_thread()
        reason = "The request could not be processed in a reasonable amount of time."
        raise ServerError(reason, code="timeout") from None
