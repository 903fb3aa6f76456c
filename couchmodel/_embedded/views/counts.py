"""How many rows there are in a part of a view, without counting them one by one.

The rows of a view lie in blocks: one begins at some key and id, goes on to where the next one begins, and knows how
many rows it has. So a part is counted by adding up blocks, and counting rows only in those at its ends. A block that
has become too large is divided; where it began, a block begins for ever.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from couchmodel._embedded.storage.sqlite import Connection

__all__ = ["Position", "count_between", "record"]

LARGEST: Final = 2000
"""Rows of a block before it is divided."""

Position: TypeAlias = tuple[bytes, str | bytes]
"""A key and an id, or a BLOB that comes after every id."""

_View: TypeAlias = tuple[int, int]
_Begin: TypeAlias = tuple[bytes, str]

_FIRST: Final[_Begin] = (b"", "")


def record(connection: Connection, view: _View, removed: Sequence[_Begin], inserted: Sequence[_Begin]) -> None:
    """Note which rows were taken from a view and put into it, by key and id. That is done already."""
    blocks = connection.execute(
        "SELECT key, id, count FROM view_block WHERE view_index = ? AND view = ? ORDER BY key, id", view
    ).fetchall()
    if not blocks:
        blocks = [(*_FIRST, 0)]
        connection.execute("INSERT INTO view_block VALUES (?, ?, ?, ?, 0)", (*view, *_FIRST))
    begins: list[_Begin] = [(key, id) for key, id, _ in blocks]
    changes = _tally(begins, inserted)
    changes.subtract(_tally(begins, removed))
    for place, change in changes.items():
        count = blocks[place][2] + change
        _set(connection, view, begins[place], count)
        if count > LARGEST:
            _divide(connection, view, begins[place], count)


def _tally(begins: Sequence[_Begin], rows: Iterable[_Begin]) -> Counter[int]:
    """How many of the rows are in each block."""
    tally: Counter[int] = Counter()
    ordered, at = sorted(rows), 0
    while at < len(ordered):
        place = bisect_right(begins, ordered[at]) - 1
        end = bisect_left(ordered, begins[place + 1], at) if place + 1 < len(begins) else len(ordered)
        tally[place] = end - at
        at = end
    return tally


def _set(connection: Connection, view: _View, begin: _Begin, count: int) -> None:
    connection.execute(
        "UPDATE view_block SET count = ? WHERE view_index = ? AND view = ? AND key = ? AND id = ?",
        (count, *view, *begin),
    )


def _divide(connection: Connection, view: _View, begin: _Begin, count: int) -> None:
    """Make blocks of a block, none of them too large. Rows of one key and id stay together, however many they are."""
    while count > LARGEST:
        row = connection.execute(
            "SELECT key, id FROM view_row WHERE view_index = ? AND view = ? AND (key, id) >= (?, ?)"
            " ORDER BY key, id, position LIMIT 1 OFFSET ?",
            (*view, *begin, LARGEST // 2),
        ).fetchone()
        left = _count_rows(connection, view, begin, row) if row else 0
        if not left or left >= count:
            return
        _set(connection, view, begin, left)
        begin, count = row, count - left
        connection.execute("INSERT INTO view_block VALUES (?, ?, ?, ?, ?)", (*view, *begin, count))


def _count_rows(connection: Connection, view: _View, begin: _Begin, end: _Begin) -> int:
    counted: int = connection.execute(
        "SELECT count(*) FROM view_row"
        " WHERE view_index = ? AND view = ? AND (key, id) >= (?, ?) AND (key, id) < (?, ?)",
        (*view, *begin, *end),
    ).fetchone()[0]
    return counted


def count_between(
    connection: Connection,
    index: int,
    view: int,
    low: Position | None,
    high: Position | None,
    *,
    ends: tuple[bool, bool],
) -> int:
    """How many rows there are between two positions, each of them included or not; None is no bound."""
    above, above_values = _rank(connection, (index, view), high, includes=ends[1])
    below, below_values = ("0", []) if low is None else _rank(connection, (index, view), low, includes=not ends[0])
    # Both ends in one statement, for they have to be those of one moment.
    counted: int = connection.execute(f"SELECT {above} - ({below})", (*above_values, *below_values)).fetchone()[0]
    return max(0, counted)


def _rank(connection: Connection, view: _View, to: Position | None, *, includes: bool) -> tuple[str, list[object]]:
    """An expression for the number of rows up to a position, and its values."""
    if to is None:
        return "(SELECT coalesce(sum(count), 0) FROM view_block WHERE view_index = ? AND view = ?)", [*view]
    begin = connection.execute(
        "SELECT key, id FROM view_block WHERE view_index = ? AND view = ? AND (key, id) <= (?, ?)"
        " ORDER BY key DESC, id DESC LIMIT 1",
        (*view, *to),
    ).fetchone()
    expression = (
        "((SELECT coalesce(sum(count), 0) FROM view_block WHERE view_index = ? AND view = ? AND (key, id) < (?, ?))"
        " + (SELECT count(*) FROM view_row WHERE view_index = ? AND view = ? AND (key, id) >= (?, ?)"
        f" AND (key, id) {'<=' if includes else '<'} (?, ?)))"
    )
    begin = begin or _FIRST
    return expression, [*view, *begin, *view, *begin, *to]
