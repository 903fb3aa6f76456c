"""Remove rows that nothing uses any more, in the background.

These are the rows of dropped databases and indexes, unfinished uploads, and attachment contents that no document uses.
"""

from collections.abc import Iterable

from couchmodel._embedded import limits
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


def clear_leftovers(connection: Connection) -> list[int]:
    """Remove unfinished uploads, and return the numbers of the dropped databases whose rows are not removed yet.

    It must run before the first request, since an upload in progress looks like an unfinished one.
    """
    for (blob,) in connection.execute("SELECT number FROM blob WHERE sha256 IS NULL").fetchall():
        discard_blob(connection, blob)
    return [number for (number,) in connection.execute("SELECT number FROM database WHERE name IS NULL")]


def clear_database(connection: Connection, number: int) -> bool:
    """Remove a piece of a dropped database, and return True if more may be left.

    The database's own row is removed last. Its indexes are only marked as dropped, for ``clear_index``.
    """
    connection.execute("UPDATE view_index SET database = NULL WHERE database = ?", (number,))
    found = connection.execute(
        "SELECT number FROM document WHERE database = ? LIMIT ?", (number, limits.CLEARED_DOCUMENTS)
    ).fetchall()
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
    """Return the numbers and signatures of the dropped indexes that still have rows."""
    return connection.execute("SELECT number, signature FROM view_index WHERE database IS NULL").fetchall()


def clear_index(connection: Connection, index: int) -> bool:
    """Remove a piece of a dropped index, and return True if more may be left.

    The index's own row is removed last.
    """
    for table, key in (
        ("view_row", "view, key, id, position"),
        ("view_block", "view, key, id"),
        ("view_document", "document"),
    ):
        # By primary key, because the tables have no rowid, and SQLite is rarely built with DELETE … LIMIT.
        removed = connection.execute(
            f"DELETE FROM {table} WHERE view_index = ? AND ({key}) IN"
            f" (SELECT {key} FROM {table} WHERE view_index = ? ORDER BY {key} LIMIT ?)",
            (index, index, limits.CLEARED_ROWS),
        ).rowcount
        if removed:
            return True
    connection.execute("DELETE FROM view_index WHERE number = ?", (index,))
    return False


def discard_uses(connection: Connection, document: int, *, keep: frozenset[int] = frozenset()) -> None:
    """Remove a document's uses of all attachment contents but those in ``keep``.

    A content that no document uses any more is removed as well.
    """
    blobs = [blob for (blob,) in connection.execute("SELECT blob FROM attachment_use WHERE document = ?", (document,))]
    gone = [blob for blob in blobs if blob not in keep]
    for blob in gone:
        connection.execute("DELETE FROM attachment_use WHERE blob = ? AND document = ?", (blob, document))
    _discard_unused(connection, gone)


def _discard_unused(connection: Connection, blobs: Iterable[int]) -> None:
    """Remove the given contents that no document uses."""
    for blob in blobs:
        if connection.execute("SELECT 1 FROM attachment_use WHERE blob = ?", (blob,)).fetchone() is None:
            discard_blob(connection, blob)


def discard_staged(connection: Connection, blob: int) -> None:
    """Remove the content of an upload that was given up. A content that has arrived completely stays."""
    if connection.execute("SELECT 1 FROM blob WHERE number = ? AND sha256 IS NULL", (blob,)).fetchone():
        discard_blob(connection, blob)


def discard_blob(connection: Connection, blob: int) -> None:
    """Remove a content and its chunks."""
    connection.execute("DELETE FROM chunk WHERE blob = ?", (blob,))
    connection.execute("DELETE FROM blob WHERE number = ?", (blob,))
