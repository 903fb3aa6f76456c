"""The conditions of declared views: selectors of Mango, as far as JavaScript can test them.

``_wire.declared_views`` describes the conditions that are stored. A comparison of a member that the document lacks does
not hold, and neither does its negation, as in Mango.
"""

from collections.abc import Mapping
from typing import Any, Final

from couchmodel._model.schema.expressions.places import split_path
from couchmodel.errors import ConfigurationError

__all__ = ["parse_where"]

Condition = list[Any]

_ORDERS: Final = {"$lt": "<", "$lte": "<=", "$gt": ">", "$gte": ">="}
_KNOWN: Final = "$eq, $ne, $in, $nin, $exists, $lt, $lte, $gt, $gte, $and, $or, $nor and $not"


def parse_where(selector: Mapping[str, Any]) -> Condition:
    """Return the condition that a selector says. Raises ConfigurationError for one that JavaScript cannot test."""
    return _members(selector, ())


def _members(selector: Mapping[str, Any], path: tuple[str, ...]) -> Condition:
    return _all([_member(name, value, path) for name, value in selector.items()])


def _all(parts: list[Condition]) -> Condition:
    return parts[0] if len(parts) == 1 else ["all", parts]


def _member(name: str, value: Any, path: tuple[str, ...]) -> Condition:
    match name:
        case "$and":
            return _all([_members(each, path) for each in value])
        case "$or":
            return ["any", [_members(each, path) for each in value]]
        case "$nor":
            return _negate(["any", [_members(each, path) for each in value]])
        case "$not":
            return _negate(_members(value, path))
    if name.startswith("$"):
        return _comparison(name, value, path)
    inside = (*path, *split_path(name))
    return _members(value, inside) if isinstance(value, Mapping) else _comparison("$eq", value, inside)


def _comparison(operator: str, operand: Any, path: tuple[str, ...]) -> Condition:
    where = ".".join(path)
    if not path:
        raise ConfigurationError(f"where: {operator} needs a field before it")
    # JavaScript's `undefined` is a member that is not there.
    if operator == "$exists" and isinstance(operand, bool):
        return ["exists", list(path)] if operand else ["not", ["exists", list(path)]]
    if operator in ("$in", "$nin") and isinstance(operand, list):
        found: Condition = ["in", list(path), [_require_scalar(each, where) for each in operand]]
        return found if operator == "$in" else _negate(found)
    if operator in ("$eq", "$ne"):
        found = ["in", list(path), [_require_scalar(operand, where)]]
        return found if operator == "$eq" else _negate(found)
    if operator in _ORDERS and isinstance(operand, (str, int, float)) and not isinstance(operand, bool):
        return [_ORDERS[operator], list(path), _require_scalar(operand, where)]
    raise ConfigurationError(
        f"where: the condition {operator} {operand!r} of {where!r} cannot be declared: there are {_KNOWN}, with texts,"
        " numbers, truth values and None; write other conditions in a map function of your own, View(map=…)"
    )


def _require_scalar(operand: Any, where: str) -> Any:
    if operand is None or isinstance(operand, (str, bool)):
        return operand
    # JavaScript has one type of numbers, and writes 5.0 as 5.
    if isinstance(operand, float) and operand.is_integer():
        operand = int(operand)
    if isinstance(operand, (int, float)) and float(operand) == operand:
        return operand
    raise ConfigurationError(
        f"where: {where!r} is compared with {operand!r}, which is no text, truth value, None or number of JavaScript"
    )


def _negate(condition: Condition) -> Condition:
    """Return the negation, which does not hold for missing members either."""
    match condition:
        # De Morgan's laws, so that the negation reaches each comparison and its missing member.
        case ["all", parts]:
            return ["any", [_negate(part) for part in parts]]
        case ["any", parts]:
            return _all([_negate(part) for part in parts])
        case ["not", ["exists", path]]:
            return ["exists", path]
        case ["not", part]:
            return _all([["exists", part[1]], part])
        case ["exists", _]:
            return ["not", condition]
        case _:
            return ["all", [["exists", condition[1]], ["not", condition]]]
