"""Make document ids with CouchDB's ``sequential`` algorithm.

Consecutive ids differ only at their end, so new documents lie beside each other in the index of ids.
"""

import secrets
import threading
from typing import Final

__all__ = ["Uuids"]

_LIMIT: Final = 0xFFF000
"""Largest value of the six digits that grow; after it a new random prefix begins. See CouchDB's couch_uuids.erl."""

_STEP: Final = 0xFFE
"""Upper bound of a random step from one id to the next, from the same source file."""


class Uuids:
    """A sequence of ids of 32 hexadecimal digits: 26 random ones, and 6 that grow by random steps."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begin()

    def next(self) -> str:
        """Return the next id."""
        with self._lock:
            # A new prefix before the counter could overflow its six digits.
            if self._count > _LIMIT:
                self._begin()
            id = f"{self._prefix}{self._count:06x}"
            self._count += secrets.randbelow(_STEP - 1) + 1
        return id

    def _begin(self) -> None:
        self._prefix = secrets.token_hex(13)
        self._count = secrets.randbelow(_STEP - 1) + 1
