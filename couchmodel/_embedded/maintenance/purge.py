"""Purges: remove revisions as if they had never existed, and record the requests for it."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from couchmodel._embedded.documents.document_table import used_blobs
from couchmodel._embedded.documents.validation import mark_validated
from couchmodel._embedded.rules.revtree import RevTree
from couchmodel._embedded.storage.database_row import read_row
from couchmodel._embedded.storage.garbage import discard_uses
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.views.writer import discard_rows
from couchmodel._wire.messages import decode, encode
from couchmodel._wire.revisions import Rev

__all__ = ["purge", "read_purged_infos", "trim_purged_infos"]


class _DocumentRow(NamedTuple):
    """The columns of a document's row before it is purged."""

    number: int
    rev: str
    deleted: bool
    tree: RevTree


def purge(connection: Connection, database_id: int, revs_by_id: Mapping[str, Sequence[Rev]]) -> dict[str, list[str]]:
    """Purge revisions of documents. Return the ones that were purged, by document id.

    Only leaves are purged. A document with leaves left is a change; a document without disappears from the changes too.
    Raises NotFoundError if the database was dropped.
    """
    purging = _Purging(connection, database_id, *read_row(connection, database_id, "update_seq, purge_seq"))
    gone = {id: purging.purge(id, sorted(set(revs), key=lambda rev: rev.rank)) for id, revs in revs_by_id.items()}
    purging.finish()
    if any(id.startswith("_design/") for id in revs_by_id):
        mark_validated(connection, database_id)
    return gone


class _Purging:
    """The purges of one request, inside its transaction."""

    def __init__(self, connection: Connection, database_id: int, update_seq: int, purge_seq: int) -> None:
        self._connection = connection
        self._database_id = database_id
        self._before = purge_seq
        self._begin = self._seq = update_seq
        self._purge_seq = purge_seq
        self._counts = {False: 0, True: 0}

    def purge(self, id: str, revs: Sequence[Rev]) -> list[str]:
        """Record a purge, and remove the revisions that are leaves. Return the removed ones."""
        self._purge_seq += 1
        self._connection.execute(
            "INSERT INTO purge VALUES (?, ?, ?, ?, ?)",
            (self._database_id, self._purge_seq, uuid.uuid4().hex, id, encode(list(map(str, revs)))),
        )
        row = self._row(id)
        if row is None:
            return []
        # Only leaves: the tree ignores the others, see ``RevTree.without``.
        left = row.tree.without(revs)
        # A document without leaves does not exist, and never did: not even a tombstone is left.
        if not left:
            self._remove(id, row)
        elif left is not row.tree:
            self._update(row, left)
        return [str(rev) for rev in revs if rev in row.tree.leaves]

    def finish(self) -> None:
        """Bring the database's row up to date.

        A purge after which no document is a change still raises the sequence, so that readers see that it happened.
        """
        if self._purge_seq > self._before and self._seq == self._begin:
            self._seq += 1
        self._connection.execute(
            "UPDATE database SET update_seq = ?, purge_seq = ?, living = living + ?, deleted = deleted + ?"
            " WHERE number = ?",
            (self._seq, self._purge_seq, self._counts[False], self._counts[True], self._database_id),
        )

    def _row(self, id: str) -> _DocumentRow | None:
        row = self._connection.execute(
            "SELECT number, rev, deleted, tree FROM document WHERE database = ? AND id = ?", (self._database_id, id)
        ).fetchone()
        return row and _DocumentRow(row[0], row[1], bool(row[2]), RevTree.from_bytes(row[3]))

    def _remove(self, id: str, row: _DocumentRow) -> None:
        discard_rows(self._connection, self._database_id, row.number, id)
        self._connection.execute("DELETE FROM document WHERE number = ?", (row.number,))
        self._connection.execute("DELETE FROM revision WHERE document = ?", (row.number,))
        self._counts[row.deleted] -= 1
        discard_uses(self._connection, row.number)

    def _update(self, row: _DocumentRow, tree: RevTree) -> None:
        self._seq += len(tree.leaves)  # CouchDB takes a new sequence number for each leaf that is left
        winner = str(tree.winner)
        if winner != row.rev:
            self._promote(row, winner)
        self._connection.execute(
            "UPDATE document SET seq = ?, tree = ? WHERE number = ?", (self._seq, tree.to_bytes(), row.number)
        )
        stored = self._connection.execute("SELECT rev FROM revision WHERE document = ?", (row.number,)).fetchall()
        gone = [(row.number, rev) for (rev,) in stored if Rev.parse(rev) not in tree]
        self._connection.executemany("DELETE FROM revision WHERE document = ? AND rev = ?", gone)
        discard_uses(self._connection, row.number, keep=used_blobs(self._connection, row.number))

    def _promote(self, row: _DocumentRow, winner: str) -> None:
        """Move a stored revision into the document's row, in place of the purged winner."""
        content = self._connection.execute(
            "DELETE FROM revision WHERE document = ? AND rev = ? RETURNING rev, deleted, attachments, body",
            (row.number, winner),
        ).fetchone()
        self._connection.execute(
            "UPDATE document SET rev = ?, deleted = ?, attachments = ?, body = ? WHERE number = ?",
            (*content, row.number),
        )
        self._counts[row.deleted] -= 1
        self._counts[bool(content[1])] += 1


def read_purged_infos(connection: Connection, database_id: int) -> list[dict[str, Any]]:
    """Return the recorded purges in the order of ids and revisions, each once."""
    rows = connection.execute("SELECT DISTINCT id, revs FROM purge WHERE database = ?", (database_id,))
    infos = [(id, list(map(Rev.parse, decode(revs)))) for id, revs in rows]
    infos.sort(key=lambda info: (info[0].encode(), [rev.rank for rev in info[1]]))
    return [{"id": id, "revs": list(map(str, revs))} for id, revs in infos]


def trim_purged_infos(connection: Connection, database_id: int) -> None:
    """Drop the oldest records of purges beyond the database's ``_purged_infos_limit``."""
    connection.execute(
        # Only clients read the records. CouchDB's indexes need them, ours lose the rows of a document in its purge.
        "DELETE FROM purge WHERE database = ? AND purge_seq <="
        " (SELECT purge_seq - purged_infos_limit FROM database WHERE number = ?)",
        (database_id, database_id),
    )
