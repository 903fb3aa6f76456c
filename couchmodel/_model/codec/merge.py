"""What becomes of a stored document when a model that knows only part of it has changed.

``before`` is what the model made of the stored document, ``after`` what it says now; both are JSON values, and both
know less than what is stored.
"""

from typing import Any

from couchmodel._wire.equality import same

__all__ = ["apply_changes"]


def apply_changes(stored: Any, before: Any, after: Any) -> Any:
    """What was stored, with the changes that lead from ``before`` to ``after``."""
    if same(before, after):
        return stored
    if isinstance(stored, dict) and isinstance(before, dict) and isinstance(after, dict):
        kept = {name: value for name, value in stored.items() if name in after or name not in before}
        return kept | {name: _member(name, stored, before, value) for name, value in after.items()}
    if isinstance(stored, list) and isinstance(before, list) and isinstance(after, list) and len(stored) == len(before):
        return _elements(stored, before, after)
    return after


def _member(name: str, stored: dict[str, Any], before: dict[str, Any], value: Any) -> Any:
    return apply_changes(stored[name], before[name], value) if name in stored and name in before else value


def _elements(stored: list[Any], before: list[Any], after: list[Any]) -> list[Any]:
    """The elements of a list.

    One that is as it was is taken from where it stood, each once. In a list of the same length, one that was edited
    stood where it stands if nothing else came from there. Where else it may have stood nobody knows, so it is new.
    """
    origins = _origins(before, after)
    if len(before) == len(after):
        taken = set(origins)
        origins = [n if origin is None and n not in taken else origin for n, origin in enumerate(origins)]
    return [
        value if origin is None else apply_changes(stored[origin], before[origin], value)
        for origin, value in zip(origins, after, strict=True)
    ]


def _origins(before: list[Any], after: list[Any]) -> list[int | None]:
    """For each element, where the same one stood: at its own place if it can be, else at the first that is left."""
    origins: list[int | None] = [
        n if n < len(before) and same(before[n], value) else None for n, value in enumerate(after)
    ]
    left = [n for n in range(len(before)) if n not in origins]
    for n, value in enumerate(after):
        if origins[n] is None and (places := [place for place in left if same(before[place], value)]):
            origins[n] = places[0]
            left.remove(places[0])
    return origins
