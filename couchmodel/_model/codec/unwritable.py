"""The search for the value of a document that cannot be written as JSON. It runs only to name the value in an error."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic_core import to_json

from couchmodel._model.codec.forms import reason_of, write_field

__all__ = ["Unwritable", "find_unwritable"]


class Unwritable(NamedTuple):
    """A value that has no JSON: its path in the document, and why."""

    path: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        return f"{'.'.join(self.path)}: {self.reason}"


def find_unwritable(value: Any, path: tuple[str, ...] = ()) -> Unwritable | None:
    """Return the innermost value that cannot be written, or None if ``value`` can."""
    if isinstance(value, BaseModel):
        return _find_in_model(value, path)
    if isinstance(value, Mapping):
        members: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, (Sequence, AbstractSet)) and not isinstance(value, (str, bytes)):
        members = enumerate(value)
    else:
        reason = _reason(lambda: value)
        return Unwritable(path, reason) if reason else None
    return next((found for name, each in members if (found := find_unwritable(each, (*path, str(name))))), None)


def _find_in_model(value: BaseModel, path: tuple[str, ...]) -> Unwritable | None:
    model = type(value)
    for name in model.__pydantic_fields__:
        member = value.__dict__.get(name)
        # Asked first, as a field may have a serializer for what cannot be written by itself.
        reason = _reason(partial(write_field, model, name, member))
        if reason:
            return find_unwritable(member, (*path, name)) or Unwritable((*path, name), reason)
    return find_unwritable(value.__pydantic_extra__ or {}, path)


def _reason(write: Callable[[], Any]) -> str:
    """Return why a value cannot be written; an empty text if it can."""
    try:
        to_json(write(), bytes_mode="hex", inf_nan_mode="constants")
    except ValueError as error:
        return reason_of(error)
    return ""
