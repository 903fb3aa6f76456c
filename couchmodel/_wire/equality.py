"""When JSON values are equal."""

from typing import Any

__all__ = ["same"]


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same to a reader: to Python, ``1`` and ``True`` and ``1.0`` are."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[name]) for name, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
