"""Groups of many rows, reduced by SQLite: it adds numbers without making Python values of them.

Only ``_count``, ``_sum`` and ``_stats`` of numbers are reduced so. Other values, and whole numbers whose sums a double
cannot hold, are left to ``grouping``. SQLite may add fractions in another order than CouchDB's B-tree does, so the last
digit of a sum of many fractions may differ.
"""

from typing import Final, NamedTuple

from couchmodel._embedded import limits
from couchmodel._embedded.queries.grouping import group_key
from couchmodel._embedded.queries.view_rows import Cursor, Source, read_batch
from couchmodel._embedded.rules.collation import HIGHEST
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.views.counts import Position, count_blocks
from couchmodel._embedded.views.params import WHOLE_KEYS
from couchmodel._embedded.views.reader import HIGHEST_ID, Place, Row, Span, count_rows, has_strings, read_figures
from couchmodel._wire.messages import encode

__all__ = ["LargeGroups", "can_reduce", "reduce_large_groups"]

_EXACT: Final = 2**53
"""Sums of whole numbers below it are exact in doubles."""


def can_reduce(reduce: str | None) -> bool:
    """Return True for a reduce function that SQLite can do."""
    return reduce in ("_count", "_sum", "_stats")


class LargeGroups(NamedTuple):
    """Groups that were reduced, as JSON, and the cursor behind them, None at the end.

    ``needs_rows`` is True if SQLite cannot reduce the next group, which has to be reduced row by row: it is too small
    or too large for that, or has values that SQLite does not add exactly.
    """

    groups: list[bytes]
    rest: Cursor | None
    needs_rows: bool


def reduce_large_groups(connection: Connection, source: Source, level: int, cursor: Cursor) -> LargeGroups:
    """Reduce the next groups until one comes that needs its rows, or enough rows for one read were reduced.

    The cursor has one span, and stands before a group.
    """
    groups: list[bytes] = []
    rows = 0
    while rows < limits.SUMMED_ROWS:
        first = read_batch(connection, source, Cursor(cursor.spans, 1, after=cursor.after)).rows
        if not first:
            return LargeGroups(groups, None, False)
        row, (span,) = first[0], cursor.spans
        emitted, prefix = group_key(source.view, level, row)
        within, behind = _bounds(span, row, prefix, is_whole=level == WHOLE_KEYS)
        count = _estimate_rows(connection, source, within)
        value = None
        if limits.SMALL_GROUP <= count <= limits.SUMMED_ROWS:
            value = _reduce(connection, source, within)
        if value is None:
            return LargeGroups(groups, cursor, True)
        groups.append(b'{"key":%b,"value":%b}' % (emitted, value))
        cursor = Cursor(cursor.spans, None, after=behind)
        rows += count
    return LargeGroups(groups, cursor, False)


def _bounds(span: Span, row: Row, prefix: bytes, *, is_whole: bool) -> tuple[Span, Place]:
    """Return the part of a span that is the group of its first row, and the place behind the group."""
    if span.descending:
        last: Position = (prefix, "")
    else:
        last = (prefix, HIGHEST_ID) if is_whole else (prefix + HIGHEST, HIGHEST_ID)
    within = Span((row.key, row.id), last, True, span.descending)
    behind = Place(last[0], last[1], 0)  # a BLOB stands behind every id
    if span.end is None or (_order(span.end) > _order(last)) != span.descending:
        return within, behind
    return within._replace(end=span.end, includes_end=span.includes_end), behind


def _order(position: Position) -> tuple[bytes, bool, str | bytes]:
    """Return a position so that it compares as SQLite compares it."""
    key, id = position
    return key, isinstance(id, bytes), id


def _estimate_rows(connection: Connection, source: Source, within: Span) -> int:
    """Return about the number of rows in a span, and the exact number of few."""
    ends = [end[0] for end in (within.start, within.end) if end is not None]
    count = count_blocks(connection, source.index, source.view.place, min(ends), max(ends))
    if count > limits.BLOCK_ROWS:
        return count
    return count_rows(connection, source.index, source.view.place, within)


def _reduce(connection: Connection, source: Source, within: Span) -> bytes | None:
    """Return the JSON of the value of a group; None if its rows are not what SQLite can add exactly."""
    if source.view.reduce == "_count":
        return b"%d" % count_rows(connection, source.index, source.view.place, within)
    place = (connection, source.index, source.view.place, within)
    figures = read_figures(*place)
    if figures.highest[:1] > b"9":  # the JSON of something else than a number
        return None
    if source.view.reduce == "_sum" and has_strings(*place):  # an index with _stats has none
        return None
    numbers = (figures.total, figures.least, figures.greatest, figures.squares)
    if not all(float(each).is_integer() for each in numbers):
        return None
    total, least, greatest, squares = map(int, numbers)
    largest = max(abs(least), abs(greatest))
    if largest * largest * figures.rows >= _EXACT:
        return None
    if source.view.reduce == "_sum":
        return encode(total)
    return encode({"sum": total, "count": figures.rows, "min": least, "max": greatest, "sumsqr": squares})
