"""A file as it is served, whatever it is stored in."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

__all__ = ["Finder", "ServedFile"]


@dataclass(frozen=True, slots=True)
class ServedFile:
    """A file that can be served.

    ``name`` is the one under which a browser saves it. ``tag`` differs whenever the content does. ``length`` is None if
    it is not known, and then there are no ranges. ``open`` returns the bytes from a position up to another.
    """

    name: str
    content_type: str
    length: int | None
    tag: str
    open: Callable[[int, int], AsyncIterator[bytes]]
    modified: datetime | None = None


Finder: TypeAlias = Callable[[Sequence[str]], Awaitable[ServedFile | None]]
"""A function that returns the file of a path, or None. The path is given as its segments, decoded."""
