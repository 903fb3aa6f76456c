"""The implication of selectors: one implies another if each document that matches it matches the other.

The answer is True only if that is certain. Conditions are compared one by one: each of the second has to follow from
one of the first. Ranges are compared for numbers only, because the order of text is that of ICU. Texts that differ may
be equal by it, as two spellings of one letter, and objects differ if only the order of their members does.
"""

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from couchmodel._wire.messages import encode

__all__ = ["implies"]

_ORDER: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
    "$eq": operator.eq,
}

_NEEDING_A_VALUE: Final = frozenset(_ORDER) | {
    *("$ne", "$in", "$nin", "$beginsWith", "$regex", "$mod", "$size", "$type", "$all", "$elemMatch", "$allMatch")
}
"""The operators that no document meets which lacks the field. ``$or`` or ``$not`` of a field may be met by one."""


def implies(selector: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return True if each document that matches ``selector`` certainly matches ``other``."""
    given = list(_conditions(selector))
    return all(any(_follows(wanted, each) for each in given) for wanted in _conditions(other))


def _conditions(selector: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield the conditions that must all hold, each as a path, an operator and an operand.

    What is no such condition, as an ``$or``, is yielded as a whole.
    """
    for name, condition in selector.items():
        if name == "$and":
            for each in condition:
                yield from _conditions(each)
        elif name.startswith("$"):
            yield "", name, condition
        elif isinstance(condition, Mapping) and condition and all(str(key).startswith("$") for key in condition):
            for each, operand in condition.items():
                yield name, each, operand
        elif isinstance(condition, Mapping):
            yield name, "", condition
        else:
            yield name, "$eq", condition


def _follows(wanted: tuple[str, str, Any], given: tuple[str, str, Any]) -> bool:
    path, comparison, operand = wanted
    if path != given[0]:
        return False
    if comparison == given[1] and _is_identical(operand, given[2]):
        return True
    if wanted[1:] == ("$exists", True):
        return given[1] in _NEEDING_A_VALUE
    if given[1] == "$eq" and comparison == "$in":
        # CouchDB compares each element of a list with those of $in, and not the list.
        return not isinstance(given[2], list) and any(_is_identical(each, given[2]) for each in operand)
    if given[1] == "$eq" and comparison == "$ne":
        return _is_different(operand, given[2])
    return _is_narrower(given[1], given[2], comparison, operand)


def _is_identical(one: Any, other: Any) -> bool:
    # 1 and 1.0 are two texts, although CouchDB takes them for equal. A wrong no costs an index, a wrong yes loses
    # documents.
    return encode(one) == encode(other)


def _is_different(one: Any, other: Any) -> bool:
    """Return True if two values certainly differ for CouchDB."""
    if _is_number(one) and _is_number(other):
        return bool(one != other)
    if type(one) is not type(other):
        return True
    if isinstance(one, str):  # texts of other characters may be equal: by a combining accent, or one of no width
        return one != other and all(text.isascii() and text.isprintable() for text in (one, other))
    return isinstance(one, bool) and one is not other


def _is_narrower(one: str, low: Any, other: str, bound: Any) -> bool:
    """Return True if a number that meets the comparison ``one`` with ``low`` meets ``other`` with ``bound``."""
    if one not in _ORDER or other not in _ORDER or not (_is_number(low) and _is_number(bound)):
        return False
    if one == "$eq":
        return _ORDER[other](low, bound)
    # ``$gt`` and ``$gte`` begin alike, and so do ``$lt`` and ``$lte``.
    if one[:3] != other[:3]:
        return False
    # x > 5 implies x > 5 and x >= 5; x >= 5 implies x >= 5, and x > 4.
    is_strict = other in ("$gt", "$lt") and one in ("$gte", "$lte")
    return _ORDER[other if is_strict else f"{one[:3]}e"](low, bound)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
