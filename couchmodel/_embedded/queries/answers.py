"""Keep the answers to short queries until their database changes, since programs ask the same again and again."""

from typing import Final, TypeAlias
from weakref import WeakKeyDictionary

from couchmodel._embedded import limits
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.database_row import read_row
from couchmodel._embedded.storage.sqlite import Connection

__all__ = ["KnownAnswers", "Version", "known_answers", "read_version"]

Version: TypeAlias = tuple[int, int]
"""The update and purge sequences of a database: as long as both stay, so do the answers."""


class KnownAnswers:
    """The answers to queries of one database, as of one moment.

    Any number of threads may use it. An answer that one of them loses is made again.
    """

    __slots__ = ("_size", "_state")

    def __init__(self) -> None:
        # One object, so that nobody sees the version of one moment with the answers of another.
        self._state: tuple[Version | None, dict[tuple[str, bytes], bytes]] = (None, {})
        self._size = 0

    def find(self, version: Version, partition: str, text: bytes) -> bytes | None:
        """Return the answer to a query, if it is known for this version of the database."""
        known, answers = self._state
        return answers.get((partition, text)) if known == version else None

    def keep(self, version: Version, partition: str, text: bytes, answer: bytes) -> None:
        """Keep an answer that was made of this version of the database."""
        size = len(text) + len(answer)
        if size > limits.KNOWN_ANSWER_BYTES:
            return
        known, answers = self._state
        if known != version or self._size + size > limits.KNOWN_ANSWERS_BYTES:
            answers = {}
            self._state, self._size = (version, answers), 0
        answers[partition, text] = answer
        self._size += size


def known_answers(database: Database) -> KnownAnswers:
    """Return the known answers of a database."""
    found = _known.get(database)
    if found is None:
        found = _known[database] = KnownAnswers()
    return found


def read_version(connection: Connection, database: Database) -> Version:
    """Return the version of a database. Raises NotFoundError if it was dropped."""
    update_seq, purge_seq = read_row(connection, database.number, "update_seq, purge_seq")
    return update_seq, purge_seq


_known: Final[WeakKeyDictionary[Database, KnownAnswers]] = WeakKeyDictionary()
