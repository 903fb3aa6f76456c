"""Equality of JSON values."""

from typing import Any

__all__ = ["json_equal"]


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
