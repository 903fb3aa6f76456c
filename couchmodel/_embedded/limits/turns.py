"""Reads that may take long: in turns on the reading thread, hardly in the event loop, and not for ever."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from couchmodel._embedded.limits.deadlines import OverdueError, time_limit
from couchmodel.errors import ServerError

__all__ = ["TIMEOUT", "TURN", "BusyError", "bounded", "in_event_loop", "leave_event_loop"]

TURN: Final = 0.1
"""Seconds after which a read lets others on the reading thread, and goes on in its next turn."""

TIMEOUT: Final = 60.0
"""Seconds that a query may take, CouchDB's ``request_timeout``."""

INLINE: Final = 0.005
"""Seconds that a read may take in the event loop, before it is begun anew on the thread."""


class BusyError(Exception):
    """A job has to be run on a worker: the connection is in use, or the job takes too long."""


def in_event_loop() -> bool:
    """Whether this thread runs an event loop at the moment."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def leave_event_loop() -> None:
    """Raise BusyError in an event loop: a job calls it before it does what may take long."""
    if in_event_loop():
        raise BusyError


@contextmanager
def bounded(seconds: float) -> Generator[None]:
    """A context for what may take some time, as far as it looks at the clock.

    Raises:
        BusyError: in the event loop, where it takes long.
        ServerError: where it takes longer than so many seconds.
    """
    try:
        with time_limit(INLINE if in_event_loop() else seconds):
            yield
    except OverdueError:
        leave_event_loop()
        reason = "The request could not be processed in a reasonable amount of time."
        raise ServerError(reason, code="timeout") from None
