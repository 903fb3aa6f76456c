"""Questions about the annotations of fields: what they contain, and by which names their members are stored."""

import collections
import collections.abc
import dataclasses
import inspect
import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, NotRequired, Required, Union, get_args, get_origin

from pydantic import AliasChoices, AliasPath, BaseModel, RootModel
from pydantic._internal._typing_extra import safe_get_annotations
from pydantic.fields import FieldInfo
from typing_extensions import ReadOnly, get_type_hints, is_typeddict

from couchmodel._model.schema.field_options import storage_options

__all__ = [
    "bare_type",
    "class_annotation",
    "complete",
    "element_type",
    "fields_of",
    "holds_several",
    "input_names",
    "is_attachment",
    "stored_name",
]

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


def element_type(annotation: Any, place: int | None = None) -> Any:
    """Return the type of the elements of a list, set or tuple, or of the element at a place of it.

    The result is None if the type is not one of them.
    """
    kind = bare_type(annotation)
    origin = get_origin(kind) or kind
    if origin not in _SEQUENCES:
        return None
    arguments = [each for each in get_args(kind) if each is not ...]
    if place is not None and origin is tuple and len(arguments) == len(get_args(kind)):
        return arguments[place] if -1 < place < len(arguments) else Any
    # By their text, since not all types can be compared or hashed.
    return arguments[0] if len(set(map(str, arguments))) == 1 else Any


def fields_of(kind: Any) -> Mapping[str, FieldInfo] | None:
    """Return the fields of a model, a dataclass or a typed dictionary, or of all models of a union.

    The result is None for any other type.
    """
    if get_origin(kind) in (Union, types.UnionType):
        return _fields_of_union(kind)
    if not isinstance(kind, type):
        return None
    if is_typeddict(kind):
        return {
            name: FieldInfo(annotation=_required(hint)) for name, hint in get_type_hints(kind, None, None, True).items()
        }
    if issubclass(kind, BaseModel):
        complete(kind)
        return kind.__pydantic_fields__
    found: Mapping[str, FieldInfo] | None = getattr(kind, "__pydantic_fields__", None)
    if found is None and dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind, include_extras=True)
        return {each.name: FieldInfo(annotation=hints[each.name]) for each in dataclasses.fields(kind)}
    return found


def _fields_of_union(union: Any) -> Mapping[str, FieldInfo] | None:
    """Return the fields of the models of a union. A field of several of them has the types of all."""
    members = [found for each in get_args(union) if (found := fields_of(bare_type(each))) is not None]
    if not members:
        return None
    fields: dict[str, FieldInfo] = {}
    for found in members:
        for name, info in found.items():
            first = fields.setdefault(name, info)
            if first.annotation != info.annotation and stored_name(name, first) == stored_name(name, info):
                both: Any = Union[first.annotation, info.annotation]  # noqa: UP007 - made when the program runs
                # Of different stored names there is no common one: then the first model's counts.
                fields[name] = FieldInfo(annotation=both, serialization_alias=stored_name(name, info))
    return fields


def _required(hint: Any) -> Any:
    """Return the type of a member of a typed dictionary, without ``Required``, ``NotRequired`` and ``ReadOnly``."""
    return _required(get_args(hint)[0]) if get_origin(hint) in (Required, NotRequired, ReadOnly) else hint


def is_attachment(annotation: Any) -> bool:
    """Return True for the type of an attachment field."""
    kind = bare_type(annotation)
    return hasattr(get_origin(kind) or kind, "__holds_several__")


def holds_several(annotation: Any) -> bool:
    """Return True for the type of a field that has several attachments."""
    kind = bare_type(annotation)
    return bool(getattr(get_origin(kind) or kind, "__holds_several__", False))


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
        # A class that is not defined yet is tried again at the next use.
        model.model_rebuild(raise_errors=False, _types_namespace=_local_names())


def stored_name(name: str, info: FieldInfo) -> str:
    """Return the name of a field's member in the stored document."""
    return storage_options(info).stored_as or info.serialization_alias or info.alias or name


def input_names(name: str, info: FieldInfo, *, by_name: bool = False) -> Iterator[str]:
    """Yield the names of the members that a field is read from; ``by_name`` is True if an alias adds to its name."""
    alias = info.validation_alias or info.alias
    if alias is None or by_name:
        yield name
    for each in alias.choices if isinstance(alias, AliasChoices) else [alias]:
        if isinstance(each, str):
            yield each
        elif isinstance(each, AliasPath) and len(each.path) == 1:
            yield str(each.path[0])


def _local_names() -> dict[str, Any]:
    """Return the names that are visible to the user's code that led here."""
    frame = inspect.currentframe()
    while (
        # As pydantic does, but past our own metaclass: its frame knows none of the user's names.
        frame is not None and frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("couchmodel.")
    ):
        frame = frame.f_back
    return {} if frame is None else {**frame.f_globals, **frame.f_locals}
