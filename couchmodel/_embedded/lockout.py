"""Whoever guesses passwords is made to wait."""

import time
from typing import Final

__all__ = ["Lockout"]

THRESHOLD: Final = 5
LIFE: Final = 300.0
MOST: Final = 10_000
"""CouchDB's defaults: so many failures lock somebody out for so many seconds; so many are remembered."""


class Lockout:
    """Counts failures of a client to log in as a user, until some time has passed since the first of them."""

    def __init__(self) -> None:
        self._failures: dict[tuple[str, str, str], tuple[float, int]] = {}

    def is_locked_out(self, peer: str, name: str, salt: str) -> bool:
        """Whether there were too many failures. Another password of the user, and so another salt, starts anew."""
        return self._count(peer, name, salt)[1] >= THRESHOLD

    def note(self, peer: str, name: str, salt: str) -> None:
        """Count a failure."""
        began, count = self._count(peer, name, salt)
        while len(self._failures) >= MOST:
            self._failures.pop(next(iter(self._failures)))
        self._failures[peer, name, salt] = began, count + 1

    def _count(self, peer: str, name: str, salt: str) -> tuple[float, int]:
        now = time.monotonic()
        began, count = self._failures.get((peer, name, salt), (now, 0))
        return (began, count) if now - began < LIFE else (now, 0)
