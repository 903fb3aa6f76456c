"""The rows of documents and their revisions, as the writes of one request change them.

The row of a document in ``document`` holds its winning revision. All other stored revisions, losing leaves and
superseded ones, are rows of ``revision``. Nothing here decides whether a write is allowed, or which revision it
continues.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from couchmodel._embedded import limits
from couchmodel._embedded.documents.attachments import Attachment, unpack
from couchmodel._embedded.documents.reader import StoredRevision, read_tree, stored_revision
from couchmodel._embedded.rules.revtree import RevTree
from couchmodel._embedded.storage.garbage import discard_uses
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._wire.revisions import Rev

__all__ = ["DocumentTable", "RevisionContent", "StoredDocument", "used_blobs"]

_WHICH_EXIST: Final = "SELECT id FROM document WHERE database = ? AND id IN ({})".format(
    ", ".join("?" * limits.LOOKED_UP_DOCUMENTS)
)


class RevisionContent(NamedTuple):
    """The stored content of a revision: the columns that ``document`` and ``revision`` share."""

    deleted: bool
    attachments: bytes | None
    body: bytes


class StoredDocument(NamedTuple):
    """A document before a write. ``rev`` and ``content`` are those of its winning revision."""

    id: str
    number: int
    rev: str
    content: RevisionContent
    tree: RevTree


class DocumentTable:
    """The documents of one database, inside the transaction that writes them. ``finish`` ends the writes.

    The last document is kept in memory. Its row is written when the next document is read, since a request may have
    thousands of revisions of one document.
    """

    def __init__(self, connection: Connection, database_id: int, seq: int, revs_limit: int) -> None:
        """``seq`` is the sequence number of the last change."""
        self._connection = connection
        self._database_id = database_id
        self._seq = seq
        self._revs_limit = revs_limit
        self._living_added = self._deleted_added = 0
        self._sequences: dict[str, int] = {}
        self._absent: set[str] = set()
        self._last: StoredDocument | None = None
        self._last_is_unsaved = False

    @property
    def has_changed(self) -> bool:
        """True if a document was written."""
        return bool(self._sequences)

    def finish(self) -> None:
        """Write the row of the last document, and update the row of the database."""
        self._flush()
        self._connection.execute(
            "UPDATE database SET update_seq = ?, living = living + ?, deleted = deleted + ? WHERE number = ?",
            (self._seq, self._living_added, self._deleted_added, self._database_id),
        )

    def look_up(self, ids: Sequence[str]) -> None:
        """Find out which of the documents exist. Most documents of a large request are new, and are not read then.

        It does nothing unless there are as many ids as the statement has parameters.
        """
        if len(ids) == limits.LOOKED_UP_DOCUMENTS:
            rows = self._connection.execute(_WHICH_EXIST, (self._database_id, *ids))
            self._absent = set(ids).difference(id for (id,) in rows)

    def find(self, id: str) -> StoredDocument | None:
        """Return a document with the earlier writes of this request, or None if it does not exist."""
        # The same document again: its row is not written yet, and need not be read.
        if self._last is None or self._last.id != id:
            if self._last_is_unsaved:
                self._flush()
            self._last = self._read(id)
        return self._last

    def store(
        self,
        id: str,
        stored: StoredDocument | None,
        path: list[Rev],
        content: RevisionContent,
        attachments: list[Attachment],
    ) -> None:
        """Store a revision, and record that the document uses the blobs of its attachments.

        ``stored`` is the document as :meth:`find` returned it, None if it is new. ``path`` is the revision and its
        ancestors, newest first.
        """
        if stored is None:
            number = self._insert(id, path, content)
        else:
            number = stored.number
            self._update(id, stored, path, content)
        if attachments:
            # One row for a document and a content, whichever revisions of the document have it.
            uses = [(attachment.blob, number) for attachment in attachments]
            self._connection.executemany("INSERT OR IGNORE INTO attachment_use VALUES (?, ?)", uses)

    def find_revision(self, stored: StoredDocument, rev: Rev) -> StoredRevision | None:
        """Return a revision of a document, or None if its body is not stored."""
        if str(rev) == stored.rev:
            return StoredRevision(stored.rev, *stored.content)
        return stored_revision(self._connection, stored.number, rev)

    def find_attachments(self, stored: StoredDocument, bases: Iterable[Rev]) -> list[Attachment]:
        """Return the attachments of the first of ``bases`` that is stored."""
        for rev in map(str, bases):
            if rev == stored.rev:
                return unpack(stored.content.attachments)
            row = self._connection.execute(
                "SELECT attachments FROM revision WHERE document = ? AND rev = ?", (stored.number, rev)
            ).fetchone()
            if row:
                return unpack(row[0])
        return []

    def _read(self, id: str) -> StoredDocument | None:
        if id in self._absent:
            return None
        row = self._connection.execute(
            "SELECT number, rev, deleted, attachments, body, tree FROM document WHERE database = ? AND id = ?",
            (self._database_id, id),
        ).fetchone()
        if row is None:
            return None
        number, rev, deleted, attachments, body, tree = row
        return StoredDocument(id, number, rev, RevisionContent(bool(deleted), attachments, body), read_tree(tree))

    def _flush(self) -> None:
        """Write the row of the last document, if it has changed."""
        if self._last is None or not self._last_is_unsaved:
            return
        id, number, rev, content, tree = self._last
        self._connection.execute(
            "UPDATE document SET seq = ?, rev = ?, deleted = ?, attachments = ?, body = ?, tree = ? WHERE number = ?",
            (self._sequence(id), rev, *content, tree.to_bytes(), number),
        )
        self._last_is_unsaved = False

    def _insert(self, id: str, path: list[Rev], content: RevisionContent) -> int:
        tree = RevTree.from_path(path, deleted=content.deleted).stem(self._revs_limit)
        cursor = self._connection.execute(
            "INSERT INTO document (database, id, seq, rev, deleted, attachments, body, tree)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (self._database_id, id, self._sequence(id), str(path[0]), *content, tree.to_bytes()),
        )
        self._absent.discard(id)
        self._count_documents(content.deleted, 1)
        return cursor.lastrowid or 0

    def _update(
        self,
        id: str,
        stored: StoredDocument,
        path: list[Rev],
        content: RevisionContent,
    ) -> None:
        """Add a revision to a document: move its rows so that ``document`` holds the winner of the new tree."""
        grown = stored.tree.merge(path, deleted=content.deleted)
        tree = grown.stem(self._revs_limit)
        winner, new = str(tree.winner), str(path[0])
        if winner == stored.rev:
            self._insert_revision(stored.number, new, content)
            content = stored.content
        else:
            self._insert_revision(stored.number, stored.rev, stored.content)
            if winner != new:
                self._insert_revision(stored.number, new, content)
                content = self._take_revision(stored.number, winner)
        self._sequence(id)
        self._last, self._last_is_unsaved = StoredDocument(id, stored.number, winner, content, tree), True
        # The counts go by winners: a losing revision changes neither.
        self._count_documents(stored.content.deleted, -1)
        self._count_documents(content.deleted, 1)
        if tree is not grown:
            self._remove_revisions(
                stored.number, [rev for rev in grown.path(path[0])[self._revs_limit :] if rev not in tree]
            )

    def _sequence(self, id: str) -> int:
        """Return the sequence number of a document. All its writes in one request share one number."""
        if id not in self._sequences:
            self._seq += 1
            self._sequences[id] = self._seq
        return self._sequences[id]

    def _insert_revision(self, number: int, rev: str, content: RevisionContent) -> None:
        """Store a revision that is not the winner."""
        self._connection.execute("INSERT OR REPLACE INTO revision VALUES (?, ?, ?, ?, ?)", (number, rev, *content))

    def _take_revision(self, number: int, rev: str) -> RevisionContent:
        """Remove and return a revision that becomes the winner."""
        row = self._connection.execute(
            "DELETE FROM revision WHERE document = ? AND rev = ? RETURNING deleted, attachments, body", (number, rev)
        ).fetchone()
        return RevisionContent(bool(row[0]), row[1], row[2])

    def _remove_revisions(self, number: int, revs: list[Rev]) -> None:
        """Remove revisions beyond ``revs_limit``, and blobs that no other revision uses."""
        had_attachments = False
        for rev in revs:
            row = self._connection.execute(
                "DELETE FROM revision WHERE document = ? AND rev = ? RETURNING attachments", (number, str(rev))
            ).fetchone()
            had_attachments |= row is not None and row[0] is not None
        if had_attachments:
            self._flush()  # ``used_blobs`` reads the row of the document
            discard_uses(self._connection, number, keep=used_blobs(self._connection, number))

    def _count_documents(self, deleted: bool, documents: int) -> None:
        """Add to the number of deleted or of living documents of the database."""
        if deleted:
            self._deleted_added += documents
        else:
            self._living_added += documents


def used_blobs(connection: Connection, number: int) -> frozenset[int]:
    """Return the numbers of the blobs that the stored revisions of a document use."""
    rows = connection.execute(
        "SELECT attachments FROM document WHERE number = ? UNION ALL"
        " SELECT attachments FROM revision WHERE document = ?",
        (number, number),
    )
    return frozenset(attachment.blob for (packed,) in rows for attachment in unpack(packed))
