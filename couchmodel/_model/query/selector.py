"""What a condition means to CouchDB: a Mango selector (its manual, under ``/{db}/_find``)."""

from collections.abc import Iterable
from typing import Any

from couchmodel._model.codec.serializers import encode_operand
from couchmodel._model.schema.expressions import Comparison, Condition, FieldExpression, Group, Negation, checked
from couchmodel.errors import QueryError
from couchmodel.types import JSONObject

__all__ = ["selector"]


def selector(conditions: Iterable[object]) -> JSONObject:
    """The selector of what meets all the conditions. Raises QueryError for what is no condition."""
    members = [_selector(checked(condition)) for condition in conditions]
    if len(members) == 1:
        return members[0]
    return {"$and": members} if members else {}


def _selector(condition: Condition) -> JSONObject:
    if isinstance(condition, Comparison):
        return _comparison(condition)
    if isinstance(condition, Group):
        return {condition.operator: [_selector(member) for member in condition.members]}
    if isinstance(condition, Negation):
        return {"$not": _selector(condition.member)}
    raise QueryError(f"{condition!r} is a condition of no known kind")


def _comparison(condition: Comparison) -> JSONObject:
    path, operator, operand = condition.field.path, condition.operator, condition.operand
    if operator == "$eq" and operand is None:
        # A field that a model declares with None as its default may be missing from what others have stored.
        return {"$or": [{path: {"$eq": None}}, {path: {"$exists": False}}]}
    return {path: {operator: _operand(condition.field, operator, operand)}}


def _operand(field: FieldExpression[Any], operator: str, operand: Any) -> Any:
    match operator:
        case "$exists" | "$regex":
            return operand
        case "$in" | "$nin":
            return [encode_operand(field, each) for each in operand]
        case "$elemMatch":
            (element,) = encode_operand(field, [operand])
            return {"$eq": element}
        case _:
            return encode_operand(field, operand)
