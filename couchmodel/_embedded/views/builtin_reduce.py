"""The built-in reduce functions: ``_sum``, ``_count``, ``_stats`` and their like.

A reduction gets the rows of one group in order, some at a time, and then returns their result. It adds numbers in the
order in which CouchDB adds those of a node of its B-tree, from the last row to the first. CouchDB's nodes have other
bounds than the batches here, so the last digit of a sum of many fractions may differ.
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
    """The reduction of the rows of one group."""

    def add(self, rows: Sequence[Item]) -> None:
        """Reduce some rows."""
        ...

    def result(self) -> Any:
        """Return the result for all rows."""
        ...


def builtin_reduction(source: str, *, backwards: bool) -> Callable[[], Reduction] | None:
    """Return the factory of a built-in reduction such as ``_sum``, or None if the source does not name one.

    ``backwards`` says that rows come in descending order. Raises ServerError for a name that CouchDB does not know.
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
            return partial(_RankedValues, sign, int(rank))
    raise ServerError(f"`{source}` is not a supported reduce function.", code="invalid_design_doc")


def check_values(source: str | None, values: Iterable[bytes]) -> None:
    """Raise ServerError for a value that ``_stats`` does not accept. CouchDB then cannot build the index at all."""
    if source is not None and source.startswith("_stats"):
        for value in values:
            if not value.isdigit():  # most values are whole numbers, which need no parser
                _stats(decode(value))


def _decode_values(rows: Iterable[Item]) -> list[Any]:
    """Return the decoded values of rows."""
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
    """``_approx_count_distinct``: the number of different keys. CouchDB estimates it, this count is exact.

    Rows come in the order of their keys. Keys that collate as equal may differ as JSON, and count as different. So only
    the keys that are equal to the current one have to be remembered.
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


class _SumError(Exception):
    """``_sum`` does not accept a value. The argument is the JSON that CouchDB answers in place of the sum."""


class _Sum:
    """``_sum``: the sum of numbers, of arrays item by item, or of objects member by member.

    An error does not raise. It is the result, as in CouchDB.
    """

    def __init__(self) -> None:
        self._sum: Any = None

    def add(self, rows: Sequence[Item]) -> None:
        total = _sum(reversed(_decode_values(rows)))
        self._sum = total if self._sum is None else _sum((total, self._sum))

    def result(self) -> Any:
        return self._sum


def _sum(values: Iterable[Any]) -> Any:
    """Return the sum of the values in their order, or the error object if a value cannot be added."""
    total: Any = 0
    try:
        for value in values:
            total = _add(value, total)
    except _SumError as error:
        return error.args[0]
    return total


def _add(value: Any, total: Any) -> Any:
    if _is_number(value) and _is_number(total):
        return value + total
    if isinstance(value, dict):
        return _add_object(value, total)
    if isinstance(value, list) and (isinstance(total, list) or _is_number(total)):
        return _add_array(total if isinstance(total, list) else [total], value)
    if _is_number(value) and isinstance(total, list):
        return _add_array(total, [value])
    raise _sum_error(value)


def _add_object(value: dict[str, Any], total: Any) -> Any:
    if value.get("error") == "builtin_reduce_error":
        raise _SumError(value)
    if total == 0 and not isinstance(total, dict):
        return value  # 0 is the total before the first value
    if not isinstance(total, dict):
        raise ServerError(erlang_term(total, readable=True), code="case_clause")
    # CouchDB sorts the members by the bytes of their names.
    names = sorted({*value, *total}, key=str.encode)
    return {name: _add_member(name, value, total) for name in names}


def _add_member(name: str, value: dict[str, Any], total: dict[str, Any]) -> Any:
    if name in value and name in total:
        return _add(value[name], total[name])
    return value[name] if name in value else total[name]


def _add_array(total: list[Any], value: list[Any]) -> list[Any]:
    """Add arrays item by item. The items that only the longer one has are copied."""
    shared = min(len(total), len(value))
    for place in range(shared):
        if not (_is_number(total[place]) and _is_number(value[place])):
            raise _sum_error(total[place:])
    longer = total if len(total) > shared else value
    return [left + right for left, right in zip(total, value, strict=False)] + longer[shared:]


def _sum_error(value: Any) -> _SumError:
    return _SumError({"error": "builtin_reduce_error", "reason": _SUM_ERROR, "caused_by": value})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


# --- statistics

_FIGURES: Final = ("sum", "count", "min", "max", "sumsqr")


class _Stats:
    """``_stats``: the statistics of numbers, of objects with precomputed statistics, or of arrays item by item."""

    def __init__(self) -> None:
        self._total: Any = None

    def add(self, rows: Sequence[Item]) -> None:
        for value in reversed(_decode_values(rows)):
            figures = _stats(value)
            self._total = figures if self._total is None else _add_figures(self._total, figures)

    def result(self) -> Any:
        return _stats_object((0, 0, 0, 0, 0) if self._total is None else self._total)


def _stats(value: Any) -> Any:
    """Return the figures of one value in the order of ``_FIGURES``, or a list of them for an array."""
    if _is_number(value):
        return value, 1, value, value, value * value
    if isinstance(value, list):
        return [_stats(item) for item in value]
    if isinstance(value, dict):
        return tuple(_figure(name, value) for name in _FIGURES)
    raise ServerError(f"non-numeric _stats input: {erlang_term(value)}", code="invalid_value")


def _figure(name: str, value: dict[str, Any]) -> Any:
    """Return one figure of precomputed statistics. Raises ServerError if it is missing or not a number."""
    if name not in value:
        reason = f"user _stats input missing required field {name} ({erlang_term(value)})"
        raise ServerError(reason, code="invalid_value")
    if not _is_number(value[name]):
        reason = f"non-numeric _stats input received for {name}: {erlang_term(value[name])}"
        raise ServerError(reason, code="invalid_value")
    return value[name]


def _add_figures(total: Any, figures: Any) -> Any:
    if isinstance(total, list) and isinstance(figures, list) and len(total) == len(figures):
        return [_add_figures(*pair) for pair in zip(total, figures, strict=True)]
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


def _stats_object(total: Any) -> Any:
    if isinstance(total, list):
        return [_stats_object(figures) for figures in total]
    return dict(zip(_FIGURES, total, strict=True))


# --- ranks


class _RankedValues:
    """``_top_N`` and ``_bottom_N``: the N highest or lowest distinct values, in CouchDB's collation order."""

    def __init__(self, sign: int, size: int) -> None:
        self._descending = sign < 0
        self._size = size
        self._values: dict[bytes, Any] = {}

    def add(self, rows: Sequence[Item]) -> None:
        for value in _decode_values(rows):
            self._values.setdefault(sort_key(value), value)
        # Only between batches, since a sort for each row would cost more than the memory of one batch.
        if len(self._values) > self._size:
            self._values = dict(self._best_values())

    def result(self) -> list[Any]:
        return [value for _, value in self._best_values()]

    def _best_values(self) -> list[tuple[bytes, Any]]:
        keys = sorted(self._values, reverse=self._descending)[: self._size]
        return [(key, self._values[key]) for key in keys]


class _First:
    """``_first``: the value of the first row in the ascending order of the view, even if rows come in descending order.

    Rows of one key and one document come in the order of their positions, in both directions. So when rows come in
    descending order, the result is the first row of the last such run.
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
    """``_last``: the value of the last row in the ascending order of the view. See ``_First`` about the directions."""

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


# CouchDB looks at the beginning of the name only, so `_sum_of_prices` is `_sum`.
_NAMED: Final[dict[str, Callable[[], Reduction]]] = {
    "_sum": _Sum,
    "_count": _Count,
    "_stats": _Stats,
    "_approx_count_distinct": _CountDistinct,
}

_EDGES: Final[dict[str, type[_First] | type[_Last]]] = {"_first": _First, "_last": _Last}
"""The reductions that depend on the direction in which rows come."""
