"""Views: the rows that a query wants, or what they come to, read in batches.

Between two batches the index may change: every row is as it is when its batch is read. Whoever puts the rows of several
batches together looks whether they are of one moment.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from couchmodel._embedded.documents.reader import NO_WISHES, Opened, Wishes, open_revisions, open_winner
from couchmodel._embedded.rules.collation import HIGHEST
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.views.designs import View
from couchmodel._embedded.views.params import NOTHING, Query
from couchmodel._embedded.views.reader import HIGHEST_ID, Moment, Place, Row, Span, check_index, count_rows, read_rows
from couchmodel._wire.messages import decode
from couchmodel._wire.revisions import Rev
from couchmodel.errors import BadRequestError, NotFoundError

__all__ = ["Batch", "Cursor", "Source", "offset", "read_batch", "row_texts", "spans"]

BATCH_BYTES: Final = 524_288
BATCH_ROWS: Final = 1000
BATCH_SPANS: Final = 1000


@dataclass(slots=True, frozen=True)
class Source:
    """A view that is read: its database, its index and its place there."""

    database: int
    index: int
    view: View


@dataclass(slots=True, frozen=True)
class Cursor:
    """What is yet to be read: the spans, and where the first of them goes on."""

    spans: Sequence[Span]
    limit: int | None
    skip: int = 0
    after: Place | None = None

    def behind(self, span: int, place: Place | None, read: int, skip: int) -> "Cursor | None":
        """What is left when ``read`` rows were taken up to a place in a span; None when it is nothing."""
        limit = None if self.limit is None else self.limit - read
        left = self.spans[span:]
        return Cursor(left, limit, skip, place) if left and limit != 0 else None


class Batch(NamedTuple):
    """Some rows, and what is left to be read; None behind the last. The index stands still with its ``moment``."""

    rows: list[Row]
    rest: Cursor | None
    moment: Moment


def spans(query: Query, view: View) -> list[Span]:
    """The parts of a view that a query is about, in the order in which they are read."""
    if query.has_keys:
        keys = list(map(view.key_of, query.keys))
        return [_span(query, key, key) for key in (keys[::-1] if query.descending and not query.level else keys)]
    start, end = (None if key is NOTHING else view.key_of(key) for key in (query.start, query.end))
    if view.prefix:  # all of the partition
        lowest, highest = view.prefix, view.prefix + HIGHEST
        start, end = (
            start or (highest if query.descending else lowest),
            end or (lowest if query.descending else highest),
        )
    return [_span(query, start, end)]


def _span(query: Query, start: bytes | None, end: bytes | None) -> Span:
    lowest, highest = (HIGHEST_ID, "") if query.descending else ("", HIGHEST_ID)
    start_id: str | bytes = lowest if query.start_id is None else query.start_id
    end_id: str | bytes = highest if query.end_id is None else query.end_id
    if not query.inclusive_end:
        # Without an id, all rows of the last key are left out.
        end_id = HIGHEST_ID if end_id == "" else "" if end_id == HIGHEST_ID else end_id
    return Span(
        None if start is None else (start, start_id),
        None if end is None else (end, end_id),
        query.inclusive_end,
        query.descending,
    )


def read_batch(source: Source, cursor: Cursor, connection: Connection) -> Batch:
    """The rows that come next. Raises NotFoundError where the database has been dropped."""
    moment = check_index(source.database, source.index, connection)
    rows: list[Row] = []
    size, skip, after = 0, cursor.skip, cursor.after
    for number, span in enumerate(cursor.spans):
        if number == BATCH_SPANS:
            return Batch(rows, cursor.behind(number, None, len(rows), skip), moment)
        limit = -1 if cursor.limit is None else cursor.limit - len(rows)
        if limit == 0:
            break
        found = 0
        for row in read_rows(source.index, source.view.place, span, connection, after=after, limit=limit, skip=skip):
            found += 1
            rows.append(row)
            size += len(row.value) + len(row.emitted)
            if size > BATCH_BYTES or len(rows) >= BATCH_ROWS:
                return Batch(rows, cursor.behind(number, row.place, len(rows), 0), moment)
        if skip:
            skip = 0 if found else max(0, skip - count_rows(source.index, source.view.place, span, connection))
        after = None
    return Batch(rows, None, moment)


def offset(source: Source, parts: Sequence[Span], skip: int, total: int, connection: Connection) -> int:
    """How many rows come before the first one that is wanted. Of several spans the first with rows counts."""
    before = 0
    for span in parts:
        ahead = span.before()
        before = 0 if ahead is None else count_rows(source.index, source.view.place, ahead, connection)
        if len(parts) == 1 or any(read_rows(source.index, source.view.place, span, connection, limit=1)):
            break
    return min(total, before + skip)


# --- rows as JSON


def row_texts(source: Source, rows: Sequence[Row], query: Query, connection: Connection) -> list[bytes]:
    """The rows as they are answered, with their documents if they are wanted."""
    if not query.include_docs:
        return [_row(row) + b"}" for row in rows]
    wishes = Wishes(
        conflicts=bool(query.conflicts), attachments=query.attachments, att_encoding_info=query.att_encoding_info
    )
    return [b"".join((_row(row), b',"doc":', _document(source, row, wishes, connection), b"}")) for row in rows]


def _row(row: Row) -> bytes:
    return b'{"id":%b,"key":%b,"value":%b' % (to_json(row.id), row.emitted, row.value)


def _document(source: Source, row: Row, wishes: Wishes, connection: Connection) -> bytes:
    """Return the row's document, or the one or the revision that its value names. Raises BadRequestError."""
    value: Any = decode(row.value) if row.value.startswith(b"{") else {}
    rev = _named_revision(row, value["_rev"]) if "_rev" in value else None
    id = row.id
    if "_id" in value:
        id, wishes = value["_id"], NO_WISHES
        if not isinstance(id, str):
            return b"null"
    return _winner(source, id, wishes, connection) if rev is None else _revision(source, id, rev, wishes, connection)


def _named_revision(row: Row, text: object) -> Rev:
    """Return the revision that a row's value names. CouchDB fails the whole query where it is none."""
    try:
        return Rev.parse(text)
    except BadRequestError as error:
        reason = f"what is emitted for the document {row.id!r} has a `_rev` that is no revision"
        raise BadRequestError(reason, code=error.reason) from None


def _winner(source: Source, id: str, wishes: Wishes, connection: Connection) -> bytes:
    try:
        return open_winner(source.database, id, wishes, connection).text
    except NotFoundError:
        return b"null"


def _revision(source: Source, id: str, rev: Rev, wishes: Wishes, connection: Connection) -> bytes:
    [found] = open_revisions(source.database, id, [rev], wishes, False, connection)
    return found.text if isinstance(found, Opened) else b"null"
