"""Choosing the index for a Mango query, and the range of it that can hold what the query looks for.

Rule: a plan only narrows. Whatever lies in its range is still put to the selector.

The choice is CouchDB's, for it shows: in the order of results without a ``sort``, in warnings, and in which queries are
refused. A selector is always one that CouchDB has rewritten, an object with a single member or none.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from couchmodel._embedded.mango.selector import Selector
from couchmodel._embedded.rules.collation import HIGHEST, compare, sort_key
from couchmodel.errors import BadRequestError
from couchmodel.types import JSON

__all__ = [
    "ALL_DOCS",
    "Candidate",
    "Index",
    "Plan",
    "Range",
    "Sort",
    "Survey",
    "Verdict",
    "choose",
    "in_scope",
    "indexable_fields",
    "ranked",
    "survey",
]

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
    partitioned: bool = False

    @property
    def rank(self) -> tuple[str, str]:
        """The key of the order in which indexes are listed, ``_all_docs`` first. No two indexes have the same."""
        return self.design or "", self.name

    def covers(self, fields: Iterable[str]) -> bool:
        """Whether its keys tell all of these fields, so that no document has to be read for them."""
        return self.design is not None and {"_id", *self.columns}.issuperset(fields)


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

    @property
    def low(self) -> list[Any]:
        """What the first columns begin with, as far as the ranges say."""
        return _values(bounds.low for bounds in self.ranges)

    @property
    def high(self) -> list[Any]:
        """What the first columns end with, as far as the ranges say."""
        return _values(bounds.high for bounds in self.ranges)

    def key_bounds(self, order: Callable[[JSON], bytes] = sort_key) -> tuple[bytes, bytes]:
        """Between what the keys of the index lie in the range: a key is an array, whose bytes ``order`` makes."""
        # Without its end, an array's key comes before the keys of all arrays that begin like it.
        return order(self.low)[:-1], order(self.high)[:-1] + HIGHEST


def _values(bounds: Iterable[Any]) -> list[Any]:
    return list(itertools.takewhile(lambda bound: not isinstance(bound, _Lowest | _Highest), bounds))


@dataclass(slots=True, frozen=True)
class Verdict:
    """What is to be said of an index for a query: it serves where there are no reasons against it."""

    index: Index
    reasons: list[str]


@dataclass(slots=True, frozen=True)
class Candidate:
    """An index that serves, the ranges of its first columns, and how many of the selector's fields it leaves out."""

    index: Index
    prefix: list[Range | None]
    distance: int


@dataclass(slots=True, frozen=True)
class Survey:
    """The indexes of a database in the light of a query, which ``choose`` decides about.

    ``everything`` are all of them; ``verdicts`` are about those that may be considered at all, in their order.
    """

    everything: Sequence[Index]
    verdicts: Sequence[Verdict]
    asked: tuple[str, ...]

    @property
    def usable(self) -> list[Index]:
        """The indexes that serve the query."""
        return [verdict.index for verdict in self.verdicts if not verdict.reasons]

    @property
    def favoured(self) -> list[Index]:
        """Those among them that the query has named; all of them, where it names none of them."""
        return [index for index in self.usable if _is_asked(index, self.asked)] or self.usable

    @property
    def of_type(self) -> list[Index]:
        """Those among them that are real indexes, if there are any: what the choice is made from."""
        return [index for index in self.favoured if index.design is not None] or self.favoured

    def refuse(self, *, fallback: bool) -> None:
        """Raise BadRequestError where the query insists on an index that does not serve it."""
        named = any(_is_asked(index, self.asked) for index in self.usable)
        if not (named or fallback or (not self.asked and len(self.usable) > 1)):
            raise _refusal(self.asked)


def survey(
    indexes: Iterable[Index], selector: Selector, sort: Sort, asked: tuple[str, ...], partition: str = ""
) -> Survey:
    """The indexes for a query; ``asked`` is its ``use_index``, a design document's id and maybe an index's name."""
    fields = [field for field, _ in sort]
    everything = [ALL_DOCS, *sorted(indexes, key=lambda index: index.rank)]
    verdicts = [
        Verdict(index, _reasons_against(index, selector, fields))
        for index in everything
        if (index.partial is None or _is_asked(index, asked)) and in_scope(index, partition)
    ]
    return Survey(everything, verdicts, asked)


def in_scope(index: Index, partition: str) -> bool:
    """Whether it may be used for a query of a partition, or of the whole database."""
    return index.design is None or index.partitioned == bool(partition)


def choose(found: Survey, selector: Selector, sort: Sort) -> Plan:
    """The plan for a query. There must be an index that is usable."""
    first = ranked(found.of_type, selector)[0]
    best, ranges = first.index, tuple(bounds for bounds in first.prefix if bounds is not None)
    nothing = first.prefix == [None] or _is_noop(selector.normalized)
    vain = found.asked if found.asked and not _is_asked(best, found.asked) else None
    return Plan(best, ranges, nothing, bool(sort) and sort[0][1] == "desc", vain)


def ranked(indexes: Iterable[Index], selector: Selector) -> list[Candidate]:
    """Indexes that serve, the one that CouchDB takes first: it leaves out least of the selector, and is short."""
    found = _field_ranges(selector.normalized)
    empty = next((field for field, bounds in found.items() if bounds is None), None)
    if empty is not None:
        found = {empty: None}
    prefixes = [(index, _prefix(index, found)) for index in indexes]
    candidates = [Candidate(index, prefix, len(found) - len(prefix)) for index, prefix in prefixes]
    return sorted(candidates, key=lambda one: (one.distance, len(one.index.columns), one.index.rank))


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
    """Whether a query's ``use_index`` names it."""
    if not asked or index.design is None:
        return False
    design = asked[0] if asked[0].startswith("_design/") else f"_design/{asked[0]}"
    return index.design == design and asked[1:] in ((), (index.name,))


def _reasons_against(index: Index, selector: Selector, sort: Sequence[str]) -> list[str]:
    if index.design is None:
        mismatch = bool(sort) and "_id" not in indexable_fields(selector)
        disordered = bool(sort) and list(sort) != ["_id"]
        return ["field_mismatch"] * mismatch + ["sort_order_mismatch"] * disordered
    required = set(index.columns) - set(sort) - {"_id", "_rev"}
    mismatch = not selector.has_required_fields(sorted(required))
    disordered = not _serves(index.columns, sort, selector.normalized)
    text = ["needs_text_search"] * selector.is_text_search
    return text + ["field_mismatch"] * mismatch + ["sort_order_mismatch"] * disordered


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


def indexable_fields(selector: Selector) -> set[str]:
    """The fields that the selector compares, down through ``$and``."""
    return _indexable(selector.normalized)


def _indexable(selector: Mapping[str, Any]) -> set[str]:
    fields: set[str] = set()
    for name, condition in selector.items():
        if name == "$and":
            fields.update(*map(_indexable, condition))
        elif not name.startswith("$") and isinstance(condition, dict) and not _COMPARISONS.isdisjoint(condition):
            fields.add(name)
    return fields


def _field_ranges(selector: Mapping[str, Any]) -> dict[str, Range | None]:
    """The range of each field that is compared; None where it is empty."""
    ranges: dict[str, Range | None] = {}
    _narrow(selector, ranges)
    return {field: ranges[field] for field in sorted(_indexable(selector))}


def _narrow(selector: Mapping[str, Any], ranges: dict[str, Range | None]) -> None:
    """Narrow the ranges of the fields by all that the selector says of them."""
    for name, condition in selector.items():
        if name == "$and":
            for part in condition:
                _narrow(part, ranges)
        elif not name.startswith("$"):
            ranges[name] = _narrowed_by(condition, ranges.get(name, Range()))


def _narrowed_by(condition: Mapping[str, Any], bounds: Range | None) -> Range | None:
    for operator, operand in condition.items():
        bounds = bounds and _narrowed(bounds, operator, operand)
    return bounds


def _narrowed(bounds: Range, operator: str, operand: Any) -> Range | None:
    """The part of a range that also fulfils a comparison; None where nothing is left."""
    match operator:
        case "$gt" | "$gte":
            return _raised(bounds, operand, includes=operator == "$gte")
        case "$lt" | "$lte":
            return _lowered(bounds, operand, includes=operator == "$lte")
        case "$eq":
            return _between(bounds, operand, operand)
        case "$beginsWith":
            return _between(bounds, operand, f"{operand}\uffff")
    return bounds


def _between(bounds: Range, low: Any, high: Any) -> Range | None:
    raised = _raised(bounds, low, includes=True)
    return raised and _lowered(raised, high, includes=True)


def _raised(bounds: Range, value: Any, *, includes: bool) -> Range | None:
    order = 1 if isinstance(bounds.low, _Lowest) else compare(value, bounds.low)
    if order > 0:
        return _checked(bounds._replace(low=value, includes_low=includes))
    # CouchDB does not see that a value which is above itself is none: it reads what has the value.
    return bounds._replace(includes_low=bounds.includes_low and includes) if order == 0 else bounds


def _lowered(bounds: Range, value: Any, *, includes: bool) -> Range | None:
    order = -1 if isinstance(bounds.high, _Highest) else compare(value, bounds.high)
    if order < 0:
        return _checked(bounds._replace(high=value, includes_high=includes))
    if order == 0:
        return _checked(bounds._replace(includes_high=bounds.includes_high and includes))
    return bounds


def _checked(bounds: Range) -> Range | None:
    if isinstance(bounds.low, _Lowest) or isinstance(bounds.high, _Highest):
        return bounds
    order = compare(bounds.low, bounds.high)
    return bounds if order < 0 or (order == 0 and bounds.includes_low and bounds.includes_high) else None
