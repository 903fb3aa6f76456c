"""The rows of indexes, read in their order and counted."""

from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.views.counts import Position, count_between
from couchmodel.errors import NotFoundError

__all__ = ["HIGHEST_ID", "Moment", "Place", "Row", "Span", "check_index", "count_rows", "measure", "read_rows"]

HIGHEST_ID: Final = b""
"""What comes after every id: to SQLite any BLOB is greater than any text."""


Moment: TypeAlias = tuple[int, int]
"""Up to which change and which purge of its database an index goes. Its rows change with one of them only."""


class Row(NamedTuple):
    """A row of a view: where it stands, and what it says."""

    key: bytes
    id: str
    position: int
    emitted: bytes
    value: bytes

    @property
    def place(self) -> "Place":
        """Where the row stands in its view."""
        return Place(self.key, self.id, self.position)


class Place(NamedTuple):
    """Where a row stands in its view."""

    key: bytes
    id: str
    position: int


class Span(NamedTuple):
    """A part of a view, in one direction: from a key and an id on, up to others. None is no bound.

    The beginning is part of it, the end only with ``includes_end``. An id is ``""``, HIGHEST_ID, or one in between.
    """

    start: Position | None = None
    end: Position | None = None
    includes_end: bool = True
    descending: bool = False

    def before(self) -> "Span | None":
        """What comes before it in its direction; None where nothing does."""
        if self.start is None:
            return None
        return Span(end=self.start, includes_end=False, descending=self.descending)


def check_index(database: int, index: int, connection: Connection) -> Moment:
    """How far an index is, be it dropped meanwhile. Raises NotFoundError where its database has been dropped."""
    row = connection.execute(
        "SELECT view_index.update_seq, purge_seq FROM view_index JOIN database ON database.number = ?"
        " WHERE view_index.number = ? AND name IS NOT NULL",
        (database, index),
    ).fetchone()
    if row is None:
        raise NotFoundError("Database does not exist.")
    update_seq, purge_seq = row
    return update_seq, purge_seq


def read_rows(
    index: int,
    view: int,
    span: Span,
    connection: Connection,
    *,
    after: Place | None = None,
    limit: int = -1,
    skip: int = 0,
) -> Iterator[Row]:
    """The rows of a span in its order, from behind a place on.

    Rows of one key of one document come in the order in which they were emitted, whatever the direction.
    """
    condition, values = _condition(span, after)
    order = "key DESC, id DESC, position" if span.descending else "key, id, position"
    rows = connection.execute(
        "SELECT key, id, position, emitted, value FROM view_row WHERE view_index = ? AND view = ?"
        f"{condition} ORDER BY {order} LIMIT ? OFFSET ?",
        (index, view, *values, limit, skip),
    )
    return (Row(*row) for row in rows)


def count_rows(index: int, view: int, span: Span, connection: Connection) -> int:
    """How many rows there are in a span."""
    if span.descending:
        return count_between(connection, index, view, span.end, span.start, ends=(span.includes_end, True))
    return count_between(connection, index, view, span.start, span.end, ends=(True, span.includes_end))


def measure(index: int, connection: Connection) -> int:
    """How many bytes the rows of an index have."""
    size: int = connection.execute(
        "SELECT coalesce(sum(length(key) + length(emitted) + length(value) + length(id)), 0)"
        " FROM view_row WHERE view_index = ?",
        (index,),
    ).fetchone()[0]
    return size


def _condition(span: Span, after: Place | None) -> tuple[str, list[object]]:
    conditions: list[str] = []
    values: list[object] = []
    low, high = ("<=", ">") if span.descending else (">=", "<")
    start = span.start if after is None else after[:2]
    if start is not None:
        conditions.append(f" AND (key, id) {low} (?, ?)")
        values += start
    if after is not None:
        conditions.append(" AND NOT (key = ? AND id = ? AND position <= ?)")
        values += after
    if span.end is not None:
        conditions.append(f" AND (key, id) {high}{'=' if span.includes_end else ''} (?, ?)")
        values += span.end
    return "".join(conditions), values
