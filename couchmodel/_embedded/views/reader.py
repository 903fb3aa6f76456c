"""Read and count the rows of indexes."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.views.counts import Position, count_between
from couchmodel._wire.reasons import NO_DATABASE
from couchmodel.errors import NotFoundError

__all__ = [
    "HIGHEST_ID",
    "Figures",
    "IndexVersion",
    "Place",
    "Row",
    "Span",
    "check_index",
    "count_rows",
    "has_strings",
    "read_documents",
    "read_figures",
    "read_rows",
    "rows_size",
]

HIGHEST_ID: Final = b""
"""A value that comes after every id, since SQLite sorts every BLOB after every text."""


IndexVersion: TypeAlias = tuple[int, int]
"""The update sequence and the purge sequence of an index. Its rows are unchanged as long as both are."""


class Row(NamedTuple):
    """A row of a view.

    ``key`` is the sort key, bytes that compare as CouchDB collates. ``emitted`` and ``value`` are the key and the value
    as JSON. ``position`` orders the rows of one document with the same key.
    """

    key: bytes
    id: str
    position: int
    emitted: bytes
    value: bytes

    @property
    def place(self) -> "Place":
        """The place of the row in its view."""
        return Place(self.key, self.id, self.position)


class Place(NamedTuple):
    """The place of a row in its view: the columns by which rows are sorted."""

    key: bytes
    id: str | bytes
    position: int


class Span(NamedTuple):
    """A range of a view in one direction, from a key and an id to another key and id. None is no bound.

    The start is included, the end only with ``includes_end``. An id of ``""`` stands before all rows of a key, and
    HIGHEST_ID after all of them.
    """

    start: Position | None = None
    end: Position | None = None
    includes_end: bool = True
    descending: bool = False

    def before(self) -> "Span | None":
        """Return the span of all rows before this span, in its direction, or None if it begins at the first row."""
        if self.start is None:
            return None
        return Span(end=self.start, includes_end=False, descending=self.descending)


def check_index(connection: Connection, database_id: int, index: int) -> IndexVersion:
    """Return the update and purge sequence of an index, even if it was dropped in the meantime.

    Raises NotFoundError if its database has been dropped.
    """
    row = connection.execute(
        "SELECT view_index.update_seq, purge_seq FROM view_index JOIN database ON database.number = ?"
        " WHERE view_index.number = ? AND name IS NOT NULL",
        (database_id, index),
    ).fetchone()
    if row is None:
        raise NotFoundError(NO_DATABASE)
    update_seq, purge_seq = row
    return update_seq, purge_seq


def read_rows(
    connection: Connection,
    index: int,
    view: int,
    span: Span,
    *,
    after: Place | None = None,
    limit: int = -1,
    skip: int = 0,
) -> Iterator[Row]:
    """Return an iterator over the rows of a span in its direction, beginning after the place ``after``.

    Rows of one document with the same key come in the order of their positions in both directions.
    """
    condition, values = _condition(span, after)
    # As CouchDB: the rows of one document with one key keep their order when a view is read backwards.
    order = "key DESC, id DESC, position" if span.descending else "key, id, position"
    rows = connection.execute(
        "SELECT key, id, position, emitted, value FROM view_row WHERE view_index = ? AND view = ?"
        f"{condition} ORDER BY {order} LIMIT ? OFFSET ?",
        (index, view, *values, limit, skip),
    )
    return (Row(*row) for row in rows)


def read_documents(
    connection: Connection, database_id: int, index: int, view: int, span: Span, *, after: Place | None = None
) -> Iterator[tuple[Any, ...]]:
    """Return an iterator over the rows of a span of a Mango index, each with its document as it is now.

    A row has the key as JSON and the id, and the columns of a ``StoredRevision``, which are None if there is no
    document. A Mango index has one row for a document, so their positions are in no order.
    """
    condition, values = _condition(span, after)
    order = "DESC" if span.descending else "ASC"
    return connection.execute(
        "SELECT emitted, view_row.id, rev, deleted, attachments, body"
        " FROM view_row LEFT JOIN document ON database = ? AND document.id = view_row.id"
        f" WHERE view_index = ? AND view = ?{condition} ORDER BY key {order}, view_row.id {order}",
        (database_id, index, view, *values),
    )


def count_rows(connection: Connection, index: int, view: int, span: Span) -> int:
    """Return the number of rows in a span."""
    if span.descending:
        return count_between(connection, index, view, span.end, span.start, ends=(span.includes_end, True))
    return count_between(connection, index, view, span.start, span.end, ends=(True, span.includes_end))


class Figures(NamedTuple):
    """Figures of the values of some rows, taken as numbers, and the highest value as JSON."""

    rows: int
    total: float
    least: float
    greatest: float
    squares: float
    highest: bytes


def read_figures(connection: Connection, index: int, view: int, span: Span) -> Figures:
    """Return the figures of a span that has at least one row."""
    condition, values = _condition(span, None)
    found = connection.execute(
        "SELECT count(*), total(number), min(number), max(number), total(number * number), max(value)"
        # The limit keeps SQLite from merging the queries, and so from making each number four times.
        " FROM (SELECT CAST(value AS NUMERIC) AS number, value FROM view_row"
        f" WHERE view_index = ? AND view = ?{condition} LIMIT -1)",
        (index, view, *values),
    )
    return Figures(*found.fetchone())


def has_strings(connection: Connection, index: int, view: int, span: Span) -> bool:
    """Return True if a value of a span is a string. Values are compared as JSON, where a quotation mark sorts first."""
    condition, values = _condition(span, None)
    found = connection.execute(
        # The first characters of JSON values: `"` is 22, `-` is 2d, and digits, literals, `[` and `{` come after it.
        f"SELECT 1 FROM view_row WHERE view_index = ? AND view = ?{condition} AND value < x'2d' LIMIT 1",
        (index, view, *values),
    )
    return found.fetchone() is not None


def rows_size(connection: Connection, index: int) -> int:
    """Return the size of the rows of an index in bytes."""
    size: int = connection.execute(
        "SELECT coalesce(sum(length(key) + length(emitted) + length(value) + length(id)), 0)"
        " FROM view_row WHERE view_index = ?",
        (index,),
    ).fetchone()[0]
    return size


def _condition(span: Span, after: Place | None) -> tuple[str, list[object]]:
    """Return the SQL condition for the rows of a span after a place, and its parameters."""
    conditions: list[str] = []
    values: list[object] = []
    low, high = ("<=", ">") if span.descending else (">=", "<")
    start = span.start if after is None else after[:2]
    if start is not None:
        # A row value, which SQLite finds in the primary key by one search.
        conditions.append(f" AND (key, view_row.id) {low} (?, ?)")
        values += start
    if after is not None:
        # Positions ascend in both directions, so they are no part of the comparison above.
        conditions.append(" AND NOT (key = ? AND view_row.id = ? AND position <= ?)")
        values += after
    if span.end is not None:
        conditions.append(f" AND (key, view_row.id) {high}{'=' if span.includes_end else ''} (?, ?)")
        values += span.end
    return "".join(conditions), values
