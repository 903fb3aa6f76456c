"""Lock users out for some time after too many wrong passwords, as CouchDB's ``couch_auth_lockout.erl`` does."""

import threading
import time
from typing import NamedTuple

from couchmodel._embedded import limits

__all__ = ["Guess", "Lockout"]


class Guess(NamedTuple):
    """The key of a count: the client's address and the user.

    The salt of the user's password is part of it, so that a new password begins a new count.
    """

    peer: str
    name: str
    salt: str


class Lockout:
    """The counts of failures to authenticate. A count ends some time after its first failure. Thread-safe."""

    def __init__(self) -> None:
        self._failures: dict[Guess, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def is_locked_out(self, guess: Guess) -> bool:
        """Return True if there were too many failures."""
        # Without the lock: a count that is a moment old does no harm.
        return self._count(guess)[1] >= limits.LOCKOUT_FAILURES

    def note(self, guess: Guess) -> None:
        """Count a failure."""
        with self._lock:
            began, count = self._count(guess)
            # Taken out first, so that the count moves to the end: the counts without a recent failure are dropped
            # first.
            self._failures.pop(guess, None)
            while len(self._failures) >= limits.LOCKOUT_COUNTS:
                self._failures.pop(next(iter(self._failures)))
            self._failures[guess] = began, count + 1

    def _count(self, guess: Guess) -> tuple[float, int]:
        now = time.monotonic()
        began, count = self._failures.get(guess, (now, 0))
        return (began, count) if now - began < limits.LOCKOUT_SECONDS else (now, 0)
