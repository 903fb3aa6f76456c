"""Bring a Mango selector into CouchDB's normal form, which ``_explain`` shows (``mango_selector.erl``).

In normal form an object has one member, each operand has an explicit operator, a whole path stands directly above its
operator, and a ``$not`` is left only where no opposite operator exists.

    {"price": {"$gt": 1, "$not": {"$gt": 9}}}   becomes
    {"$and": [{"price": {"$gt": 1}}, {"price": {"$lte": 9}}]}

Rule: a missing field satisfies no condition, ``$ne`` and ``$nin`` included; only ``{"$exists": false}`` matches it. So
the place of a negation matters. Below ``$elemMatch``, ``$allMatch`` and ``$keyMapMatch`` CouchDB moves no negations:
there ``{"$not": {"a": 1}}`` matches an object without ``a``.
"""

from typing import Any

from couchmodel._embedded.mango.operators import OPPOSITES, QUANTIFIERS, bad_argument, check_argument
from couchmodel._embedded.rules.erlang import erlang_term
from couchmodel.errors import BadRequestError
from couchmodel.types import JSONObject

__all__ = ["normalize", "only_member"]


def normalize(selector: JSONObject) -> JSONObject:
    """Return a selector that is not empty in normal form. Raises BadRequestError if it is malformed."""
    normalized = _move_negations_inwards(_join_paths(_add_operators(selector)))
    if "" in normalized:
        raise BadRequestError("One or more conditions is missing a field name.", code="invalid_selector")
    return normalized


def only_member(selector: JSONObject) -> tuple[str, Any]:
    """Return the name and the argument of an object with one member."""
    [member] = selector.items()
    return member


def _add_operators(selector: Any) -> JSONObject:
    if not isinstance(selector, dict) or not selector:
        return {"$eq": selector}
    if len(selector) > 1:
        return {"$and": [_add_operators({name: argument}) for name, argument in selector.items()]}
    name, argument = only_member(selector)
    if not name.startswith("$"):
        return {name: _add_operators(argument)}
    check_argument(name, argument)
    if name in _COMBINATIONS:
        return {name: [_add_operators(part) for part in argument]}
    if name == "$not" or name in QUANTIFIERS:
        return {name: _add_operators(argument)}
    # CouchDB's normal form wraps `$text`, which is for another kind of index.
    return {"$default": selector} if name == "$text" else selector


def _join_paths(selector: JSONObject, path: str = "") -> JSONObject:
    name, argument = only_member(selector)
    if name in _COMBINATIONS:
        return {name: [_join_paths(part, path) for part in argument]}
    if name == "$not":
        return {name: _join_paths(argument, path)}
    if name in QUANTIFIERS:
        # The paths below a quantifier begin at the element.
        return {path: {name: _join_paths(argument)}}
    if name == "$default":
        return _check_text(selector, path)
    if name.startswith("$"):
        return {path: selector}
    return _join_paths(argument, f"{path}.{name}" if path else name)


def _check_text(selector: JSONObject, path: str) -> JSONObject:
    argument = selector["$default"]
    if path or not isinstance(argument, dict) or list(argument) != ["$text"]:
        reason = f"Invalid field normalization on selector: {erlang_term(selector)}"
        raise BadRequestError(reason, code="bad_field")
    return selector


def _move_negations_inwards(selector: JSONObject) -> JSONObject:
    name, argument = only_member(selector)
    if name == "$not":
        return _negate(argument)
    if name == "$nor":
        return {"$and": [_negate(part) for part in argument]}
    if name in _COMBINATIONS:
        return {name: [_move_negations_inwards(part) for part in argument]}
    return selector


def _negate(selector: JSONObject) -> JSONObject:
    name, argument = only_member(selector)
    if name == "$not":
        return _move_negations_inwards(argument)
    if name == "$nor":
        return {"$or": [_move_negations_inwards(part) for part in argument]}
    if name in _COMBINATIONS:
        # De Morgan's rule.
        return {"$or" if name == "$and" else "$and": [_negate(part) for part in argument]}
    if name == "$default":
        raise bad_argument("$not", selector)
    # `$not` would not do: a test never runs on a missing field.
    if name == "$exists":
        return {"$exists": not argument}
    if name in OPPOSITES:
        return {OPPOSITES[name]: argument}
    return {"$not": selector} if name.startswith("$") else {name: _negate(argument)}


_COMBINATIONS = frozenset({"$and", "$or", "$nor"})
