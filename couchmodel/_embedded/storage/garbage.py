"""What is cleared away behind the requests' back.

That is dropped databases and indexes, abandoned uploads, and contents that nobody uses.
"""

from collections.abc import Iterable
from typing import Final

from couchmodel._embedded.storage.sqlite import Connection

__all__ = [
    "clear_database",
    "clear_index",
    "clear_leftovers",
    "discard_blob",
    "discard_staged",
    "discard_uses",
    "dropped_indexes",
]

PIECE: Final = 200
"""Documents of a dropped database that are removed in one transaction."""

ROWS: Final = 2000
"""Rows of a dropped index that are removed in one transaction."""


def clear_leftovers(connection: Connection) -> list[int]:
    """Remove uploads that were never finished. The numbers of the dropped databases that are yet to be cleared."""
    for (blob,) in connection.execute("SELECT number FROM blob WHERE sha256 IS NULL").fetchall():
        discard_blob(blob, connection)
    return [number for (number,) in connection.execute("SELECT number FROM database WHERE name IS NULL")]


def clear_database(number: int, connection: Connection) -> bool:
    """Remove some documents of a dropped database; whether there are more. The database goes with the last.

    Its indexes are dropped, and left to ``clear_index``.
    """
    connection.execute("UPDATE view_index SET database = NULL WHERE database = ?", (number,))
    found = connection.execute("SELECT number FROM document WHERE database = ? LIMIT ?", (number, PIECE)).fetchall()
    for (document,) in found:
        connection.execute("DELETE FROM revision WHERE document = ?", (document,))
        connection.execute("DELETE FROM document WHERE number = ?", (document,))
        discard_uses(connection, document)
    if not found:
        connection.execute("DELETE FROM local_document WHERE database = ?", (number,))
        connection.execute("DELETE FROM purge WHERE database = ?", (number,))
        connection.execute("DELETE FROM database WHERE number = ?", (number,))
    return bool(found)


def dropped_indexes(connection: Connection) -> list[tuple[int, str]]:
    """The numbers and the signatures of the dropped indexes that are yet to be cleared."""
    return connection.execute("SELECT number, signature FROM view_index WHERE database IS NULL").fetchall()


def clear_index(index: int, connection: Connection) -> bool:
    """Remove some rows of a dropped index; whether there are more. The index goes with its last row."""
    for table, key in (
        ("view_row", "view, key, id, position"),
        ("view_block", "view, key, id"),
        ("view_document", "document"),
    ):
        removed = connection.execute(
            f"DELETE FROM {table} WHERE view_index = ? AND ({key}) IN"
            f" (SELECT {key} FROM {table} WHERE view_index = ? ORDER BY {key} LIMIT ?)",
            (index, index, ROWS),
        ).rowcount
        if removed:
            return True
    connection.execute("DELETE FROM view_index WHERE number = ?", (index,))
    return False


def discard_uses(connection: Connection, document: int, *, keep: frozenset[int] = frozenset()) -> None:
    """A document needs only the contents in ``keep`` any more: remove the others, unless another document has them."""
    blobs = [blob for (blob,) in connection.execute("SELECT blob FROM attachment_use WHERE document = ?", (document,))]
    gone = [blob for blob in blobs if blob not in keep]
    for blob in gone:
        connection.execute("DELETE FROM attachment_use WHERE blob = ? AND document = ?", (blob, document))
    _discard_unused(connection, gone)


def _discard_unused(connection: Connection, blobs: Iterable[int]) -> None:
    """Remove those of the contents that no document has."""
    for blob in blobs:
        if connection.execute("SELECT 1 FROM attachment_use WHERE blob = ?", (blob,)).fetchone() is None:
            discard_blob(blob, connection)


def discard_staged(blob: int, connection: Connection) -> None:
    """Remove a content that was given up on the way; one that has arrived after all stays."""
    if connection.execute("SELECT 1 FROM blob WHERE number = ? AND sha256 IS NULL", (blob,)).fetchone():
        discard_blob(blob, connection)


def discard_blob(blob: int, connection: Connection) -> None:
    """Remove a content."""
    connection.execute("DELETE FROM chunk WHERE blob = ?", (blob,))
    connection.execute("DELETE FROM blob WHERE number = ?", (blob,))
