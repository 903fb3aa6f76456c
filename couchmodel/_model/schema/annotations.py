"""Questions about the annotations of fields: what they contain, and by which names their members are stored."""

import collections
import collections.abc
import dataclasses
import inspect
import types
from collections.abc import Mapping
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, RootModel
from pydantic._internal._typing_extra import safe_get_annotations
from pydantic.fields import FieldInfo

from couchmodel._model.schema.field_options import storage_options

__all__ = ["bare_type", "class_annotation", "complete", "element_type", "fields_of", "is_attachment", "stored_name"]

_SEQUENCES: Final = (
    list,
    set,
    frozenset,
    tuple,
    collections.deque,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Set,
    collections.abc.MutableSet,
    collections.abc.Collection,
    collections.abc.Iterable,
)


def bare_type(annotation: Any) -> Any:
    """Return the type without its metadata, without ``| None``, and behind aliases and root models."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return bare_type(get_args(annotation)[0])
    if hasattr(annotation, "__value__"):  # a TypeAliasType, of typing or of typing_extensions
        return bare_type(annotation.__value__)
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not types.NoneType]
        return bare_type(kinds[0]) if len(kinds) == 1 else annotation
    if isinstance(annotation, type) and issubclass(annotation, RootModel):
        return bare_type(annotation.__pydantic_fields__["root"].annotation)
    return annotation


def element_type(annotation: Any) -> Any:
    """Return the type of the elements of a list, set or tuple; None if the type is not one of them."""
    kind = bare_type(annotation)
    origin = get_origin(kind) or kind
    if origin not in _SEQUENCES:
        return None
    arguments = [each for each in get_args(kind) if each is not ...]
    return arguments[0] if len(set(map(str, arguments))) == 1 else Any


def fields_of(kind: Any) -> Mapping[str, FieldInfo] | None:
    """Return the fields of a pydantic model or dataclass; None for any other type."""
    if not isinstance(kind, type):
        return None
    if issubclass(kind, BaseModel):
        complete(kind)
        return kind.__pydantic_fields__
    found: Mapping[str, FieldInfo] | None = getattr(kind, "__pydantic_fields__", None)
    if found is None and dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        return {each.name: FieldInfo(annotation=hints[each.name]) for each in dataclasses.fields(kind)}
    return found


def is_attachment(annotation: Any) -> bool:
    """Return True for the type of an attachment field."""
    return hasattr(bare_type(annotation), "__declared_by__")


def class_annotation(owner: type, name: str) -> Any:
    """Return the annotation of a class attribute in the class that declares it; None if there is none.

    It is a text if the module has ``from __future__ import annotations``.
    """
    for base in owner.__mro__:
        found: Any = safe_get_annotations(base).get(name)
        if found is not None:
            return found
    return None


def complete(model: type[BaseModel]) -> None:
    """Resolve the forward references of a model, if the names that they refer to are defined by now."""
    if not model.__pydantic_complete__:
        model.model_rebuild(raise_errors=False, _types_namespace=_local_names())


def stored_name(name: str, info: FieldInfo) -> str:
    """Return the name of a field's member in the stored document."""
    return storage_options(info).stored_as or info.serialization_alias or info.alias or name


def _local_names() -> dict[str, Any]:
    """Return the names that are visible to the user's code that led here."""
    frame = inspect.currentframe()
    while (
        frame is not None and frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("couchmodel.")
    ):
        frame = frame.f_back
    return {} if frame is None else {**frame.f_globals, **frame.f_locals}
