"""Translation of conditions to Mango selectors (CouchDB's manual, section ``/{db}/_find``).

* An operand is written by the codec, as the values of its field are stored.
* A comparison does not hold for a document that lacks the field, and neither does its negation. Only ``== None`` holds,
  since other programs may leave out what is None.
* The negation of one comparison is the opposite comparison. CouchDB looks for an index for that, and for no ``$not``.
* Objects are equal if their members are, in any order.
* A name under which CouchDB would find nothing is refused.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from couchmodel._model.codec.forms import encode_operand
from couchmodel._model.schema.annotations import element_type
from couchmodel._model.schema.expressions.conditions import (
    Comparison,
    Condition,
    ElementCondition,
    Group,
    Negation,
    SelectorCondition,
    require_condition,
)
from couchmodel._model.schema.expressions.places import Place
from couchmodel._wire.bucket_ids import BUCKET_MEMBERS, OUTSIDE_BUCKETS
from couchmodel._wire.equality import equality_selector, has_large_object
from couchmodel.errors import QueryError
from couchmodel.types import JSONObject

__all__ = ["all_of", "build_selector", "check_root", "is_plain", "required_paths"]


# As `mango_selector:norm_negations` rewrites them. Each pair fails for a missing member alike.
_NEGATIONS: Final = {"$eq": "$ne", "$ne": "$eq", "$gt": "$lte", "$gte": "$lt", "$lt": "$gte", "$lte": "$gt"}
_ORDERS: Final = ("$gt", "$gte", "$lt", "$lte")


def build_selector(conditions: Iterable[object], kind: JSONObject | None = None, *, model: type = object) -> JSONObject:
    """Return the selector of the documents that meet all the conditions, and the selector ``kind``.

    Raises QueryError if one is not a condition, or is a condition on the fields of another model than ``model``.
    """
    members = [_condition_selector(require_condition(condition), model) for condition in conditions]
    # The files of buckets may be in the database, too. The condition that leaves them out is spared where another one
    # does so.
    if kind and not (kind == OUTSIDE_BUCKETS and _leaves_out_buckets(all_of(*members))):
        members.insert(0, kind)
    return all_of(*members)


def _leaves_out_buckets(selector: JSONObject) -> bool:
    """Return True if a selector asks for a member that no document of a bucket has."""
    return any(not path.startswith(("_", BUCKET_MEMBERS)) for path in required_paths(selector))


def all_of(*selectors: JSONObject) -> JSONObject:
    """Return the selector of the documents that match all the selectors. An empty one matches every document."""
    members = [selector for selector in selectors if selector]
    if len(members) == 1:
        return members[0]
    return {"$and": members} if members else {}


def required_paths(selector: Mapping[str, Any]) -> set[str]:
    """Return the paths that a document must have to match a selector, as CouchDB sees it."""
    found: set[str] = set()
    for name, condition in selector.items():
        if name == "$and":
            found.update(*map(required_paths, condition))
        elif name == "$or":
            branches = [required_paths(each) for each in condition]
            found |= set.intersection(*branches) if branches else set()
        elif not name.startswith("$") and condition != {"$exists": False} and is_plain(condition):
            found.add(name)
    return found


def is_plain(condition: Any) -> bool:
    """Return True for a value or for operators; False for the conditions of an embedded object's members."""
    return not isinstance(condition, Mapping) or all(str(name).startswith("$") for name in condition)


def check_root(model: type, place: Place) -> None:
    """Raise QueryError if a place is not one of the model's, but of another model."""
    root = place.root
    if root is not None and not (issubclass(model, root) or issubclass(root, model)):
        raise QueryError(f"{root.__name__}.{place.path} is no field of {model.__name__}, whose documents are asked for")


def _condition_selector(condition: Condition, model: type) -> JSONObject:
    if isinstance(condition, Comparison):
        check_root(model, condition.place)
        return _comparison_selector(condition)
    if isinstance(condition, Group):
        return {condition.operator: [_condition_selector(member, model) for member in condition.members]}
    if isinstance(condition, ElementCondition):
        check_root(model, condition.place)
        return {_path(condition.place): {condition.operator: _condition_selector(condition.condition, model)}}
    if isinstance(condition, SelectorCondition):
        for name in condition.selector:
            if not isinstance(name, str):
                raise QueryError(f"the names of a selector are texts, such as 'rating', and {name!r} is none")
        return dict(condition.selector)
    if isinstance(condition, Negation):
        return _negate(_condition_selector(condition.member, model))
    raise QueryError(f"{condition!r} is an unknown kind of condition")


def _negate(selector: JSONObject) -> JSONObject:
    """Return the negation, of a comparison in the form in which CouchDB looks for an index for it."""
    (name, condition), *others = selector.items()
    if not others and not name.startswith("$") and isinstance(condition, dict) and len(condition) == 1:
        (operator, operand) = next(iter(condition.items()))
        if operator in _NEGATIONS:
            return {name: {_NEGATIONS[operator]: operand}}
    return {"$not": selector}


def _comparison_selector(condition: Comparison) -> JSONObject:
    place, operator = condition.place, condition.operator
    operand: Any = condition.operand
    path = _path(place)
    if operator == "$eq" and operand is None:
        return _is_none(path)
    if operator in ("$in", "$nin") and None in (listed := list(operand)):  # CouchDB 3.5 answers 500 if an index serves
        others = _comparison_selector(Comparison(place, operator, [each for each in listed if each is not None]))
        if operator == "$in":
            return {"$or": [others, _is_none(path)]}
        return {"$and": [others, {path: {"$ne": None}} if path else {"$ne": None}]}
    encoded = _encode_operand(place, operator, operand)
    if has_large_object(encoded):
        if operator in _ORDERS:
            raise QueryError(f"{path or 'the element'}: objects have no order, so compare one of their members")
        return _object_selector(path, operator, encoded)
    # Mango has no operator of this name.
    if operator == "$anyOf":
        return {path: {"$elemMatch": {"$in": encoded}}}
    # An element itself, in a condition on the elements of a list, has no path.
    return {path: {operator: encoded}} if path else {operator: encoded}


def _object_selector(path: str, operator: str, encoded: Any) -> JSONObject:
    """Return the selector of a comparison with objects, which are compared member by member."""
    match operator:
        case "$eq":
            return equality_selector(path, encoded)
        case "$in":
            return {"$or": [equality_selector(path, each) for each in encoded]}
        case "$ne" | "$nin":
            return {"$not": _object_selector(path, "$eq" if operator == "$ne" else "$in", encoded)}
        case "$elemMatch":
            return {path: {"$elemMatch": equality_selector("", encoded["$eq"])}}
        case "$anyOf":
            return {path: {"$elemMatch": _object_selector("", "$in", encoded)}}
        case "$all":
            return {"$and": [{path: {"$elemMatch": equality_selector("", each)}} for each in encoded]}
    raise QueryError(f"{operator} of {path!r} takes no objects")


def _is_none(path: str) -> JSONObject:
    if not path:  # an element itself
        return {"$eq": None}
    # Other programs may leave out a member whose value would be the model's default, None.
    return {"$or": [{path: {"$eq": None}}, {path: {"$exists": False}}]}


def _path(place: Place) -> str:
    if any("\\" in name for name in place.names):
        raise QueryError(f"{'.'.join(place.names)!r} cannot be queried: CouchDB finds no name with a backslash")
    if place.path.startswith("$"):
        raise QueryError(
            f"{place.path!r} cannot be queried: CouchDB takes a name that begins with $ for an operator;"
            ' store the field under another name, as in Field(stored_as="…")'
        )
    return place.path


def _encode_operand(place: Place, operator: str, operand: Any) -> Any:
    match operator:
        case "$exists":
            return _require(place, operand, bool, "exists() takes True or False")
        case "$size":
            return _require(place, operand, int, "size() is compared with a number of elements")
        case "$regex" | "$beginsWith":
            return _require(place, operand, str, "a text is compared with a text")
        case "$all" | "$anyOf":
            return [_encode_element(place, each) for each in operand]
        case "$in" | "$nin":
            return [encode_operand(place, each) for each in operand]
        case "$elemMatch":
            return {"$eq": _encode_element(place, operand)}
        case _:
            return encode_operand(place, operand)


def _require(place: Place, operand: Any, kind: type, rule: str) -> Any:
    if not isinstance(operand, kind) or (kind is int and isinstance(operand, bool)):
        raise QueryError(f"{place.path or 'the element'}: {rule}, not with {operand!r}")
    return operand


def _encode_element(place: Place, operand: Any) -> Any:
    return encode_operand(Place(place.names, element_type(place.annotation) or Any), operand)
