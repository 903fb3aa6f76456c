"""Sums, means and extremes of the values of a field, added one by one."""

from typing import Any

__all__ = ["Average", "Largest", "Smallest", "Sum"]


class Sum:
    """The sum of values; 0 of none."""

    def __init__(self) -> None:
        self._total: Any = 0

    def add(self, value: Any) -> None:
        """Add a value."""
        self._total += value

    def result(self) -> Any:
        """Return the sum."""
        return self._total


class Average:
    """The mean of values; None of none."""

    def __init__(self) -> None:
        self._total: Any = 0
        self._count = 0

    def add(self, value: Any) -> None:
        """Add a value."""
        self._total += value
        self._count += 1

    def result(self) -> Any:
        """Return the mean."""
        return self._total / self._count if self._count else None


class Smallest:
    """The smallest of values; None of none."""

    def __init__(self) -> None:
        self._found: Any = None

    def add(self, value: Any) -> None:
        """Add a value."""
        if self._found is None or value < self._found:
            self._found = value

    def result(self) -> Any:
        """Return the smallest value."""
        return self._found


class Largest:
    """The largest of values; None of none."""

    def __init__(self) -> None:
        self._found: Any = None

    def add(self, value: Any) -> None:
        """Add a value."""
        if self._found is None or value > self._found:
            self._found = value

    def result(self) -> Any:
        """Return the largest value."""
        return self._found
