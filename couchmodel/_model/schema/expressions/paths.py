"""Paths of fields, as users write them: ``"author.name"``."""

from typing import Any

from couchmodel._model.schema.annotations import bare_type, element_type, fields_of, stored_name
from couchmodel._model.schema.suggestions import nearest

__all__ = ["UnknownPathError", "stored_path"]

_TOP = {"id": "_id", "rev": "_rev"}


class UnknownPathError(Exception):
    """A path names no field. The message says which part of the path, and the nearest field."""


def stored_path(model: Any, path: str) -> tuple[str, ...]:
    """Return the names of a path in the stored document.

    Each part is the name of a field, or the name by which it is stored. Behind a field whose members are not known,
    such as a dictionary, every name is taken. Raises UnknownPathError if a part is neither.
    """
    first, *rest = path.split(".")
    if first in _TOP.values() or (first == model.__declared__.type_field and model.__declared__.type is not None):
        return (first, *rest)
    if first in _TOP and not rest:
        return (_TOP[first],)
    return _resolve(model, path.split("."), model.__name__)


def _resolve(kind: Any, parts: list[str], where: str) -> tuple[str, ...]:
    fields = fields_of(kind)
    if fields is None:
        return tuple(parts)
    first, *rest = parts
    by_stored_name = {stored_name(name, info): name for name, info in fields.items()}
    # One field may be stored under the name of another one, so the names of fields come first.
    name = first if first in fields else by_stored_name.get(first)
    if name is None:
        raise UnknownPathError(f"{where} has no field {first!r}{nearest(first, [*fields, *by_stored_name])}")
    info = fields[name]
    stored = stored_name(name, info)
    if not rest:
        return (stored,)
    inner = bare_type(info.annotation)
    # Behind a list, the path may have the index of an element, which is no name of a field.
    if element_type(inner) is not None:
        return (stored, *rest)
    if inner in (str, int, float, bool):
        raise UnknownPathError(f"{where}.{name} is a {inner.__name__}, which has no members")
    return (stored, *_resolve(inner, rest, f"{where}.{name}"))
