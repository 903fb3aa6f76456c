"""Suggestions for misspelt names."""

from collections.abc import Iterable

__all__ = ["nearest"]


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ``": did you mean 'rating'?"`` for the name most like ``name``, or an empty text if none is like it."""
    import difflib  # noqa: PLC0415 - wanted for errors only

    found = difflib.get_close_matches(name, list(names), n=1)
    return f": did you mean {found[0]!r}?" if found else ""
