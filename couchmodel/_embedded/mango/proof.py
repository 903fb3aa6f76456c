"""Tell from a plan alone that every document in its range matches, so that no document has to be read and judged.

Most queries of programs compare the first columns of an index with plain values. The keys in the range are then those
of the documents that match, neither more nor fewer.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from couchmodel._embedded.mango.planner import Plan
from couchmodel._embedded.mango.selector import Selector

__all__ = ["Proof", "prove"]

_Condition: TypeAlias = tuple[str, str, Any]
"""A field, an operator and its operand."""

_INCLUSIVE: Final = frozenset(("$eq", "$gte", "$lte"))
"""The operators whose operand matches: a range of keys includes its bounds."""

_SIDES: Final[Mapping[str, tuple[str, ...]]] = {
    "$eq": ("low", "high"),
    "$gte": ("low",),
    "$gt": ("low",),
    "$lte": ("high",),
    "$lt": ("high",),
}
"""The bounds of a range that an operator sets."""


class Proof(NamedTuple):
    """The proof that all documents in a range match, except for those with the ids ``excluded``."""

    excluded: frozenset[str] = frozenset()


def prove(plan: Plan, selector: Selector) -> Proof | None:
    """Return the proof that the range of a plan has the documents that a selector matches; None if there is none."""
    conditions = list(_conditions(selector.normalized))
    if None in conditions:
        return None
    known = [each for each in conditions if each is not None]
    return _prove_by_ids(known) if plan.index.design is None else _prove_by_keys(plan, known)


def _conditions(selector: Mapping[str, Any]) -> Iterator[_Condition | None]:
    """Yield the conditions of which a matching document meets all; None in place of anything else."""
    for name, argument in selector.items():
        if name == "$and":
            for part in argument:
                yield from _conditions(part)
        elif name.startswith("$") or not isinstance(argument, dict):
            yield None
        else:
            yield from ((name, operator, operand) for operator, operand in argument.items())


def _prove_by_ids(conditions: list[_Condition]) -> Proof | None:
    sides: list[str] = []
    excluded = set[str]()
    for field, operator, operand in conditions:
        if field == "_id" and operand is None and operator in ("$gt", "$gte"):
            continue  # every id is above null
        if field != "_id" or not isinstance(operand, str) or operator not in _SIDES:
            return None
        sides += _SIDES[operator]
        # The range includes its bounds in any case, and CouchDB counts the key of a bound as examined.
        excluded.update([operand] if operator in ("$gt", "$lt") else [])
    # A plan compares several bounds of one side by their order as texts, and a selector compares ids by their bytes.
    return Proof(frozenset(excluded)) if len(sides) == len(set(sides)) else None


def _prove_by_keys(plan: Plan, conditions: list[_Condition]) -> Proof | None:
    compared = set[str]()
    fixed = set[str]()
    for field, operator, operand in conditions:
        if operator == "$exists" and operand is True and field in plan.index.columns:
            continue  # an index has only documents with all of its fields
        # A selector compares ids by their bytes, and an index has them in the order of texts.
        if operator not in _INCLUSIVE or field == "_id" or not _is_scalar(operand):
            return None
        compared.add(field)
        fixed.update([field] if operator == "$eq" else [])
    # Keys in a range differ in one column at most that is compared, behind columns of one value.
    for column in plan.index.columns[: len(plan.ranges)]:
        compared.discard(column)
        if column not in fixed:
            break
    return None if compared else Proof()


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
