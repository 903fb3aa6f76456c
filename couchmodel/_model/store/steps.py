"""The steps of a plan."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

__all__ = ["Step"]


class Step(NamedTuple):
    """A change of a database: a sentence, and the function that makes the change."""

    description: str
    run: Callable[[], Awaitable[object]]
