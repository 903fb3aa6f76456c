"""The built-in reduce functions.

A reduction takes in the rows of one group in their order, some at a time, and then says what they come to. Sums are
made as CouchDB makes them of a node of its tree, from the last row to the first. Its nodes are others, so the last
digit of a sum of many fractions may be another.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, Protocol, TypeAlias

from couchmodel._embedded.rules.collation import sort_key
from couchmodel._embedded.rules.erlang import erlang_term
from couchmodel._wire.messages import decode
from couchmodel.errors import ServerError

__all__ = ["Item", "Reduction", "builtin_reduction", "check_values"]

Item: TypeAlias = tuple[bytes, str, bytes]
"""A row: its key as JSON, the document's id, and its value as JSON."""


class Reduction(Protocol):
    """What the rows of a group come to."""

    def add(self, rows: Sequence[Item]) -> None:
        """Take in some rows."""
        ...

    def result(self) -> Any:
        """What they have come to."""
        ...


def builtin_reduction(source: str, *, backwards: bool) -> Callable[[], Reduction] | None:
    """What makes reductions of that name, such as ``_sum``; None where it is no built-in one.

    ``backwards`` says that the view is read from its end. Raises ServerError for a name that CouchDB does not know.
    """
    if not source.startswith("_"):
        return None
    for start, edge in _EDGES.items():
        if source.startswith(start):
            return partial(edge, backwards=backwards)
    for name, make in _NAMED.items():
        if source.startswith(name):
            return make
    for name, sign in (("_top_", -1), ("_bottom_", 1)):
        rank = source.removeprefix(name)
        if rank != source and rank.isdecimal():
            return partial(_Rank, sign, int(rank))
    raise ServerError(f"`{source}` is not a supported reduce function.", code="invalid_design_doc")


def check_values(source: str | None, values: Iterable[bytes]) -> None:
    """Raise ServerError for a value that ``_stats`` does not take: CouchDB then has no index at all."""
    if source is not None and source.startswith("_stats"):
        for value in values:
            _stats(decode(value))


def _decoded(rows: Iterable[Item]) -> list[Any]:
    values: list[Any] = decode(b"[%b]" % b",".join([row[2] for row in rows]))
    return values


# --- counts


class _Count:
    """``_count``: the number of rows."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, rows: Sequence[Item]) -> None:
        self._count += len(rows)

    def result(self) -> int:
        return self._count


class _CountDistinct:
    """``_approx_count_distinct``: the number of different keys. CouchDB estimates it, this is exact.

    Rows come in the order of their keys, and keys that are equal in it may be written in several ways.
    """

    def __init__(self) -> None:
        self._count = 0
        self._key = b""
        self._equal: set[bytes] = set()

    def add(self, rows: Sequence[Item]) -> None:
        for emitted in dict.fromkeys(row[0] for row in rows):
            key = sort_key(decode(emitted))
            if key != self._key:
                self._key = key
                self._equal.clear()
            if emitted not in self._equal:
                self._equal.add(emitted)
                self._count += 1

    def result(self) -> int:
        return self._count


# --- sums

_SUM_ERROR: Final = (
    "The _sum function requires that map values be numbers, arrays of numbers, or objects. Objects cannot be mixed with"
    " other data structures. Objects can be arbitrarily nested, provided that the values for all fields are themselves"
    " numbers, arrays of numbers, or objects."
)


class _UnsummableError(Exception):
    """A value that ``_sum`` does not take; the argument is what CouchDB shows in the place of the sum."""


class _Sum:
    """``_sum``: of numbers, of arrays place by place, of objects member by member. An error is a result like others."""

    def __init__(self) -> None:
        self._sum: Any = None

    def add(self, rows: Sequence[Item]) -> None:
        total = _sum(reversed(_decoded(rows)))
        self._sum = total if self._sum is None else _sum((total, self._sum))

    def result(self) -> Any:
        return self._sum


def _sum(values: Iterable[Any]) -> Any:
    total: Any = 0
    try:
        for value in values:
            total = _plus(value, total)
    except _UnsummableError as error:
        return error.args[0]
    return total


def _plus(value: Any, total: Any) -> Any:
    if _is_number(value) and _is_number(total):
        return value + total
    if isinstance(value, dict):
        return _plus_object(value, total)
    if isinstance(value, list) and (isinstance(total, list) or _is_number(total)):
        return _plus_array(total if isinstance(total, list) else [total], value)
    if _is_number(value) and isinstance(total, list):
        return _plus_array(total, [value])
    raise _unsummable(value)


def _plus_object(value: dict[str, Any], total: Any) -> Any:
    if value.get("error") == "builtin_reduce_error":
        raise _UnsummableError(value)
    if total == 0 and not isinstance(total, dict):
        return value
    if not isinstance(total, dict):
        raise ServerError(erlang_term(total, readable=True), code="case_clause")
    # CouchDB sorts the members, by their names as bytes.
    names = sorted({*value, *total}, key=str.encode)
    return {name: _member(name, value, total) for name in names}


def _member(name: str, value: dict[str, Any], total: dict[str, Any]) -> Any:
    if name in value and name in total:
        return _plus(value[name], total[name])
    return value[name] if name in value else total[name]


def _plus_array(total: list[Any], value: list[Any]) -> list[Any]:
    shared = min(len(total), len(value))
    for place in range(shared):
        if not (_is_number(total[place]) and _is_number(value[place])):
            raise _unsummable(total[place:])
    longer = total if len(total) > shared else value
    return [left + right for left, right in zip(total, value, strict=False)] + longer[shared:]


def _unsummable(value: Any) -> _UnsummableError:
    return _UnsummableError({"error": "builtin_reduce_error", "reason": _SUM_ERROR, "caused_by": value})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# --- statistics

_FIGURES: Final = ("sum", "count", "min", "max", "sumsqr")


class _Stats:
    """``_stats``: of numbers, of figures that others have made, and of arrays of these place by place."""

    def __init__(self) -> None:
        self._total: Any = None

    def add(self, rows: Sequence[Item]) -> None:
        for value in reversed(_decoded(rows)):
            figures = _stats(value)
            self._total = figures if self._total is None else _joined(self._total, figures)

    def result(self) -> Any:
        return _shown((0, 0, 0, 0, 0) if self._total is None else self._total)


def _stats(value: Any) -> Any:
    if _is_number(value):
        return value, 1, value, value, value * value
    if isinstance(value, list):
        return [_stats(item) for item in value]
    if isinstance(value, dict):
        return tuple(_figure(name, value) for name in _FIGURES)
    raise ServerError(f"non-numeric _stats input: {erlang_term(value)}", code="invalid_value")


def _figure(name: str, value: dict[str, Any]) -> Any:
    if name not in value:
        reason = f"user _stats input missing required field {name} ({erlang_term(value)})"
        raise ServerError(reason, code="invalid_value")
    if not _is_number(value[name]):
        reason = f"non-numeric _stats input received for {name}: {erlang_term(value[name])}"
        raise ServerError(reason, code="invalid_value")
    return value[name]


def _joined(total: Any, figures: Any) -> Any:
    if isinstance(total, list) and isinstance(figures, list) and len(total) == len(figures):
        return [_joined(*pair) for pair in zip(total, figures, strict=True)]
    if isinstance(total, list) or isinstance(figures, list):
        raise ServerError("function_clause", code="unknown_error")
    one, two = total, figures
    return (
        one[0] + two[0],
        one[1] + two[1],
        min(one[2], two[2]),
        max(one[3], two[3]),
        one[4] + two[4],
    )


def _shown(total: Any) -> Any:
    if isinstance(total, list):
        return [_shown(figures) for figures in total]
    return dict(zip(_FIGURES, total, strict=True))


# --- ranks


class _Rank:
    """``_top_N`` and ``_bottom_N``: the highest or lowest values, each once, by CouchDB's order."""

    def __init__(self, sign: int, size: int) -> None:
        self._descending = sign < 0
        self._size = size
        self._values: dict[bytes, Any] = {}

    def add(self, rows: Sequence[Item]) -> None:
        for value in _decoded(rows):
            self._values.setdefault(sort_key(value), value)
        if len(self._values) > self._size:
            self._values = dict(self._ranked())

    def result(self) -> list[Any]:
        return [value for _, value in self._ranked()]

    def _ranked(self) -> list[tuple[bytes, Any]]:
        keys = sorted(self._values, reverse=self._descending)[: self._size]
        return [(key, self._values[key]) for key in keys]


class _First:
    """``_first``: the value of the row that comes first in the view, which may be read backwards.

    Rows of one key and one document come in the order in which they were emitted, even then.
    """

    def __init__(self, *, backwards: bool) -> None:
        self._backwards = backwards
        self._row: Item | None = None

    def add(self, rows: Sequence[Item]) -> None:
        if not self._backwards:
            self._row = self._row or next(iter(rows), None)
            return
        for row in rows:
            if self._row is None or row[:2] != self._row[:2]:
                self._row = row

    def result(self) -> Any:
        return None if self._row is None else decode(self._row[2])


class _Last:
    """``_last``: the value of the row that comes last in the view, likewise."""

    def __init__(self, *, backwards: bool) -> None:
        self._backwards = backwards
        self._row: Item | None = None

    def add(self, rows: Sequence[Item]) -> None:
        if not self._backwards:
            self._row = next(reversed(rows), self._row)
            return
        for row in rows:
            if self._row is None or row[:2] == self._row[:2]:
                self._row = row

    def result(self) -> Any:
        return None if self._row is None else decode(self._row[2])


_NAMED: Final[dict[str, Callable[[], Reduction]]] = {
    "_sum": _Sum,
    "_count": _Count,
    "_stats": _Stats,
    "_approx_count_distinct": _CountDistinct,
}

_EDGES: Final[dict[str, type[_First] | type[_Last]]] = {"_first": _First, "_last": _Last}
