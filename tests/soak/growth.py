"""Whether a store takes more and more of the system, by the figures of every second."""

from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["check_growth"]

_SHARES = {"memory": 1.15, "handles": 1.25, "threads": 1.25, "tasks": 1.25}
"""How many times as much the least of the last third may be as the least of the first one."""

_MORE = {"memory": 32.0, "handles": 15.0, "threads": 8.0, "tasks": 15.0}
"""And how much more than that: MiB, and counts."""

_LEAST = 12  # figures without which nothing can be said


def check_growth(figures: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Give what has grown, and how.

    What is used goes up and down with what is asked for. What was lost never comes back, so the lowest figures of the
    first third of the time are held against those of the last third.
    """
    third = len(figures) // 3
    if third * 3 < _LEAST:
        return
    for name, share in _SHARES.items():
        first, last = (min(each[name] for each in part) for part in (figures[:third], figures[-third:]))
        if last > first * share + _MORE[name]:
            yield f"{name} grow", f"at least {first:.0f} in the first third, {last:.0f} in the last"
