"""Equality of JSON values: in Python, and in selectors of Mango."""

from typing import Any

from couchmodel.types import JSONObject

__all__ = ["equality_selector", "has_large_object", "json_equal"]


def json_equal(one: Any, other: Any) -> bool:
    """Return True if two JSON values are equal and of the same types.

    Python's ``==`` does not tell ``1``, ``True`` and ``1.0`` apart.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        # The order of members does not matter in JSON.
        return one.keys() == other.keys() and all(json_equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(json_equal, one, other))
    return bool(one == other)


def equality_selector(path: str, value: Any) -> JSONObject:
    """Return the selector of the documents whose member at a path equals a value.

    With an empty path, it is that of the elements of a list that equal it. CouchDB 3.5 answers 500 to an operand with
    an object of several members, if the database has an index (``mango_idx_view:is_text_search``). So the members are
    compared one by one, and further ones are excluded.
    """
    # Without a path before it, a name that begins with $ would be an operator.
    if not has_large_object(value) or (not path and _begins_operator(value)):
        return _at(path, {"$eq": value})
    # None of these parts holds for a missing member at the path, and neither does its negation, so ``$not`` negates the
    # whole rightly.
    if isinstance(value, list):
        length = _at(path, {"$size": len(value)})
        return {"$and": [length, *(equality_selector(_inside(path, str(n)), each) for n, each in enumerate(value))]}
    names = [_at(path, {"$keyMapMatch": {"$eq": name}}) for name in value]
    others = _at(path, {"$not": {"$keyMapMatch": {"$nin": list(value)}}})
    return {"$and": [*names, others, *(equality_selector(_inside(path, name), each) for name, each in value.items())]}


def has_large_object(value: Any) -> bool:
    """Return True if a value has an object of several members inside, which a selector can compare one by one."""
    if isinstance(value, list):
        return any(map(has_large_object, value))
    if not isinstance(value, dict) or not all(map(_is_plain_name, value)):
        return False
    return len(value) > 1 or any(map(has_large_object, value.values()))


def _begins_operator(value: Any) -> bool:
    return isinstance(value, dict) and any(name.startswith("$") for name in value)


def _is_plain_name(name: str) -> bool:
    """Return True for the name of a member that a selector can find: CouchDB finds none with a backslash."""
    return bool(name) and "\\" not in name


def _at(path: str, condition: JSONObject) -> JSONObject:
    return {path: condition} if path else condition


def _inside(path: str, name: str) -> str:
    escaped = name.replace(".", "\\.")
    return f"{path}.{escaped}" if path else escaped
