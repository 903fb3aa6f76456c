"""Read the state of an index, and the documents that have changed since."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from couchmodel._embedded import limits
from couchmodel._embedded.documents.reader import StoredRevision, document_json
from couchmodel._embedded.rules.revtree import RevTree
from couchmodel._embedded.rules.string_collation import COLLATOR
from couchmodel._embedded.storage.database_row import read_row
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.views.designs import Design
from couchmodel._wire.messages import decode, encode

__all__ = ["ChangeBatch", "ChangedDocument", "IndexState", "read_changes", "read_state"]


class IndexState(NamedTuple):
    """The state of an index and of its database.

    ``number`` is None if the index does not exist yet. ``update_seq`` is that of the index, and ``totals`` are the
    numbers of rows of its views. ``database_seq`` and ``purge_seq`` are those of the database.
    """

    number: int | None
    update_seq: int
    totals: Sequence[int]
    database_seq: int
    purge_seq: int

    @property
    def is_fresh(self) -> bool:
        """True if the index has all changes of the database."""
        return self.number is not None and self.update_seq >= self.database_seq

    def total(self, place: int) -> int:
        """Return the number of rows of the view at this place of its design document."""
        return self.totals[place] if self.totals else 0


def read_state(connection: Connection, database_id: int, signature: str) -> IndexState:
    """Return the state of the index with this signature. Raises NotFoundError if the database has been dropped."""
    row = read_row(connection, database_id, "update_seq, purge_seq")
    found = connection.execute(
        "SELECT number, update_seq, totals FROM view_index WHERE database = ? AND signature = ? AND collator = ?",
        (database_id, signature, COLLATOR),
    ).fetchone()
    if found is None:
        return IndexState(None, 0, (), *row)
    number, update_seq, totals = found
    return IndexState(number, update_seq, decode(totals), *row)


class ChangedDocument(NamedTuple):
    """A changed document.

    ``body`` is its JSON without special members, or None if it has no rows because it is deleted or not indexed.
    ``more`` is the JSON of the special members that are not stored, such as conflicts.
    """

    number: int
    id: str
    rev: str
    attachments: bytes | None
    body: bytes | None
    more: bytes = b""

    def text(self) -> bytes:
        """Return the JSON of the document with all members that a map function sees."""
        return document_json(self.id, StoredRevision(self.rev, 0, self.attachments, self.body or b"{}"), self.more)


@dataclass(slots=True)
class ChangeBatch:
    """A batch of documents that have changed since ``state``, up to the sequence ``upto``.

    ``more`` says that more changes follow.
    """

    state: IndexState
    documents: list[ChangedDocument]
    upto: int
    more: bool


def read_changes(connection: Connection, database_id: int, design: Design, state: IndexState) -> ChangeBatch:
    """Return the next batch of documents to index. Raises NotFoundError if the database has been dropped."""
    # Only for the sequences of the database: the index may have been advanced by another build.
    current = read_state(connection, database_id, design.signature)
    rows = connection.execute(
        "SELECT seq, tree, length(body), number, id, rev, attachments, iif(deleted, NULL, body) FROM document"
        " WHERE database = ? AND seq > ? ORDER BY seq LIMIT ?",
        (database_id, state.update_seq, limits.BUILD_DOCUMENTS),
    )
    changes = ChangeBatch(
        state._replace(purge_seq=current.purge_seq), [], max(current.database_seq, state.update_seq), False
    )
    size = 0
    for count, (seq, tree, length, *columns) in enumerate(rows, 1):
        document = ChangedDocument(*columns)
        if document.id.startswith("_design/") and not design.include_design:
            document = document._replace(body=None)
        elif design.local_seq or _has_branches(tree):  # most documents have no further members
            document = document._replace(more=_metadata(design, seq, tree))
        changes.documents.append(document)
        size += length
        if size > limits.BUILD_BYTES or count == limits.BUILD_DOCUMENTS:
            return ChangeBatch(changes.state, changes.documents, seq, True)
        changes.upto = max(changes.upto, seq)
    return changes


def _has_branches(tree: bytes) -> bool:
    """Return True if a revision tree has more than one branch."""
    # A branch is an array of five members, the last three of which are arrays. So one branch has the bytes twice, and a
    # tree with more branches has them more often.
    return tree.count(b"],[") > 2


def _metadata(design: Design, seq: int, tree: bytes) -> bytes:
    """Return further members that a map function sees: conflicts, and ``_local_seq`` if the design asks for it."""
    members: dict[str, object] = {}
    if _has_branches(tree):
        revisions = RevTree.from_bytes(tree)
        members |= {"_conflicts": [str(rev) for rev in revisions.conflicts]} if revisions.conflicts else {}
        deleted = revisions.deleted_conflicts
        members |= {"_deleted_conflicts": [str(rev) for rev in deleted]} if deleted else {}
    if design.local_seq:
        members["_local_seq"] = seq
    return b"," + encode(members)[1:-1] if members else b""
