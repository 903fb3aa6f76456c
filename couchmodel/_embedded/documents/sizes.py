"""Estimate the size of a database, accurately enough for ``GET /{db}``.

All databases of a store share one file, and SQLite does not know which pages belong to which database. So a sample of
documents is measured, spread evenly over the sequence numbers, and the result is scaled up. A database with few
documents is measured completely.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from couchmodel._embedded import limits
from couchmodel._embedded.budget import require_thread
from couchmodel._embedded.documents.attachments import unpack
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.sqlite import Connection

__all__ = ["Sizes", "forget_sizes", "read_sizes"]


class Sizes(NamedTuple):
    """The sizes of a database in bytes, under CouchDB's names.

    ``external`` counts the living documents and their attachments. ``active`` also counts ids, revision trees and
    tombstones. ``file`` also counts the superseded revisions, which a compaction removes.
    """

    file: int
    external: int
    active: int


class _Measurement(NamedTuple):
    """A measurement of a sample.

    ``changes`` is the number of changes in the database at that time, ``documents`` the number of documents in the
    sample, and ``sizes`` the sum of their sizes.
    """

    changes: int
    documents: int
    sizes: Sizes


_measurements: Final[WeakKeyDictionary[Database, _Measurement]] = WeakKeyDictionary()
"""The last measurement of each database."""


def read_sizes(connection: Connection, database: Database, count: int, changes: int) -> Sizes:
    """Return the sizes of a database that has ``count`` documents after ``changes`` changes.

    A stale measurement is replaced by a new one.
    """
    measurement = _measurements.get(database)
    if measurement is None or abs(changes - measurement.changes) * limits.SAMPLE_AGE > count:
        measurement = _measurements[database] = _measure(connection, database.number, count, changes)
    if not measurement.documents:
        return Sizes(0, 0, 0)
    return Sizes(*(size * count // measurement.documents for size in measurement.sizes))


def forget_sizes(database: Database) -> None:
    """Discard the measurement of a database, since it was compacted. The next ``read_sizes`` measures it again."""
    _measurements.pop(database, None)


def _measure(connection: Connection, database_id: int, count: int, changes: int) -> _Measurement:
    if count > limits.INLINE_SIZES:
        require_thread()
    found = [_size(connection, row) for row in _sample(connection, database_id, count)]
    return _Measurement(changes, len(found), Sizes(*map(sum, zip(*found, strict=True))) if found else Sizes(0, 0, 0))


_COLUMNS: Final = "number, deleted, length(id), length(body), length(tree), attachments"


def _sample(connection: Connection, database_id: int, count: int) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of the sample: all documents, or some of them at even distances of sequence numbers."""
    if count <= limits.SAMPLED_DOCUMENTS:
        yield from connection.execute(f"SELECT {_COLUMNS} FROM document WHERE database = ?", (database_id,))
        return
    lowest, highest = connection.execute(
        "SELECT (SELECT min(seq) FROM document WHERE database = ?), (SELECT max(seq) FROM document WHERE database = ?)",
        (database_id, database_id),
    ).fetchone()
    # By sequence, which has an index. Numbers without a document only shift the sample a little.
    for place in range(limits.SAMPLED_DOCUMENTS):
        yield from connection.execute(
            f"SELECT {_COLUMNS} FROM document WHERE database = ? AND seq >= ? ORDER BY seq LIMIT 1",
            (database_id, lowest + (highest - lowest) * place // limits.SAMPLED_DOCUMENTS),
        )


def _size(connection: Connection, row: tuple[Any, ...]) -> Sizes:
    """Measure one document: a row of ``_sample``, and its superseded revisions."""
    number, deleted, id, body, tree, packed = row
    attached = sum(attachment.encoded_length for attachment in unpack(packed)) if packed else 0
    old, each = connection.execute(_REVISIONS, (number, number)).fetchone()
    external = 0 if deleted else body + attached
    active = id + body + tree + attached
    return Sizes(active + old * (each or 0), external, active)


_REVISIONS: Final = (
    "SELECT (SELECT count(*) FROM revision WHERE document = ?),"
    " (SELECT CAST(avg(length(body)) AS INTEGER)"
    f" FROM (SELECT body FROM revision WHERE document = ? LIMIT {limits.SAMPLED_REVISIONS}))"
)
"""The number of superseded revisions of a document, and the average length of their bodies in bytes."""
