"""Reduced views: the rows of a view put into groups, and what each group comes to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from couchmodel._embedded.views.builtin_reduce import Item, Reduction
from couchmodel._embedded.views.designs import View
from couchmodel._embedded.views.params import EXACT
from couchmodel._embedded.views.reader import Moment, Place, Row
from couchmodel._wire.messages import decode, encode
from couchmodel.errors import ResponseError

__all__ = ["Grouping"]


OVERFLOW: Final = "reduce_overflow_error"
"""What a function's result is called that does not get shorter than the rows; it takes the result's place."""


@dataclass(slots=True)
class _Group:
    """The rows of which keys belong together, and what they come to so far."""

    emitted: bytes
    prefix: bytes
    reduction: Reduction
    overflow: ResponseError | None = None

    def add(self, items: Sequence[Item]) -> None:
        """Take in some rows, unless all is lost already. Raises ResponseError."""
        if self.overflow is None:
            try:
                self.reduction.add(items)
            except ResponseError as error:
                self.overflow = _overflow(error)

    def outcome(self) -> bytes:
        """What stands beside the key: a value, or an error. Raises ResponseError."""
        if self.overflow is None:
            try:
                return b'"value":' + encode(self.reduction.result())
            except ResponseError as error:
                self.overflow = _overflow(error)
        return encode({"error": self.overflow.code, "reason": self.overflow.reason})[1:-1]


def _overflow(error: ResponseError) -> ResponseError:
    """The error, where it takes the place of a result. Raises it where it does not."""
    if error.code != OVERFLOW:
        raise error
    return error


class Grouping:
    """The groups of a view's rows, which are fed to it in order.

    The keys of a group begin alike, as bytes: whole keys with the level EXACT, the first items of arrays otherwise. All
    rows of a group are of one moment, or what they come to would be what has never been.
    """

    def __init__(self, view: View, level: int, make: Callable[[], Reduction]) -> None:
        self._view = view
        self._level = level
        self._make = make
        self._group: _Group | None = None
        self._moment: Moment | None = None
        self._last: Place | None = None
        self._before: Place | None = None
        self.restarts = 0
        """How often the group that is open has been begun anew."""

    def is_of(self, moment: Moment) -> bool:
        """Whether what the open group has so far is of that moment, too. Otherwise ``restart``."""
        return self._group is None or self._moment == moment

    def restart(self) -> Place | None:
        """Give up the open group. The row behind which it is to be read again; None for the first of all."""
        self._group = None
        self._last = self._before
        self.restarts += 1
        return self._before

    def is_one(self, rows: Sequence[Row]) -> bool:
        """Whether rows that are read one after the other are all of one group."""
        return not rows or rows[-1].key.startswith(self._named(rows[0])[1])

    def feed(self, rows: Sequence[Row], moment: Moment) -> list[bytes]:
        """The groups that are complete before the last of these rows, as they are answered. Raises ResponseError."""
        self._moment = moment
        done: list[bytes] = []
        begin = 0
        for place, row in enumerate(rows):
            if self._group is None or not row.key.startswith(self._group.prefix):
                self._add(rows[begin:place])
                done += self.finish()
                self._group = self._begin(row)
                self._before = rows[place - 1].place if place else self._last
                begin = place
        self._add(rows[begin:])
        self._last = rows[-1].place if rows else self._last
        self.restarts = 0 if done else self.restarts
        return done

    def finish(self) -> list[bytes]:
        """The last group, if there is one. Raises ResponseError."""
        group, self._group = self._group, None
        if group is None:
            return []
        return [b'{"key":%b,%b}' % (group.emitted, group.outcome())]

    def _add(self, rows: Sequence[Row]) -> None:
        if self._group is not None and rows:
            self._group.add([(row.emitted, row.id, row.value) for row in rows])

    def _begin(self, row: Row) -> _Group:
        emitted, prefix = self._named(row)
        return _Group(emitted, prefix, self._make())

    def _named(self, row: Row) -> tuple[bytes, bytes]:
        """The key that stands for a row's group, and what the bytes of the group's keys begin with."""
        if self._level == 0:
            return b"null", b""
        if self._level == EXACT:
            return row.emitted, row.key
        key: Any = decode(row.emitted)
        if not isinstance(key, list) or len(key) < self._level:
            return row.emitted, row.key
        first = key[: self._level]
        return encode(first), self._view.key_of(first)[:-1]
