"""Count the rows in a range of a view without reading them one by one.

The rows of a view are divided into blocks. A block begins at a key and an id, ends where the next block begins, and
stores the number of its rows. So a range is counted by the sum of its blocks, and only the rows of the blocks at its
two ends are counted singly. A block that becomes too large is divided. Blocks are never merged, so the beginning of a
block stays where it is.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from couchmodel._embedded import limits
from couchmodel._embedded.storage.sqlite import Connection

__all__ = ["Position", "count_between", "count_blocks", "update_blocks"]

Position: TypeAlias = tuple[bytes, str | bytes]
"""A key and an id. Instead of an id, a BLOB stands after every id: see ``reader.HIGHEST_ID``."""

_ViewKey: TypeAlias = tuple[int, int]
_Begin: TypeAlias = tuple[bytes, str]

_FIRST: Final[_Begin] = (b"", "")


def update_blocks(
    connection: Connection, view: _ViewKey, removed: Sequence[_Begin], inserted: Sequence[_Begin]
) -> None:
    """Update the blocks of a view after rows, given by key and id, were removed from it and inserted into it."""
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
        _set_count(connection, view, begins[place], count)
        if count > limits.BLOCK_ROWS:
            _divide(connection, view, begins[place], count)


def _tally(begins: Sequence[_Begin], rows: Iterable[_Begin]) -> Counter[int]:
    """Return how many of the rows are in each block, by the index of the block in ``begins``."""
    tally: Counter[int] = Counter()
    # In order, each block is found by a search from where the last one ended.
    ordered, at = sorted(rows), 0
    while at < len(ordered):
        place = bisect_right(begins, ordered[at]) - 1
        end = bisect_left(ordered, begins[place + 1], at) if place + 1 < len(begins) else len(ordered)
        tally[place] = end - at
        at = end
    return tally


def _set_count(connection: Connection, view: _ViewKey, begin: _Begin, count: int) -> None:
    connection.execute(
        "UPDATE view_block SET count = ? WHERE view_index = ? AND view = ? AND key = ? AND id = ?",
        (count, *view, *begin),
    )


def _divide(connection: Connection, view: _ViewKey, begin: _Begin, count: int) -> None:
    """Divide a block into blocks of half the size. Rows with the same key and id stay in one block."""
    while count > limits.BLOCK_ROWS:
        row = connection.execute(
            "SELECT key, id FROM view_row WHERE view_index = ? AND view = ? AND (key, id) >= (?, ?)"
            " ORDER BY key, id, position LIMIT 1 OFFSET ?",
            (*view, *begin, limits.BLOCK_ROWS // 2),
        ).fetchone()
        left = _count_rows(connection, view, begin, row) if row else 0
        if not left or left >= count:
            return  # the middle row has the key and id at which the block begins
        _set_count(connection, view, begin, left)
        begin, count = row, count - left
        connection.execute("INSERT INTO view_block VALUES (?, ?, ?, ?, ?)", (*view, *begin, count))


def _count_rows(connection: Connection, view: _ViewKey, begin: _Begin, end: _Begin) -> int:
    """Count the rows between two positions one by one. The end is not included."""
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
    """Return the number of rows between two positions. A position of None is no bound.

    ``ends`` says for ``low`` and for ``high`` whether rows at this position are included.
    """
    above, above_values = _rank(connection, (index, view), high, includes=ends[1])
    below, below_values = ("0", []) if low is None else _rank(connection, (index, view), low, includes=not ends[0])
    # Both ranks are read by one statement, so that no write can come between them.
    counted: int = connection.execute(f"SELECT {above} - ({below})", (*above_values, *below_values)).fetchone()[0]
    return max(0, counted)  # negative if the high end comes before the low one


def count_blocks(connection: Connection, index: int, view: int, low: bytes, high: bytes) -> int:
    """Return the number of rows in the blocks that begin between two keys.

    It is near the number of rows between the keys, less or more by a block at either end.
    """
    counted: int = connection.execute(
        "SELECT coalesce(sum(count), 0) FROM view_block WHERE view_index = ? AND view = ? AND key >= ? AND key <= ?",
        (index, view, low, high),
    ).fetchone()[0]
    return counted


def _rank(connection: Connection, view: _ViewKey, to: Position | None, *, includes: bool) -> tuple[str, list[object]]:
    """Return an SQL expression for the number of rows up to a position, and its parameters."""
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
