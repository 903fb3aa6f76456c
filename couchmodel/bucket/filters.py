"""The filters, sorts and keys of ``find``: MongoDB's notation, written as a selector of CouchDB, or done here.

CouchDB sorts only by an index, and a bucket may be sorted by anything. So a sort is done here, after all files that
match have arrived.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from couchmodel._wire.equality import equality_selector
from couchmodel._wire.messages import encode
from couchmodel.bucket.layout import FILE_MEMBER
from couchmodel.bucket.times import utc_text
from couchmodel.types import JSONObject

__all__ = ["check_sort", "make_selector", "sort_key", "values_at"]

_GROUPS: Final = frozenset(("$and", "$or", "$nor"))


def make_selector(filter: Mapping[str, Any]) -> JSONObject:
    """Return the selector of a filter. Its names are those of the members of files.

    As in MongoDB, a dictionary is compared as a whole, and None matches a missing member, too.
    """
    parts = [_part(name, value) for name, value in filter.items()]
    return parts[0] if len(parts) == 1 else {"$and": parts} if parts else {}


def _part(name: str, value: Any) -> JSONObject:
    if name in _GROUPS:
        return {name: [make_selector(each) for each in value]}
    if name == "$not":
        return {name: make_selector(value)}
    path = f"{FILE_MEMBER}.{name}"
    if value is None:
        return {"$or": [{path: None}, {path: {"$exists": False}}]}
    # As in MongoDB, an object with names that begin with $ has operators, and any other is compared as a whole.
    if isinstance(value, Mapping) and value and all(str(operator).startswith("$") for operator in value):
        return {path: {operator: _operand(operand) for operator, operand in value.items()}}
    return equality_selector(path, _operand(value))


def _operand(value: Any) -> Any:
    match value:
        case datetime():
            return utc_text(value)
        case Mapping():
            return {name: _operand(each) for name, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_operand(each) for each in value]
        case _:
            return value


def check_sort(key: Any, direction: int | None) -> list[tuple[str, int]]:
    """Return the keys and directions of a sort. Raises TypeError and ValueError for what is none."""
    pairs = [(key, 1 if direction is None else direction)] if isinstance(key, str) else list(key)
    checked: list[tuple[str, int]] = []
    for pair in pairs:
        if not isinstance(pair, Sequence) or len(pair) != 2 or not isinstance(pair[0], str):
            raise TypeError(f"a sort is a name, or a list of names and directions, not {key!r}")
        if pair[1] not in (1, -1):
            raise ValueError(f"the direction of a sort is 1 or -1, not {pair[1]!r}")
        checked.append((pair[0], pair[1]))
    if not checked:
        raise ValueError("a sort needs a name")
    return checked


def sort_key(members: Mapping[str, Any], name: str) -> tuple[int, Any]:
    """Return the key of a file in a sort, in MongoDB's order of types: missing, numbers, texts, the others."""
    value = next(iter(values_at(members, name)), None)
    match value:
        case None:
            return 0, 0
        # A bool is an int in Python. MongoDB has booleans behind texts and objects.
        case bool():
            return 4, value
        case int() | float():
            return 1, value
        case str():
            return 2, value
        case _:
            return 3, encode(value)


def values_at(members: Mapping[str, Any], name: str) -> Iterable[Any]:
    """Return the value at a dotted name, or the elements of a list there; nothing if it is missing."""
    value: Any = members
    for step in name.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return ()
        value = value[step]
    return value if isinstance(value, list) else (value,)
