"""Reduced views: groups of a view's rows, each reduced to one value."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from couchmodel._embedded.views.builtin_reduce import Item, Reduction
from couchmodel._embedded.views.designs import View
from couchmodel._embedded.views.params import WHOLE_KEYS
from couchmodel._embedded.views.reader import IndexVersion, Place, Row
from couchmodel._wire.messages import decode, encode
from couchmodel.errors import DocumentError, ResponseError, ServerError

__all__ = ["Grouping", "group_key"]


OVERFLOW: Final = "reduce_overflow_error"
"""The code of the error for a reduce function whose result does not get shorter than its rows.

The error takes the place of the group's value. Every other error ends the query.
"""


@dataclass(slots=True)
class _Group:
    """The group of rows that is open, and the reduction of its rows so far.

    ``emitted`` is the key that stands for the group, as JSON. The keys of all its rows begin with ``prefix``.
    """

    emitted: bytes
    prefix: bytes
    reduction: Reduction
    overflow: ResponseError | None = None

    def add(self, items: Sequence[Item]) -> None:
        """Reduce some more rows, unless the reduction has failed already. Raises ResponseError."""
        if self.overflow is None:
            try:
                self.reduction.add(items)
            except ResponseError as error:
                self.overflow = _require_overflow(error)

    def member(self) -> bytes:
        """Return the member beside the group's key: its value, or an error. Raises ResponseError."""
        if self.overflow is None:
            try:
                return b'"value":' + encode(self.reduction.result())
            except ResponseError as error:
                self.overflow = _require_overflow(error)
            except DocumentError:  # CouchDB fails with this code, too, since Erlang has no infinity
                raise ServerError("a result is beyond the largest number of JSON", code="badarith") from None
        return encode({"error": self.overflow.code, "reason": self.overflow.reason})[1:-1]


def _require_overflow(error: ResponseError) -> ResponseError:
    """Return an error that takes the place of a value. Raise any other error."""
    if error.code != OVERFLOW:
        raise error
    return error


class Grouping:
    """The groups of a view's rows, which are fed to it in order.

    The keys of a group begin with the same bytes: the whole key with the level WHOLE_KEYS, the first items of an array
    otherwise. All rows of a group are read at one moment of the index. Otherwise its value could be one that the view
    has never had.
    """

    def __init__(self, view: View, level: int, make: Callable[[], Reduction]) -> None:
        self._view = view
        self._level = level
        self._make = make
        self._group: _Group | None = None
        self._moment: IndexVersion | None = None
        self._last: Place | None = None
        self._before: Place | None = None
        self.restarts = 0
        """How often the open group has been begun anew."""

    @property
    def is_open(self) -> bool:
        """True if a group is open, whose rows are not all fed yet."""
        return self._group is not None

    def is_at(self, moment: IndexVersion) -> bool:
        """Return True if rows of that moment may be fed. If not, call ``restart`` first."""
        return self._group is None or self._moment == moment

    def restart(self) -> Place | None:
        """Discard the open group. Return the place of the row before it, or None if it is the first group."""
        self._group = None
        self._last = self._before
        self.restarts += 1
        return self._before

    def leave(self) -> Place | None:
        """Discard the open group, to read it again from its first row. Return the place of the row before it."""
        self._group = None
        self._last = self._before
        return self._before

    def is_one(self, rows: Sequence[Row]) -> bool:
        """Return True if consecutive rows all belong to one group."""
        return not rows or rows[-1].key.startswith(group_key(self._view, self._level, rows[0])[1])

    def feed(self, rows: Sequence[Row], moment: IndexVersion) -> list[bytes]:
        """Feed rows of one moment. Return the groups that they complete, as JSON. Raises ResponseError."""
        self._moment = moment
        done: list[bytes] = []
        begin = 0
        for place, row in enumerate(rows):
            if self._group is None or not row.key.startswith(self._group.prefix):
                # Rows are reduced in runs, not one by one: each call of a JavaScript function costs as much as many
                # rows.
                self._add(rows[begin:place])
                done += self.finish()
                self._group = self._begin_group(row)
                self._before = rows[place - 1].place if place else self._last
                begin = place
        self._add(rows[begin:])
        self._last = rows[-1].place if rows else self._last
        # Restarts are counted for one group: a completed one shows that the index stands still long enough.
        self.restarts = 0 if done else self.restarts
        return done

    def finish(self) -> list[bytes]:
        """Close the open group, and return it as JSON if there is one. Raises ResponseError."""
        group, self._group = self._group, None
        if group is None:
            return []
        return [b'{"key":%b,%b}' % (group.emitted, group.member())]

    def _add(self, rows: Sequence[Row]) -> None:
        if self._group is not None and rows:
            self._group.add([(row.emitted, row.id, row.value) for row in rows])

    def _begin_group(self, row: Row) -> _Group:
        emitted, prefix = group_key(self._view, self._level, row)
        return _Group(emitted, prefix, self._make())


def group_key(view: View, level: int, row: Row) -> tuple[bytes, bytes]:
    """Return the key of a row's group as JSON, and the bytes with which the keys of its rows begin."""
    if level == 0:
        return b"null", b""
    if level == WHOLE_KEYS:
        return row.emitted, row.key
    key: Any = decode(row.emitted)
    # `group_level` cuts arrays only. Any other key is a group by itself.
    if not isinstance(key, list) or len(key) < level:
        return row.emitted, row.key
    first = key[:level]
    # Rule 2 of ``rules.collation``: the key of an array without its last byte begins the keys of all longer ones.
    return encode(first), view.key_of(first)[:-1]  # without the byte that ends an array
