"""Choosing the index for a Mango query, and the range of it that can hold what the query looks for.

Rule: a plan only narrows. Whatever lies in its range is still put to the selector.

The choice is CouchDB's, for it shows: in the order of results without a ``sort``, in warnings, and in which queries are
refused. A selector is always one that CouchDB has rewritten, an object with a single member or none.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from couchmodel._embedded.collation import compare, sort_key
from couchmodel._embedded.selector import Selector
from couchmodel.errors import BadRequestError

__all__ = ["ALL_DOCS", "Index", "Plan", "Range", "Sort", "choose"]

Direction: TypeAlias = Literal["asc", "desc"]
Sort: TypeAlias = Sequence[tuple[str, Direction]]


@dataclass(slots=True, frozen=True)
class Index:
    """An index over some fields: of every document that has them all and that ``partial`` matches."""

    design: str | None
    name: str
    columns: tuple[str, ...]
    partial: Selector | None = None
    definition: Mapping[str, Any] | None = None

    @property
    def rank(self) -> tuple[str, str]:
        """The key of the order in which indexes are listed, ``_all_docs`` first."""
        return self.design or "", self.name


ALL_DOCS: Final = Index(None, "_all_docs", ("_id",))


class _Lowest:
    """What comes before every value."""


class _Highest:
    """What comes behind every value."""


_LOWEST: Final = _Lowest()
_HIGHEST: Final = _Highest()


class Range(NamedTuple):
    """The values of one field that a selector can match: between two, each included or not."""

    low: Any = _LOWEST
    includes_low: bool = False
    high: Any = _HIGHEST
    includes_high: bool = False


@dataclass(slots=True, frozen=True)
class Plan:
    """How to find what a query looks for.

    ``ranges`` are those of the index's first columns; ``nothing`` says that nothing can be found at all. ``asked`` is
    the index that the query has named in vain.
    """

    index: Index
    ranges: tuple[Range, ...]
    nothing: bool
    descending: bool
    asked: tuple[str, ...] | None

    @property
    def is_short(self) -> bool:
        """Whether it leads to a single document at most."""
        return self.index.design is None and bool(self.ranges) and self.ranges[0].low == self.ranges[0].high

    def id_bounds(self) -> tuple[Any, Any]:
        """The lowest and the highest ``_id`` in the range, both included; None where there is no bound."""
        bounds = self.ranges[0] if self.ranges else Range()
        low = None if isinstance(bounds.low, _Lowest) else (bounds.low,)
        high = None if isinstance(bounds.high, _Highest) else (bounds.high,)
        return low, high

    def key_bounds(self) -> tuple[bytes, bytes]:
        """The lowest and the highest key of the index in the range, as concatenated sort keys, both included."""
        return _bound([bounds.low for bounds in self.ranges]), _bound([bounds.high for bounds in self.ranges]) + b"\xff"


def _bound(values: Iterable[Any]) -> bytes:
    key = b""
    for value in values:
        if isinstance(value, _Lowest | _Highest):
            break
        key += sort_key(value)
    return key


def choose(indexes: Iterable[Index], selector: Selector, sort: Sort, asked: tuple[str, ...], *, fallback: bool) -> Plan:
    """The plan for a query; ``asked`` is its ``use_index``, the id of a design document and maybe the name of an index.

    Raises:
        BadRequestError: no index serves the ``sort``, or there is none but ``_all_docs`` and that is not allowed.
    """
    fields = [field for field, _ in sort]
    offered = [ALL_DOCS, *(index for index in indexes if index.partial is None or _is_asked(index, asked))]
    usable = [index for index in offered if _is_usable(index, selector, fields)]
    if not usable:
        reason = "No index exists for this sort, try indexing by the sort fields."
        raise BadRequestError(reason, code="no_usable_index")
    favoured = [index for index in usable if _is_asked(index, asked)]
    if not favoured and not fallback and (asked or len(usable) == 1):
        raise _refusal(asked)
    return _best(favoured or usable, selector, sort, None if favoured or not asked else asked)


def _best(indexes: Sequence[Index], selector: Selector, sort: Sort, asked: tuple[str, ...] | None) -> Plan:
    found = _field_ranges(selector.normalized)
    empty = next((field for field, bounds in found.items() if bounds is None), None)
    if empty is not None:
        found = {empty: None}
    real = [index for index in indexes if index.design is not None] or indexes

    def preference(index: Index) -> tuple[int, int, tuple[str, str]]:
        return len(found) - len(_prefix(index, found)), len(index.columns), index.rank

    best = min(real, key=preference)
    prefix = _prefix(best, found)
    ranges = tuple(bounds for bounds in prefix if bounds is not None)
    nothing = prefix == [None] or _is_noop(selector.normalized)
    return Plan(best, ranges, nothing, bool(sort) and sort[0][1] == "desc", asked)


def _prefix(index: Index, ranges: Mapping[str, Range | None]) -> list[Range | None]:
    prefix: list[Range | None] = []
    for column in index.columns:
        if column not in ranges:
            break
        prefix.append(ranges[column])
    return prefix


def _is_noop(selector: Mapping[str, Any]) -> bool:
    """CouchDB does not run a query that is nothing but an empty list."""
    return any(name in ("$all", "$and", "$or", "$in") and value == [] for name, value in selector.items())


# --- which indexes can be used


def _is_asked(index: Index, asked: tuple[str, ...]) -> bool:
    if not asked or index.design is None:
        return False
    design = asked[0] if asked[0].startswith("_design/") else f"_design/{asked[0]}"
    return index.design == design and asked[1:] in ((), (index.name,))


def _is_usable(index: Index, selector: Selector, sort: Sequence[str]) -> bool:
    if index.design is None:
        return not sort or ("_id" in _indexable(selector.normalized) and list(sort) == ["_id"])
    required = set(index.columns) - set(sort) - {"_id", "_rev"}
    return selector.has_required_fields(sorted(required)) and _serves(index.columns, sort, selector.normalized)


def _serves(columns: Sequence[str], sort: Sequence[str], selector: Mapping[str, Any]) -> bool:
    """Whether the index is in the order that is asked for; columns in front of it may have one value only."""
    if not sort:
        return True
    for place, column in enumerate(columns):
        if column == sort[0]:
            return list(columns[place : place + len(sort)]) == list(sort)
        if not _is_constant(selector, column):
            return False
    return False


def _is_constant(selector: Mapping[str, Any], field: str) -> bool:
    if "$and" in selector:
        return any(_is_constant(part, field) for part in selector["$and"])
    condition = selector.get(field)
    return isinstance(condition, dict) and "$eq" in condition


def _refusal(asked: tuple[str, ...]) -> BadRequestError:
    if not asked:
        reason = "You must specify an index with the `use_index` parameter."
    else:
        named = ", ".join((f"_design/{asked[0].removeprefix('_design/')}", *asked[1:]))
        reason = f"{named} specified by `use_index` could not be found or it is not suitable."
    return BadRequestError(reason, code="invalid_index")


# --- ranges

_COMPARISONS: Final = frozenset(("$lt", "$lte", "$eq", "$gt", "$gte", "$beginsWith", "$exists"))


def _indexable(selector: Mapping[str, Any]) -> set[str]:
    """The fields that the selector compares, down through ``$and``."""
    fields: set[str] = set()
    for name, condition in selector.items():
        if name == "$and":
            fields.update(*map(_indexable, condition))
        elif not name.startswith("$") and isinstance(condition, dict) and not _COMPARISONS.isdisjoint(condition):
            fields.add(name)
    return fields


def _field_ranges(selector: Mapping[str, Any]) -> dict[str, Range | None]:
    """The range of each field that is compared; None where it is empty."""
    return {field: _range(selector, field, Range()) for field in sorted(_indexable(selector))}


def _range(selector: Mapping[str, Any], field: str, bounds: Range | None) -> Range | None:
    for name, condition in selector.items():
        if bounds is None:
            break
        if name == "$and":
            for part in condition:
                bounds = _range(part, field, bounds) if bounds is not None else None
        elif name == field:
            for operator, operand in condition.items():
                bounds = _narrowed(bounds, operator, operand) if bounds is not None else None
    return bounds


def _narrowed(bounds: Range, operator: str, operand: Any) -> Range | None:
    """The part of a range that also fulfils a comparison; None where nothing is left."""
    match operator:
        case "$gt" | "$gte":
            return _checked(_raised(bounds, operand, includes=operator == "$gte"))
        case "$lt" | "$lte":
            return _checked(_lowered(bounds, operand, includes=operator == "$lte"))
        case "$eq":
            return _checked(_lowered(_raised(bounds, operand, includes=True), operand, includes=True))
        case "$beginsWith":
            return _checked(_lowered(_raised(bounds, operand, includes=True), f"{operand}\uffff", includes=True))
    return bounds


def _raised(bounds: Range, value: Any, *, includes: bool) -> Range:
    order = 1 if isinstance(bounds.low, _Lowest) else compare(value, bounds.low)
    if order > 0:
        return bounds._replace(low=value, includes_low=includes)
    return bounds._replace(includes_low=bounds.includes_low and includes) if order == 0 else bounds


def _lowered(bounds: Range, value: Any, *, includes: bool) -> Range:
    order = -1 if isinstance(bounds.high, _Highest) else compare(value, bounds.high)
    if order < 0:
        return bounds._replace(high=value, includes_high=includes)
    return bounds._replace(includes_high=bounds.includes_high and includes) if order == 0 else bounds


def _checked(bounds: Range) -> Range | None:
    if isinstance(bounds.low, _Lowest) or isinstance(bounds.high, _Highest):
        return bounds
    order = compare(bounds.low, bounds.high)
    return bounds if order < 0 or (order == 0 and bounds.includes_low and bounds.includes_high) else None
