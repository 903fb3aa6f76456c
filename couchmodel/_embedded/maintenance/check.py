"""The check of a store: SQLite's own check of the file, and the relations between the rows.

The check only reads, in the order of the rows, and holds one document at a time. Everything that it reads is of one
moment, since the caller passes a connection in a transaction.
"""

import base64
import hashlib
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, NamedTuple

from couchmodel._embedded.documents.attachments import Attachment, unpack
from couchmodel._embedded.documents.contents import count_chunks, matches_checksum
from couchmodel._embedded.maintenance.index_check import check_indexes
from couchmodel._embedded.rules.revtree import RevTree
from couchmodel._embedded.storage.sqlite import Connection, FileError, file_errors
from couchmodel._wire.messages import decode
from couchmodel._wire.revisions import Rev

__all__ = ["Checked", "Counts", "Problem", "check"]


class Problem(NamedTuple):
    """A fault in a store. ``database`` and ``document`` are empty if the fault belongs to none."""

    database: str
    document: str
    what: str

    def __str__(self) -> str:
        return f"{': '.join(filter(None, (self.database, self.document)))}: {self.what}".removeprefix(": ")


class Counts(NamedTuple):
    """The numbers of databases, living documents, deleted documents and attachment contents in a store."""

    databases: int
    documents: int
    deleted: int
    attachments: int


class Checked(NamedTuple):
    """The result of a check: the contents of the store in numbers, and its problems."""

    counts: Counts
    problems: list[Problem]


def check(connection: Connection, most: int) -> Checked:
    """Check a whole store. The check stops after ``most`` problems."""
    problems: list[Problem] = []
    counts = Counts(0, 0, 0, 0)
    try:
        with file_errors():
            counts = Counts(*connection.execute(_COUNTS).fetchone())
            for problem in islice(_problems(connection), most):
                problems.append(problem)  # noqa: PERF402 - keeps the problems that were found before an error
            if not problems:  # the rows of an index can be made from intact documents only
                problems += islice((Problem(*fault) for fault in check_indexes(connection)), most)
    except FileError as error:
        problems.append(Problem("", "", f"the rest of the file cannot be read: {error}"))
    return Checked(counts, problems)


def _problems(connection: Connection) -> Iterator[Problem]:
    yield from _check_file(connection)
    yield from _check_orphans(connection)
    yield from _check_databases(connection)
    yield from _check_documents(connection)
    yield from _check_blobs(connection)


_COUNTS: Final = """
SELECT count(*), coalesce(sum(living), 0), coalesce(sum(deleted), 0),
    (SELECT count(*) FROM blob WHERE sha256 IS NOT NULL)
FROM database WHERE name IS NOT NULL
"""


def _check_file(connection: Connection) -> Iterator[Problem]:
    for (line,) in connection.execute("PRAGMA integrity_check"):
        if line != "ok":
            yield Problem("", "", str(line))


# --- rows whose parent row is missing


_ORPHANS: Final = {
    "a document (number {}) of no database": (
        "SELECT number FROM document WHERE database NOT IN (SELECT number FROM database)"
    ),
    "a local document ({}) of no database": (
        "SELECT id FROM local_document WHERE database NOT IN (SELECT number FROM database)"
    ),
    "a revision ({}) of no document": "SELECT rev FROM revision WHERE document NOT IN (SELECT number FROM document)",
    "a piece of no attachment (number {})": (
        "SELECT DISTINCT blob FROM chunk WHERE blob NOT IN (SELECT number FROM blob)"
    ),
    "an attachment (number {}) that no document has": (
        "SELECT number FROM blob WHERE sha256 IS NOT NULL AND number NOT IN (SELECT blob FROM attachment_use)"
    ),
    "an attachment (number {}) is missing": (
        "SELECT DISTINCT blob FROM attachment_use WHERE blob NOT IN (SELECT number FROM blob)"
    ),
    "the attachments of a document (number {}) that is not there": (
        "SELECT DISTINCT document FROM attachment_use WHERE document NOT IN (SELECT number FROM document)"
    ),
}


def _check_orphans(connection: Connection) -> Iterator[Problem]:
    for what, sql in _ORPHANS.items():
        for (name,) in connection.execute(sql):
            yield Problem("", "", what.format(name))


# --- databases


def _check_databases(connection: Connection) -> Iterator[Problem]:
    """Yield faults in the counters of each database. A dropped one, which is being cleared away, is left out."""
    for name, *stated, living, deleted, last in connection.execute(_TALLIES):
        for word, said, found in zip(("documents", "deleted documents"), stated, (living, deleted), strict=False):
            if said != found:
                yield Problem(name, "", f"it counts {said} {word}, and has {found}")
        if last > stated[2]:
            yield Problem(name, "", f"its last change is number {last}, and it has given {stated[2]}")


_TALLIES: Final = """
SELECT name, living, deleted, update_seq,
    (SELECT count(*) FROM document WHERE database = database.number AND NOT document.deleted),
    (SELECT count(*) FROM document WHERE database = database.number AND document.deleted),
    (SELECT coalesce(max(seq), 0) FROM document WHERE database = database.number)
FROM database WHERE name IS NOT NULL ORDER BY name
"""


# --- documents


class _DocumentRow(NamedTuple):
    """The columns of a document's row."""

    number: int
    rev: str
    deleted: int
    attachments: bytes | None
    body: bytes
    tree: bytes


def _check_documents(connection: Connection) -> Iterator[Problem]:
    for database, id, *members in connection.execute(_DOCUMENTS):
        for what in _document_problems(connection, _DocumentRow(*members)):
            yield Problem(database, id, what)
    for database, id, body in connection.execute(_LOCAL_DOCUMENTS):
        if not _is_object(body):
            yield Problem(database, id, "it is no JSON object")


_DOCUMENTS: Final = """
SELECT database.name, id, document.number, rev, document.deleted, attachments, body, tree
FROM document JOIN database ON database.number = document.database WHERE name IS NOT NULL ORDER BY document.number
"""

_LOCAL_DOCUMENTS: Final = """
SELECT database.name, id, body FROM local_document JOIN database ON database.number = local_document.database
WHERE name IS NOT NULL
"""


def _document_problems(connection: Connection, row: _DocumentRow) -> Iterator[str]:
    try:
        tree = RevTree.from_bytes(bytes(row.tree))
        winner, deleted = str(tree.winner), tree.deleted
    except (ValueError, TypeError, IndexError):
        yield "its revision tree cannot be read"
        return
    if row.rev != winner:
        yield f"its row has revision {row.rev}, and {winner} wins"
    elif bool(row.deleted) != deleted:
        yield f"its row says that it is {'' if row.deleted else 'not '}deleted, and its revision tree does not"
    yield from _content_problems(row.rev, row.body, row.attachments)
    yield from _revision_problems(connection, row, tree)
    yield from _use_problems(connection, row.number)


def _content_problems(rev: str, body: bytes, attachments: bytes | None) -> Iterator[str]:
    if not _is_object(body):
        yield f"revision {rev} is no JSON object"
    if _unpack_or_none(attachments) is None:
        yield f"the attachments of revision {rev} cannot be read"


def _revision_problems(connection: Connection, row: _DocumentRow, tree: RevTree) -> Iterator[str]:
    """Yield faults of the revisions stored beside the winner: other leaves, and older ones that are not compacted yet.

    Only the leaves have to be stored.
    """
    missing = {str(rev) for rev in tree.leaves} - {row.rev}
    stored = connection.execute(
        "SELECT rev, deleted, attachments, body FROM revision WHERE document = ?", (row.number,)
    )
    for text, deleted, attachments, body in stored:
        rev = Rev.parse(text)
        missing.discard(text)
        if rev not in tree:
            yield f"revision {text} is stored, and not in its revision tree"
        elif text == row.rev:
            yield f"revision {text} is stored twice"
        elif bool(deleted) != tree.is_deleted(rev):
            yield f"revision {text} is {'' if deleted else 'not '}deleted, and its revision tree says otherwise"
        yield from _content_problems(text, body, attachments)
    for text in sorted(missing):
        yield f"revision {text} is missing"


def _use_problems(connection: Connection, number: int) -> Iterator[str]:
    """Yield attachments that the document's revisions have and the table of uses lacks, and the reverse."""
    kept = {blob for (blob,) in connection.execute("SELECT blob FROM attachment_use WHERE document = ?", (number,))}
    named = {attachment.blob: attachment.name for attachment in _attachments(connection, number)}
    for blob in named.keys() - kept:
        yield f"nothing keeps the attachment {named[blob]!r} (number {blob})"
    for blob in kept - named.keys():
        yield f"an attachment (number {blob}) is kept that no revision has"


def _attachments(connection: Connection, number: int) -> Iterator[Attachment]:
    rows = connection.execute(
        "SELECT attachments FROM document WHERE number = ? AND attachments IS NOT NULL UNION ALL"
        " SELECT attachments FROM revision WHERE document = ? AND attachments IS NOT NULL",
        (number, number),
    )
    for (packed,) in rows:
        yield from _unpack_or_none(packed) or ()


def _unpack_or_none(packed: bytes | None) -> list[Attachment] | None:
    """Return the attachments of a row; None if they cannot be read."""
    try:
        return unpack(packed)
    except (ValueError, TypeError):
        return None


def _is_object(body: Any) -> bool:
    try:
        return isinstance(body, bytes) and isinstance(decode(body), dict)
    except (ValueError, TypeError):
        return False


# --- contents


class _ContentMeasures(NamedTuple):
    """The pieces, length and hashes of an attachment content as it is stored.

    ``digest`` is the MD5 in base64. ``pieces`` counts the pieces at their right position. ``damaged`` is the byte at
    which the first piece begins that does not have its checksum, or None.
    """

    pieces: int
    length: int
    digest: str
    sha256: bytes
    damaged: int | None


def _check_blobs(connection: Connection) -> Iterator[Problem]:
    """Hash each attachment content once, and yield a problem for each document that describes it differently."""
    # A file that no process has opened since may be of a version without checksums.
    columns = {name for _, name, *_ in connection.execute("PRAGMA table_info(blob)")}
    checksums_column = "checksums" if "checksums" in columns else "NULL"
    blobs = connection.execute(f"SELECT number, sha256, {checksums_column} FROM blob WHERE sha256 IS NOT NULL")
    for blob, sha256, checksums in blobs:
        measured = _measure_content(connection, blob, checksums)
        for database, id, number in connection.execute(_USERS, (blob,)):
            for attachment in _attachments(connection, number):
                what = _content_fault(attachment, measured, sha256) if attachment.blob == blob else None
                if what:
                    yield Problem(database, id, f"attachment {attachment.name!r}: {what}")


_USERS: Final = """
SELECT database.name, id, document.number FROM attachment_use
JOIN document ON document.number = attachment_use.document JOIN database ON database.number = document.database
WHERE blob = ? AND name IS NOT NULL
"""


def _measure_content(connection: Connection, blob: int, checksums: bytes | None) -> _ContentMeasures:
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    pieces = length = 0
    damaged = None
    for position, data in connection.execute(
        "SELECT position, data FROM chunk WHERE blob = ? ORDER BY position", (blob,)
    ):
        # Only a piece that follows the one before it counts.
        pieces += position == pieces
        if damaged is None and not matches_checksum(checksums, position, data):
            damaged = length
        length += len(data)
        md5.update(data)
        sha256.update(data)
    return _ContentMeasures(pieces, length, base64.b64encode(md5.digest()).decode(), sha256.digest(), damaged)


def _content_fault(attachment: Attachment, measured: _ContentMeasures, sha256: bytes) -> str | None:
    if measured.length != attachment.encoded_length:
        return f"{measured.length} bytes are stored of {attachment.encoded_length}"
    if measured.pieces != count_chunks(attachment.encoded_length):
        return f"{measured.pieces} of {count_chunks(attachment.encoded_length)} pieces are where they belong"
    if measured.digest != attachment.digest or measured.sha256 != sha256:
        begin = "" if measured.damaged is None else f", from byte {measured.damaged} on"
        return f"its bytes are not those that were stored{begin}"
    if measured.damaged is not None:
        return "its checksums are not those of its bytes"
    return None
