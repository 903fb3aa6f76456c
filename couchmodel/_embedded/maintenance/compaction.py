"""Compaction: drops the bodies of superseded revisions, and the oldest records of purges.

The ids of superseded revisions stay in the revision tree.
"""

from couchmodel._embedded import limits
from couchmodel._embedded.documents.document_table import used_blobs
from couchmodel._embedded.maintenance.purge import trim_purged_infos
from couchmodel._embedded.rules.revtree import RevTree
from couchmodel._embedded.storage.garbage import discard_uses
from couchmodel._embedded.storage.sqlite import Connection

__all__ = ["compact_some"]


def compact_some(connection: Connection, database_id: int, after: int) -> int | None:
    """Compact the next documents after the number ``after``, which is 0 at first.

    Returns the number of the last one, or None if no more documents are left.
    """
    rows = connection.execute(
        "SELECT number, tree FROM document WHERE database = ? AND number > ?"
        " AND number IN (SELECT document FROM revision) ORDER BY number LIMIT ?",
        (database_id, after, limits.COMPACTED_DOCUMENTS),
    ).fetchall()
    # At the first piece only, since the limit concerns the database and not its documents.
    if not after:
        trim_purged_infos(connection, database_id)
    for number, tree in rows:
        _compact(connection, number, RevTree.from_bytes(tree))
    return rows[-1][0] if len(rows) == limits.COMPACTED_DOCUMENTS else None


def _compact(connection: Connection, number: int, tree: RevTree) -> None:
    leaves = set(map(str, tree.leaves))
    stored = connection.execute("SELECT rev FROM revision WHERE document = ?", (number,)).fetchall()
    for (rev,) in stored:
        if rev not in leaves:
            connection.execute("DELETE FROM revision WHERE document = ? AND rev = ?", (number, rev))
    discard_uses(connection, number, keep=used_blobs(connection, number))
