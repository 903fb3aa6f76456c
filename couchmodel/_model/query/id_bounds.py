"""Bounds of ids, which CouchDB would take for an empty range.

CouchDB sorts ids by their bytes, and a condition on ``_id`` compares them so. But whether two bounds leave anything
between them, it decides by the order of texts, in which ``d`` comes before ``D1``: it finds nothing between ``D1`` and
``d`` (CouchDB 3.5, ``mango_idx_view:range``). It does not look into an ``$or``, so all bounds but one are put there.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, Final

from couchmodel.types import JSONObject

__all__ = ["separate_id_bounds"]

_BOUNDS: Final = frozenset({"$eq", "$gt", "$gte", "$lt", "$lte"})


def separate_id_bounds(selector: JSONObject) -> JSONObject:
    """Return an equal selector whose bounds of ids CouchDB compares in the order of ids."""
    parts = list(_parts(selector))
    bounds = [bound for part in parts if (bound := _bound(part)) is not None]
    if all(_have_one_order(*pair) for pair in combinations(bounds, 2)):
        return selector
    first = next(n for n, part in enumerate(parts) if _bound(part) is not None)
    return {"$and": [part if n == first or _bound(part) is None else {"$or": [part]} for n, part in enumerate(parts)]}


def _parts(selector: Mapping[str, Any]) -> Iterator[JSONObject]:
    """Yield the conditions that must all hold, those on ids one by one."""
    for name, condition in selector.items():
        if name == "$and":
            for each in condition:
                yield from _parts(each)
        elif name == "_id" and isinstance(condition, Mapping):
            for operator, operand in condition.items():
                yield {name: {operator: operand}}
        else:
            yield {name: condition}


def _bound(part: Mapping[str, Any]) -> str | None:
    condition = part.get("_id")
    if isinstance(condition, Mapping):
        condition = next((operand for operator, operand in condition.items() if operator in _BOUNDS), None)
    return condition if isinstance(condition, str) else None


def _have_one_order(one: str, other: str) -> bool:
    """Return True if two ids certainly have the same order as bytes and as texts."""
    low, high = sorted((one, other))
    if high.startswith(low):
        return True
    first, second = next((a, b) for a, b in zip(low, high, strict=False) if a != b)
    # Among digits, among small letters and among capital ones, both orders are the same.
    is_ascii = low.isascii() and high.isascii()
    return is_ascii and any(
        getattr(first, kind)() and getattr(second, kind)() for kind in ("isdigit", "islower", "isupper")
    )
