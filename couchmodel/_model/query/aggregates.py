"""Sums, means and extremes of the values of a field, added one by one."""

from collections.abc import Set as AbstractSet
from datetime import timedelta
from decimal import Decimal
from typing import Any

__all__ = ["Average", "Largest", "Smallest", "Sum"]


class Sum:
    """The sum of the values, or 0 if there are none."""

    def __init__(self) -> None:
        self._total: Any = None

    def add(self, value: Any) -> None:
        """Add a value. Raises TypeError for what is no number and no duration."""
        _check_number(value)
        # Not from 0 on, to which no duration can be added.
        self._total = value if self._total is None else self._total + value

    def result(self) -> Any:
        """Return the sum."""
        return 0 if self._total is None else self._total


class Average:
    """The mean of the values, or None if there are none."""

    def __init__(self) -> None:
        self._sum = Sum()
        self._count = 0

    def add(self, value: Any) -> None:
        """Add a value. Raises TypeError for what is no number and no duration."""
        self._sum.add(value)
        self._count += 1

    def result(self) -> Any:
        """Return the mean."""
        return self._sum.result() / self._count if self._count else None


class Smallest:
    """The smallest of the values, or None if there are none."""

    def __init__(self) -> None:
        self._found: Any = None

    def add(self, value: Any) -> None:
        """Add a value. Raises TypeError for one that has no order."""
        _check_ordered(value)
        if self._found is None or value < self._found:
            self._found = value

    def result(self) -> Any:
        """Return the smallest value."""
        return self._found


class Largest:
    """The largest of the values, or None if there are none."""

    def __init__(self) -> None:
        self._found: Any = None

    def add(self, value: Any) -> None:
        """Add a value. Raises TypeError for one that has no order."""
        _check_ordered(value)
        if self._found is None or value > self._found:
            self._found = value

    def result(self) -> Any:
        """Return the largest value."""
        return self._found


def _check_number(value: Any) -> None:
    if not isinstance(value, (int, float, Decimal, timedelta)):
        raise TypeError("it is no number")


def _check_ordered(value: Any) -> None:
    if isinstance(value, AbstractSet):  # < tells a part of a set, which is no order
        raise TypeError("sets have no order")
