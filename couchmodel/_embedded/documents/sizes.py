"""How large a database is, near enough for a list of databases.

A store is one file for all its databases, and SQLite does not know whose its pages are. So some documents of a database
are measured, spread evenly over its changes, and stand for the others; all of them are measured where they are few.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from couchmodel._embedded.documents.attachments import unpack
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Database

__all__ = ["Sizes", "forget_sizes", "read_sizes"]

SAMPLED: Final = 32
"""Documents that are measured, each at the cost of two look-ups."""

OLD: Final = 8
"""Superseded revisions of a document that are measured."""

STALE: Final = 20
"""A database is measured again when a part of its documents as large as one of these has changed."""


class Sizes(NamedTuple):
    """The bytes of a database by CouchDB's names.

    ``external`` are the documents and their attachments, ``active`` what is stored of these, ``file`` that and what a
    compaction would take away.
    """

    file: int
    external: int
    active: int


class Measured(NamedTuple):
    """The sizes of some documents, and when they were measured: at which number of changes, and of which documents."""

    changes: int
    documents: int
    sizes: Sizes


_measured: Final[WeakKeyDictionary[Database, Measured]] = WeakKeyDictionary()
"""The last measurement of each database."""


def read_sizes(database: Database, count: int, changes: int, connection: Connection) -> Sizes:
    """Return the sizes of a database that has ``count`` documents after so many changes, measured anew if need be."""
    measured = _measured.get(database)
    if measured is None or abs(changes - measured.changes) * STALE > count:
        measured = _measured[database] = _measure(database.number, count, changes, connection)
    if not measured.documents:
        return Sizes(0, 0, 0)
    return Sizes(*(size * count // measured.documents for size in measured.sizes))


def forget_sizes(database: Database) -> None:
    """Have a database measured anew: it has been compacted."""
    _measured.pop(database, None)


def _measure(database: int, count: int, changes: int, connection: Connection) -> Measured:
    found = [_size(row, connection) for row in _sample(database, count, connection)]
    return Measured(changes, len(found), Sizes(*map(sum, zip(*found, strict=True))) if found else Sizes(0, 0, 0))


_COLUMNS: Final = "number, deleted, length(id), length(body), length(tree), attachments"


def _sample(database: int, count: int, connection: Connection) -> Iterator[tuple[Any, ...]]:
    """Give the rows that are measured: all, or some whose sequence numbers lie evenly apart."""
    if count <= SAMPLED:
        yield from connection.execute(f"SELECT {_COLUMNS} FROM document WHERE database = ?", (database,))
        return
    lowest, highest = connection.execute(
        "SELECT (SELECT min(seq) FROM document WHERE database = ?), (SELECT max(seq) FROM document WHERE database = ?)",
        (database, database),
    ).fetchone()
    for place in range(SAMPLED):
        yield from connection.execute(
            f"SELECT {_COLUMNS} FROM document WHERE database = ? AND seq >= ? ORDER BY seq LIMIT 1",
            (database, lowest + (highest - lowest) * place // SAMPLED),
        )


def _size(row: tuple[Any, ...], connection: Connection) -> Sizes:
    number, deleted, id, body, tree, packed = row
    attached = sum(attachment.encoded_length for attachment in unpack(packed)) if packed else 0
    old, each = connection.execute(_REVISIONS, (number, number)).fetchone()
    external = 0 if deleted else body + attached
    active = id + body + tree + attached
    return Sizes(active + old * (each or 0), external, active)


_REVISIONS: Final = (
    "SELECT (SELECT count(*) FROM revision WHERE document = ?),"
    f" (SELECT CAST(avg(length(body)) AS INTEGER) FROM (SELECT body FROM revision WHERE document = ? LIMIT {OLD}))"
)
"""How many superseded revisions a document has, and how long one of them is."""
