"""Merging the changes of a model into the stored document, of which the model may know only a part.

``before`` is the stored document as the model wrote it when it was loaded, ``after`` is the model now. Both are JSON
values, and both may lack members of ``stored``.

* What is equal in ``before`` and ``after`` is taken from ``stored``, in whatever form it is written there.
* A member that neither of the two has is kept. One that only ``before`` has is removed, one that only ``after`` has is
  set.
* A list is merged element by element if the model knows as many elements as are stored. Else it is replaced.
"""

from typing import Any

from couchmodel._wire.equality import json_equal

__all__ = ["apply_changes", "overlay"]


def apply_changes(stored: Any, before: Any, after: Any) -> Any:
    """Return ``stored`` with the changes that lead from ``before`` to ``after``."""
    if json_equal(before, after):
        return stored
    if isinstance(stored, dict) and isinstance(before, dict) and isinstance(after, dict):
        kept = {name: value for name, value in stored.items() if name in after or name not in before}
        return kept | {name: _merge_member(name, stored, before, value) for name, value in after.items()}
    if isinstance(stored, list) and isinstance(before, list) and isinstance(after, list) and len(stored) == len(before):
        return _merge_list(stored, before, after)
    return after


def overlay(stored: Any, written: Any) -> Any:
    """Return ``written`` with the members of ``stored`` that it lacks, at any depth."""
    if isinstance(stored, dict) and isinstance(written, dict):
        return stored | {
            name: overlay(stored[name], each) if name in stored else each for name, each in written.items()
        }
    if isinstance(stored, list) and isinstance(written, list) and len(stored) == len(written):
        return list(map(overlay, stored, written))
    return written


def _merge_member(name: str, stored: dict[str, Any], before: dict[str, Any], value: Any) -> Any:
    return apply_changes(stored[name], before[name], value) if name in stored and name in before else value


def _merge_list(stored: list[Any], before: list[Any], after: list[Any]) -> list[Any]:
    """Return the merged elements of a list.

    An element that did not change is merged with the stored element it came from; each stored element is used once. If
    the list has kept its length, an element that did change is taken to have come from its own place, unless another
    one came from there. The origin of all others is unknown, so they count as new.
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
    """Return for each element the place of the same element in ``before``, or None.

    Its own place comes first, then the first place that is left.
    """
    origins: list[int | None] = [
        n if n < len(before) and json_equal(before[n], value) else None for n, value in enumerate(after)
    ]
    left = [n for n in range(len(before)) if n not in origins]
    for n, value in enumerate(after):
        if origins[n] is None and (places := [place for place in left if json_equal(before[place], value)]):
            origins[n] = places[0]
            left.remove(places[0])
    return origins
