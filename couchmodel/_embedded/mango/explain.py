"""Build the parts of an ``_explain`` answer that describe the index, the range read from it and the other indexes.

Names and reasons are CouchDB's own, word for word, as far as they have a meaning here (``mango_cursor.erl``).
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

from couchmodel._embedded.mango.options import Options
from couchmodel._embedded.mango.planner import (
    Candidate,
    Index,
    Plan,
    Survey,
    in_scope,
    indexable_fields,
    rank_candidates,
)
from couchmodel._embedded.mango.selector import Selector

__all__ = ["analyze_candidates", "is_covered", "selector_hints", "view_arguments"]

_MAXIMUM: Final = "<MAX>"
"""CouchDB's sign for the end of an open range."""

_Rank: TypeAlias = tuple[str, str]
"""The unique key of an index: :attr:`Index.rank`."""


def is_covered(index: Index, options: Options) -> bool:
    """Return True if the keys of the index alone hold every field that a query shows or tests."""
    fields = options.fields.fields
    return bool(fields) and index.covers({*fields, *options.selector.fields})


def selector_hints(selector: Selector) -> list[dict[str, Any]]:
    """Return the fields of a selector that an index can serve, and the others. CouchDB cuts their names at a colon."""
    indexable = {field.partition(":")[0] for field in indexable_fields(selector)}
    unindexable = selector.fields - indexable
    return [{"type": "json", "indexable_fields": sorted(indexable), "unindexable_fields": sorted(unindexable)}]


def view_arguments(plan: Plan, options: Options) -> dict[str, Any]:
    """Return the arguments (``mrargs``) with which CouchDB would read the index as a view."""
    start, end = _bounds(plan)
    if plan.descending:
        start, end = end, start
    return {
        "include_docs": options.r == 1 and not is_covered(plan.index, options),
        "view_type": "map",
        "reduce": False,
        "partition": options.partition or None,
        "start_key": start,
        "end_key": end,
        "direction": "rev" if plan.descending else "fwd",
        "stable": options.stable or options.stale,
        "update": options.update and not options.stale,
        "conflicts": True if options.conflicts else "undefined",
    }


def _bounds(plan: Plan) -> tuple[Any, Any]:
    if plan.nothing:
        return None, None
    low, high = plan.low, plan.high
    # CouchDB's end of a range of arrays is an item that sorts after every value.
    if plan.index.design is not None:
        return low, [*high, _MAXIMUM]
    # Ids are strings: a condition on _id without a low end starts at the lowest string, all of _all_docs at null.
    lowest = "" if plan.ranges else None
    return low[0] if low else lowest, high[0] if high else _MAXIMUM


# --- the indexes that were not taken


class _Tag(NamedTuple):
    """A remark about an index. An index with several gets the sum of their rankings and the first of their reasons."""

    usable: bool
    reason: str | None
    ranking: int


def analyze_candidates(found: Survey, plan: Plan | None, options: Options) -> list[tuple[Index, dict[str, Any]]]:
    """Return the indexes that were not chosen, each with its analysis, in descending order of ``Index.rank``."""
    tags: dict[_Rank, list[_Tag]] = {index.rank: [] for index in found.everything}
    candidates = rank_candidates(found.of_type, options.selector) if plan else []
    for rank, tag in (
        *_tag_excluded(found, options.partition, max(1, len(candidates))),
        *_tag_less_suitable(plan, candidates),
    ):
        tags[rank].append(tag)
    others = [index for index in reversed(found.everything) if plan is None or index.rank != plan.index.rank]
    return [(index, _summarize(index, tags[index.rank], options)) for index in others]


def _summarize(index: Index, tags: Iterable[_Tag], options: Options) -> dict[str, Any]:
    usable, reasons, rankings = zip(*tags, strict=True)
    fields = options.fields.fields
    return {
        "usable": all(usable),
        "reasons": [{"name": next(filter(None, reasons))}],
        "ranking": sum(rankings),
        "covering": None if index.design is None else bool(fields) and index.covers(fields),
    }


def _tag_excluded(found: Survey, partition: str, ranking: int) -> Iterator[tuple[_Rank, _Tag]]:
    """Tag the indexes that a stage of the choice left out. Rankings rise from the last stage to the first."""
    reasons = {verdict.index.rank: verdict.reasons for verdict in found.verdicts}
    whole = [index for index in found.everything if index.partial is None]
    stages: list[tuple[bool, str | None, list[Index]]] = [
        (True, "unfavored_type", _difference(found.favoured, found.of_type)),
        (True, "excluded_by_user", _difference(found.usable, found.favoured)),
        (False, None, [verdict.index for verdict in found.verdicts if verdict.reasons]),
        (False, "scope_mismatch", [index for index in whole if not in_scope(index, partition)]),
        (False, "is_partial", _difference(found.everything, whole)),
    ]
    tagged = []
    for usable, reason, indexes in stages:
        tagged += [(index.rank, _Tag(usable, reason or reasons[index.rank][0], ranking)) for index in indexes]
        ranking += bool(indexes)
    # A partial index that the query names can be unusable for a second reason. "is_partial" has to come first then.
    return reversed(tagged)


def _tag_less_suitable(plan: Plan | None, candidates: Iterable[Candidate]) -> Iterator[tuple[_Rank, _Tag]]:
    """Tag the candidates of the last stage with the reason for which another index was better."""
    for ranking, candidate in enumerate(candidates):
        index = candidate.index
        if candidate.distance > 0:
            reason = "less_overlap"
        elif plan is not None and len(index.columns) > len(plan.index.columns):
            reason = "too_many_fields"
        else:
            reason = "alphabetically_comes_after"
        yield index.rank, _Tag(True, reason, ranking)


def _difference(indexes: Iterable[Index], others: Iterable[Index]) -> list[Index]:
    ranks = {index.rank for index in others}
    return [index for index in indexes if index.rank not in ranks]
