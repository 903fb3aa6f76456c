"""Choose the index for a Mango query, and the range of the index that can hold matching documents.

Rule: a plan only narrows. Every document in its range is still tested by the selector.

The choice is the same as CouchDB's (``mango_cursor.erl``, ``mango_cursor_view.erl``, ``mango_idx_view.erl``) because it
is visible: in the order of results without a ``sort``, in warnings, and in which queries are refused. Selectors are in
normal form here: an object with at most one member.
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
    "KeyRange",
    "Plan",
    "Sort",
    "Survey",
    "Verdict",
    "choose",
    "in_scope",
    "indexable_fields",
    "rank_candidates",
    "survey",
]

Direction: TypeAlias = Literal["asc", "desc"]
Sort: TypeAlias = Sequence[tuple[str, Direction]]


@dataclass(slots=True, frozen=True)
class Index:
    """An index over some fields. It holds the documents that have all of them and that ``partial`` matches.

    ``design`` is the id of the design document, None for ``_all_docs``. ``columns`` are the paths of the fields.
    """

    design: str | None
    name: str
    columns: tuple[str, ...]
    partial: Selector | None = None
    definition: Mapping[str, Any] | None = None
    partitioned: bool = False

    @property
    def rank(self) -> tuple[str, str]:
        """The index's sort key in lists of indexes, where ``_all_docs`` is first. It is unique in a database."""
        return self.design or "", self.name

    def covers(self, fields: Iterable[str]) -> bool:
        """Return True if the index's keys hold all of these fields, so that no document has to be read for them."""
        return self.design is not None and {"_id", *self.columns}.issuperset(fields)


ALL_DOCS: Final = Index(None, "_all_docs", ("_id",))
"""The index that every database has: its documents by id."""


class _Lowest:
    """The bound before every value."""


class _Highest:
    """The bound after every value."""


_LOWEST: Final = _Lowest()
_HIGHEST: Final = _Highest()


class KeyRange(NamedTuple):
    """The range of values that a selector can match in one field, with or without each of its bounds."""

    low: Any = _LOWEST
    includes_low: bool = False
    high: Any = _HIGHEST
    includes_high: bool = False


@dataclass(slots=True, frozen=True)
class Plan:
    """The way to answer a query: an index, and the part of it to read.

    ``ranges`` are the ranges of the index's first columns. ``nothing`` is True if the query cannot match any document.
    ``asked`` is the query's ``use_index`` if it could not be followed, else None.
    """

    index: Index
    ranges: tuple[KeyRange, ...]
    nothing: bool
    descending: bool
    asked: tuple[str, ...] | None

    @property
    def is_short(self) -> bool:
        """True if the plan reads one document at most: a single id of ``_all_docs``."""
        return self.index.design is None and bool(self.ranges) and self.ranges[0].low == self.ranges[0].high

    def id_bounds(self) -> tuple[Any, Any]:
        """Return the lowest and the highest ``_id`` of the range, both inclusive, in tuples; None for no bound."""
        bounds = self.ranges[0] if self.ranges else KeyRange()
        low = None if isinstance(bounds.low, _Lowest) else (bounds.low,)
        high = None if isinstance(bounds.high, _Highest) else (bounds.high,)
        return low, high

    @property
    def low(self) -> list[Any]:
        """The low bounds of the first columns, up to the first column without one."""
        return _known_bounds(bounds.low for bounds in self.ranges)

    @property
    def high(self) -> list[Any]:
        """The high bounds of the first columns, up to the first column without one."""
        return _known_bounds(bounds.high for bounds in self.ranges)

    def key_bounds(self, order: Callable[[JSON], bytes] = sort_key) -> tuple[bytes, bytes]:
        """Return the bounds of the range as sort keys. An index's key is an array; ``order`` makes its sort key."""
        # Without its end mark, an array's sort key is a prefix of the sort keys of all arrays that begin like it.
        return order(self.low)[:-1], order(self.high)[:-1] + HIGHEST


def _known_bounds(bounds: Iterable[Any]) -> list[Any]:
    return list(itertools.takewhile(lambda bound: not isinstance(bound, _Lowest | _Highest), bounds))


@dataclass(slots=True, frozen=True)
class Verdict:
    """The reasons, in CouchDB's words, for which an index cannot serve a query. With no reasons it is usable."""

    index: Index
    reasons: list[str]


@dataclass(slots=True, frozen=True)
class Candidate:
    """A usable index.

    ``prefix`` has the ranges of its first columns, None for an empty range. ``distance`` is the number of the
    selector's indexable fields that are not among those columns.
    """

    index: Index
    prefix: list[KeyRange | None]
    distance: int


@dataclass(slots=True, frozen=True)
class Survey:
    """The indexes of a database, judged for one query. :func:`choose` takes the best of them.

    ``everything`` has all indexes by rank. ``verdicts`` has those in the query's scope, in the same order; a partial
    index is among them only if the query names it. ``asked`` is the query's ``use_index``.
    """

    everything: Sequence[Index]
    verdicts: Sequence[Verdict]
    asked: tuple[str, ...]

    @property
    def usable(self) -> list[Index]:
        """The indexes that can serve the query."""
        return [verdict.index for verdict in self.verdicts if not verdict.reasons]

    @property
    def favoured(self) -> list[Index]:
        """The usable indexes that the query names; all usable indexes if it names none of them."""
        return [index for index in self.usable if _is_asked(index, self.asked)] or self.usable

    @property
    def of_type(self) -> list[Index]:
        """The favoured indexes without ``_all_docs``, if others remain. The choice is made among these."""
        return [index for index in self.favoured if index.design is not None] or self.favoured

    def refuse(self, *, fallback: bool) -> None:
        """Raise BadRequestError if the query insists on an index that cannot serve it.

        ``fallback`` is the query's ``allow_fallback``.
        """
        # `mango_cursor:create`. A single usable index is `_all_docs`, so without a fallback the query would be a scan.
        named = any(_is_asked(index, self.asked) for index in self.usable)
        if not (named or fallback or (not self.asked and len(self.usable) > 1)):
            raise _refusal(self.asked)


def survey(
    indexes: Iterable[Index], selector: Selector, sort: Sort, asked: tuple[str, ...], partition: str = ""
) -> Survey:
    """Find out which indexes can serve a query, and why the others cannot.

    ``asked`` is the query's ``use_index``: empty, a design document's name, or the names of a design document and an
    index. ``partition`` is the partition that the query is for, ``""`` for the whole database.
    """
    fields = [field for field, _ in sort]
    everything = [ALL_DOCS, *sorted(indexes, key=lambda index: index.rank)]
    verdicts = [
        Verdict(index, _reasons_against(index, selector, fields))
        for index in everything
        if (index.partial is None or _is_asked(index, asked)) and in_scope(index, partition)
    ]
    return Survey(everything, verdicts, asked)


def in_scope(index: Index, partition: str) -> bool:
    """Return True if the index has the scope of the query: one partition, or the whole database if it is empty."""
    return index.design is None or index.partitioned == bool(partition)


def choose(found: Survey, selector: Selector, sort: Sort) -> Plan:
    """Return the plan for a query. At least one index has to be usable."""
    first = rank_candidates(found.of_type, selector)[0]
    best, ranges = first.index, tuple(bounds for bounds in first.prefix if bounds is not None)
    nothing = first.prefix == [None] or _is_noop(selector.normalized)
    vain = found.asked if found.asked and not _is_asked(best, found.asked) else None
    return Plan(best, ranges, nothing, bool(sort) and sort[0][1] == "desc", vain)


def rank_candidates(indexes: Iterable[Index], selector: Selector) -> list[Candidate]:
    """Return usable indexes in CouchDB's order of preference.

    First come those that leave out the fewest of the selector's fields, then those with the fewest columns.
    """
    found = _field_ranges(selector.normalized)
    # A range without values makes the whole selector empty. CouchDB then looks at that field alone.
    # `mango_idx_view:field_ranges` returns at the first empty range.
    empty = next((field for field, bounds in found.items() if bounds is None), None)
    if empty is not None:
        found = {empty: None}
    prefixes = [(index, _prefix(index, found)) for index in indexes]
    candidates = [Candidate(index, prefix, len(found) - len(prefix)) for index, prefix in prefixes]
    # `mango_cursor_view:choose_best_index`.
    return sorted(candidates, key=lambda one: (one.distance, len(one.index.columns), one.index.rank))


def _prefix(index: Index, ranges: Mapping[str, KeyRange | None]) -> list[KeyRange | None]:
    prefix: list[KeyRange | None] = []
    for column in index.columns:
        if column not in ranges:
            break
        prefix.append(ranges[column])
    return prefix


def _is_noop(selector: Mapping[str, Any]) -> bool:
    """Return True if the whole selector is an operator on an empty list. CouchDB does not run such a query."""
    # `mango_cursor:maybe_noop_range`. Inside a larger selector such an operator has no effect on the plan.
    return any(name in ("$all", "$and", "$or", "$in") and value == [] for name, value in selector.items())


# --- Usability


def _is_asked(index: Index, asked: tuple[str, ...]) -> bool:
    """Return True if a query's ``use_index`` names the index."""
    if not asked or index.design is None:
        return False
    design = asked[0] if asked[0].startswith("_design/") else f"_design/{asked[0]}"
    return index.design == design and asked[1:] in ((), (index.name,))


def _reasons_against(index: Index, selector: Selector, sort: Sequence[str]) -> list[str]:
    if index.design is None:
        mismatch = bool(sort) and "_id" not in indexable_fields(selector)
        disordered = bool(sort) and list(sort) != ["_id"]
        return ["field_mismatch"] * mismatch + ["sort_order_mismatch"] * disordered
    # An index holds only documents that have all of its columns. Every document has these two, and CouchDB takes the
    # fields of the sort for granted.
    required = set(index.columns) - set(sort) - {"_id", "_rev"}
    mismatch = not selector.has_required_fields(sorted(required))
    disordered = not _has_order(index.columns, sort, selector.normalized)
    text = ["needs_text_search"] * selector.is_text_search
    return text + ["field_mismatch"] * mismatch + ["sort_order_mismatch"] * disordered


def _has_order(columns: Sequence[str], sort: Sequence[str], selector: Mapping[str, Any]) -> bool:
    """Return True if the index has the order of the sort.

    The sort's fields have to be adjacent columns. The selector has to fix each column in front of them to one value.
    """
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


# --- Ranges

_COMPARISONS: Final = frozenset(("$lt", "$lte", "$eq", "$gt", "$gte", "$beginsWith", "$exists"))


def indexable_fields(selector: Selector) -> set[str]:
    """Return the fields that the selector compares, at the top and within ``$and``."""
    return _indexable(selector.normalized)


def _indexable(selector: Mapping[str, Any]) -> set[str]:
    fields: set[str] = set()
    for name, condition in selector.items():
        if name == "$and":
            fields.update(*map(_indexable, condition))
        elif not name.startswith("$") and isinstance(condition, dict) and not _COMPARISONS.isdisjoint(condition):
            fields.add(name)
    return fields


def _field_ranges(selector: Mapping[str, Any]) -> dict[str, KeyRange | None]:
    """Return the range of each indexable field, in alphabetic order; None for an empty range."""
    ranges: dict[str, KeyRange | None] = {}
    _narrow(selector, ranges)
    return {field: ranges[field] for field in sorted(_indexable(selector))}


def _narrow(selector: Mapping[str, Any], ranges: dict[str, KeyRange | None]) -> None:
    """Narrow the ranges of the fields by all conditions of the selector."""
    for name, condition in selector.items():
        if name == "$and":
            for part in condition:
                _narrow(part, ranges)
        elif not name.startswith("$"):
            ranges[name] = _apply_conditions(condition, ranges.get(name, KeyRange()))


def _apply_conditions(condition: Mapping[str, Any], bounds: KeyRange | None) -> KeyRange | None:
    for operator, operand in condition.items():
        bounds = bounds and _apply_comparison(bounds, operator, operand)
    return bounds


def _apply_comparison(bounds: KeyRange, operator: str, operand: Any) -> KeyRange | None:
    """Return the part of a range that satisfies a comparison; None if nothing is left."""
    match operator:
        case "$gt" | "$gte":
            return _raise_low(bounds, operand, includes=operator == "$gte")
        case "$lt" | "$lte":
            return _lower_high(bounds, operand, includes=operator == "$lte")
        case "$eq":
            return _intersect(bounds, operand, operand)
        case "$beginsWith":
            # ICU sorts U+FFFF above every other character. The selector tests each row, so a wider range does no harm.
            return _intersect(bounds, operand, f"{operand}\uffff")
    return bounds


def _intersect(bounds: KeyRange, low: Any, high: Any) -> KeyRange | None:
    raised = _raise_low(bounds, low, includes=True)
    return raised and _lower_high(raised, high, includes=True)


def _raise_low(bounds: KeyRange, value: Any, *, includes: bool) -> KeyRange | None:
    order = 1 if isinstance(bounds.low, _Lowest) else compare(value, bounds.low)
    if order > 0:
        return _none_if_empty(bounds._replace(low=value, includes_low=includes))
    # CouchDB does not notice that {"$eq": 5, "$gt": 5} is empty: it reads the documents with that value.
    return bounds._replace(includes_low=bounds.includes_low and includes) if order == 0 else bounds


def _lower_high(bounds: KeyRange, value: Any, *, includes: bool) -> KeyRange | None:
    order = -1 if isinstance(bounds.high, _Highest) else compare(value, bounds.high)
    if order < 0:
        return _none_if_empty(bounds._replace(high=value, includes_high=includes))
    if order == 0:
        return _none_if_empty(bounds._replace(includes_high=bounds.includes_high and includes))
    return bounds


def _none_if_empty(bounds: KeyRange) -> KeyRange | None:
    if isinstance(bounds.low, _Lowest) or isinstance(bounds.high, _Highest):
        return bounds
    order = compare(bounds.low, bounds.high)
    return bounds if order < 0 or (order == 0 and bounds.includes_low and bounds.includes_high) else None
