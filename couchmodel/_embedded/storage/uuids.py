"""Ids that a server makes: CouchDB's ``sequential`` algorithm, so that new documents lie beside each other."""

import secrets
import threading
from typing import Final

__all__ = ["Uuids"]

_LIMIT: Final = 0xFFF000
_STEP: Final = 0xFFE


class Uuids:
    """A sequence of ids of 32 hexadecimal digits: 26 random ones, and 6 that grow by random steps."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begin()

    def next(self) -> str:
        """The next id."""
        with self._lock:
            if self._count > _LIMIT:
                self._begin()
            id = f"{self._prefix}{self._count:06x}"
            self._count += secrets.randbelow(_STEP - 1) + 1
        return id

    def _begin(self) -> None:
        self._prefix = secrets.token_hex(13)
        self._count = secrets.randbelow(_STEP - 1) + 1
