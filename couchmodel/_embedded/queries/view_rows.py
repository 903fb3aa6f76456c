"""The rows of a view, read in batches.

The index may change between two batches: a row is as it is when its batch is read. Code that combines the rows of
several batches has to compare their moments.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic_core import to_json

from couchmodel._embedded import limits
from couchmodel._embedded.documents.reader import (
    DEFAULT_OPTIONS,
    AnsweredRevision,
    ReadOptions,
    open_revisions,
    open_winner,
)
from couchmodel._embedded.rules.collation import HIGHEST
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.views.designs import View
from couchmodel._embedded.views.params import NOT_GIVEN, ViewQuery
from couchmodel._embedded.views.reader import (
    HIGHEST_ID,
    IndexVersion,
    Place,
    Row,
    Span,
    check_index,
    count_rows,
    read_rows,
)
from couchmodel._wire.messages import decode
from couchmodel._wire.revisions import Rev
from couchmodel.errors import BadRequestError, NotFoundError

__all__ = ["Batch", "Cursor", "Source", "offset", "read_batch", "row_texts", "spans"]


@dataclass(slots=True, frozen=True)
class Source:
    """A view to read: the numbers of its database and its index, and the view itself."""

    database_id: int
    index: int
    view: View


@dataclass(slots=True, frozen=True)
class Cursor:
    """The rows that are left to read: their spans, and the place in the first span after which to go on."""

    spans: Sequence[Span]
    limit: int | None
    skip: int = 0
    after: Place | None = None

    def behind(self, span: int, place: Place | None, read: int, skip: int) -> "Cursor | None":
        """Return the cursor after ``read`` rows, the last of them at a place in a span; None if no rows are left.

        ``span`` is the index of the span in ``spans``.
        """
        limit = None if self.limit is None else self.limit - read
        left = self.spans[span:]
        return Cursor(left, limit, skip, place) if left and limit != 0 else None


class Batch(NamedTuple):
    """Some rows, and the cursor for the rows that follow, None after the last.

    The index has not changed between two batches of the same ``moment``.
    """

    rows: list[Row]
    rest: Cursor | None
    moment: IndexVersion


def spans(query: ViewQuery, view: View) -> list[Span]:
    """Return the parts of a view that a query reads, in its order."""
    if query.has_keys:
        keys = list(map(view.key_of, query.keys))
        return [_make_span(query, key, key) for key in (keys[::-1] if query.descending and not query.level else keys)]
    start, end = (None if key is NOT_GIVEN else view.key_of(key) for key in (query.start, query.end))
    if view.prefix:  # all of the partition
        lowest, highest = view.prefix, view.prefix + HIGHEST
        start, end = (
            start or (highest if query.descending else lowest),
            end or (lowest if query.descending else highest),
        )
    return [_make_span(query, start, end)]


def _make_span(query: ViewQuery, start: bytes | None, end: bytes | None) -> Span:
    lowest, highest = (HIGHEST_ID, "") if query.descending else ("", HIGHEST_ID)
    start_id: str | bytes = lowest if query.start_id is None else query.start_id
    end_id: str | bytes = highest if query.end_id is None else query.end_id
    if not query.inclusive_end:
        # Without `endkey_docid`, all rows of the last key are left out.
        end_id = HIGHEST_ID if end_id == "" else "" if end_id == HIGHEST_ID else end_id
    return Span(
        None if start is None else (start, start_id),
        None if end is None else (end, end_id),
        query.inclusive_end,
        query.descending,
    )


def read_batch(connection: Connection, source: Source, cursor: Cursor) -> Batch:
    """Read the next rows. Raises NotFoundError if the database was dropped."""
    moment = check_index(connection, source.database_id, source.index)
    rows: list[Row] = []
    size, skip, after = 0, cursor.skip, cursor.after
    for number, span in enumerate(cursor.spans):
        # Spans without rows fill no batch, and a query may have very many keys.
        if number == limits.BATCH_SPANS:
            return Batch(rows, cursor.behind(number, None, len(rows), skip), moment)
        limit = -1 if cursor.limit is None else cursor.limit - len(rows)
        if limit == 0:
            break
        found = 0
        for row in read_rows(connection, source.index, source.view.place, span, after=after, limit=limit, skip=skip):
            found += 1
            rows.append(row)
            size += len(row.value) + len(row.emitted)
            if size > limits.BATCH_BYTES or len(rows) >= limits.BATCH_ROWS:
                return Batch(rows, cursor.behind(number, row.place, len(rows), 0), moment)
        # The rows that a span skips are not known if it has none left, so they are counted.
        if skip:
            skip = 0 if found else max(0, skip - count_rows(connection, source.index, source.view.place, span))
        after = None
    return Batch(rows, None, moment)


def offset(connection: Connection, source: Source, parts: Sequence[Span], skip: int, total: int) -> int:
    """Return how many rows come before the first row of the query.

    Of several spans, the first that has rows counts.
    """
    before = 0
    for span in parts:
        ahead = span.before()
        before = 0 if ahead is None else count_rows(connection, source.index, source.view.place, ahead)
        if len(parts) == 1 or any(read_rows(connection, source.index, source.view.place, span, limit=1)):
            break
    return min(total, before + skip)


# --- rows as JSON


def row_texts(connection: Connection, source: Source, rows: Sequence[Row], query: ViewQuery) -> list[bytes]:
    """Return the rows as JSON, with their documents if the query has ``include_docs``."""
    if not query.include_docs:
        return [_row_json(row) + b"}" for row in rows]
    options = ReadOptions(
        conflicts=bool(query.conflicts), attachments=query.attachments, att_encoding_info=query.att_encoding_info
    )
    return [
        b"".join((_row_json(row), b',"doc":', _document_json(connection, source, row, options), b"}")) for row in rows
    ]


def _row_json(row: Row) -> bytes:
    return b'{"id":%b,"key":%b,"value":%b' % (to_json(row.id), row.emitted, row.value)


def _document_json(connection: Connection, source: Source, row: Row, options: ReadOptions) -> bytes:
    """Return the document of a row as JSON: its own, or the document or revision that its value names.

    Raises BadRequestError if the value names an invalid revision.
    """
    value: Any = decode(row.value) if row.value.startswith(b"{") else {}
    rev = _named_revision(row, value["_rev"]) if "_rev" in value else None
    id = row.id
    if "_id" in value:
        id, options = value["_id"], DEFAULT_OPTIONS
        if not isinstance(id, str):
            return b"null"
    return (
        _winner_json(connection, source, id, options)
        if rev is None
        else _revision_json(connection, source, id, rev, options)
    )


def _named_revision(row: Row, text: object) -> Rev:
    """Parse the revision that a row's value names. An invalid one fails the whole query, as in CouchDB."""
    try:
        return Rev.parse(text)
    except BadRequestError as error:
        reason = f"what is emitted for the document {row.id!r} has a `_rev` that is no revision"
        raise BadRequestError(reason, code=error.reason) from None


def _winner_json(connection: Connection, source: Source, id: str, options: ReadOptions) -> bytes:
    try:
        return open_winner(connection, source.database_id, id, options).text
    except NotFoundError:
        return b"null"


def _revision_json(connection: Connection, source: Source, id: str, rev: Rev, options: ReadOptions) -> bytes:
    [found] = open_revisions(connection, source.database_id, id, [rev], options, False)
    return found.text if isinstance(found, AnsweredRevision) else b"null"
