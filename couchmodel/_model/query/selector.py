"""Translation of conditions to Mango selectors (CouchDB's manual, section ``/{db}/_find``)."""

from collections.abc import Iterable
from typing import Any

from couchmodel._model.codec.forms import encode_operand
from couchmodel._model.schema.annotations import element_type
from couchmodel._model.schema.expressions import (
    Comparison,
    Condition,
    ElementCondition,
    Group,
    Negation,
    Place,
    SelectorCondition,
    require_condition,
)
from couchmodel.errors import QueryError
from couchmodel.types import JSONObject

__all__ = ["build_selector"]


def build_selector(conditions: Iterable[object], kind: JSONObject | None = None) -> JSONObject:
    """Return the selector of the documents that meet all the conditions, and the selector ``kind``.

    Raises QueryError if one is not a condition.
    """
    members = [_condition_selector(require_condition(condition)) for condition in conditions]
    if kind:
        members.insert(0, kind)
    if len(members) == 1:
        return members[0]
    return {"$and": members} if members else {}


def _condition_selector(condition: Condition) -> JSONObject:
    if isinstance(condition, Comparison):
        return _comparison_selector(condition)
    if isinstance(condition, Group):
        return {condition.operator: [_condition_selector(member) for member in condition.members]}
    if isinstance(condition, ElementCondition):
        return {condition.place.path: {condition.operator: _condition_selector(condition.condition)}}
    if isinstance(condition, SelectorCondition):
        return dict(condition.selector)
    if isinstance(condition, Negation):
        return {"$not": _condition_selector(condition.member)}
    raise QueryError(f"{condition!r} is an unknown kind of condition")


def _comparison_selector(condition: Comparison) -> JSONObject:
    path, operator, operand = condition.place.path, condition.operator, condition.operand
    if operator == "$eq" and operand is None:
        # Other programs may leave out a member whose value would be the model's default, None.
        return {"$or": [{path: {"$eq": None}}, {path: {"$exists": False}}]}
    encoded = _encode_operand(condition.place, operator, operand)
    if operator == "$anyOf":
        return {path: {"$elemMatch": {"$in": encoded}}}
    # An element itself, in a condition on the elements of a list, has no path.
    return {path: {operator: encoded}} if path else {operator: encoded}


def _encode_operand(place: Place, operator: str, operand: Any) -> Any:
    match operator:
        case "$exists" | "$regex" | "$beginsWith" | "$size":
            return operand
        case "$all" | "$anyOf":
            return [_encode_element(place, each) for each in operand]
        case "$in" | "$nin":
            return [encode_operand(place, each) for each in operand]
        case "$elemMatch":
            return {"$eq": _encode_element(place, operand)}
        case _:
            return encode_operand(place, operand)


def _encode_element(place: Place, operand: Any) -> Any:
    return encode_operand(Place(place.names, element_type(place.annotation) or Any), operand)
