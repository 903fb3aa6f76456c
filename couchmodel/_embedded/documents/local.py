"""Read and write local documents.

They have no history, are not replicated, and do not appear in _all_docs, _changes and the number of documents.
"""

from typing import NamedTuple

from couchmodel._embedded import limits
from couchmodel._embedded.documents.incoming import Edit
from couchmodel._embedded.rules.params import parse_digits
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel.errors import BadRequestError

__all__ = ["LocalDocument", "read_local", "write_local"]


class LocalDocument(NamedTuple):
    """A local document. Its revision is ``0-N``, where N counts the writes."""

    rev: str
    body: bytes


def read_local(connection: Connection, database_id: int, id: str) -> LocalDocument | None:
    """Return a local document, or None if it does not exist."""
    row = connection.execute(
        "SELECT rev, body FROM local_document WHERE database = ? AND id = ?", (database_id, id)
    ).fetchone()
    return LocalDocument(f"0-{row[0]}", row[1]) if row else None


def write_local(connection: Connection, database_id: int, edit: Edit) -> str:
    """Write or delete a local document, and return its new revision.

    There are no conflicts: the last writer wins, as in CouchDB. Raises BadRequestError for an invalid revision.
    """
    if edit.deleted:
        connection.execute("DELETE FROM local_document WHERE database = ? AND id = ?", (database_id, edit.id))
        # CouchDB's answer to a deletion. The next write begins with 0-1 again.
        return "0-0"
    rev = _counter(edit) + 1
    connection.execute(
        "INSERT OR REPLACE INTO local_document VALUES (?, ?, ?, ?)", (database_id, edit.id, rev, edit.text)
    )
    return f"0-{rev}"


def _counter(edit: Edit) -> int:
    """Return the N of the revision ``0-N`` that the edit names, 0 if it names none. Raises BadRequestError."""
    if not edit.path:
        return 0
    generation, digest = edit.path[0]
    if generation != 0 or not (digest.isascii() and digest.isdigit()) or parse_digits(digest) > limits.LARGEST_NUMBER:
        raise BadRequestError("Invalid rev format")
    return int(digest)
