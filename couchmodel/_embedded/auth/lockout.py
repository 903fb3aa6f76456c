"""Whoever guesses passwords is made to wait."""

import threading
import time
from typing import Final, NamedTuple

__all__ = ["Guess", "Lockout"]

THRESHOLD: Final = 5
LIFE: Final = 300.0
MOST: Final = 10_000
"""CouchDB's defaults: so many failures lock somebody out for so many seconds; so many are remembered."""


class Guess(NamedTuple):
    """Who tries to be whom: another password of the user, and so another ``salt``, is another guess."""

    peer: str
    name: str
    salt: str


class Lockout:
    """Counts failures to log in as a user, until some time has passed since the first of them. From any thread."""

    def __init__(self) -> None:
        self._failures: dict[Guess, tuple[float, int]] = {}
        self._lock = threading.Lock()

    def is_locked_out(self, guess: Guess) -> bool:
        """Whether there were too many failures."""
        return self._count(guess)[1] >= THRESHOLD

    def note(self, guess: Guess) -> None:
        """Count a failure."""
        with self._lock:
            began, count = self._count(guess)
            self._failures.pop(guess, None)
            while len(self._failures) >= MOST:
                self._failures.pop(next(iter(self._failures)))
            self._failures[guess] = began, count + 1

    def _count(self, guess: Guess) -> tuple[float, int]:
        now = time.monotonic()
        began, count = self._failures.get(guess, (now, 0))
        return (began, count) if now - began < LIFE else (now, 0)
