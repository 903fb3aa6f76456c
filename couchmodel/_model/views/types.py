"""The types of a view: what its annotation says, and whether its fields are of these types."""

import sys
import types
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple, Union, get_args, get_origin

from pydantic._internal._model_construction import unpack_lenient_weakvaluedict
from pydantic._internal._typing_extra import try_eval_type

from couchmodel._model.schema.annotations import class_annotation
from couchmodel._model.views.fields import ViewField
from couchmodel._model.views.results import Stats
from couchmodel.errors import ConfigurationError

__all__ = ["ViewTypes", "check_types", "declared_types", "is_number"]

_REDUCED: Final[dict[str, Any]] = {"": None, "_count": int, "_stats": Stats}


class ViewTypes(NamedTuple):
    """The types of a view's keys, values and groups.

    ``key_items`` are the types of the items of a key that is a tuple; it is empty for any other key.
    """

    key: Any
    key_items: tuple[Any, ...]
    value: Any
    reduced: Any


def is_number(said: Any) -> bool:
    """Return True for the type of a number, or of one that may be None."""
    parts = [each for each in _alternatives(said) if each is not type(None)]
    return bool(parts) and all(each in (int, float, timedelta) for each in parts)


def check_types(
    model: Any, name: str, keys: list[ViewField], value: ViewField | None, reduce: str, *, is_tuple: bool
) -> ViewTypes:
    """Return the types of a view by fields. Raises ConfigurationError if its annotation says others."""
    items = tuple(field.said for field in keys)
    # A sum has no None: rows whose value is no number are left out.
    said_value = None if value is None else _without_none(value.said) if reduce in ("_sum", "_stats") else value.said
    reduced = said_value if reduce == "_sum" else _REDUCED[reduce]
    key: Any = tuple.__class_getitem__(items) if is_tuple else items[0]
    found = _annotation(model, name)
    if found is not None:
        declared = _split(found, model, name)
        agree = (
            _fits(key, declared[0])
            and _fits(said_value, declared[1], is_value=True)
            and _fits(reduced, declared[2], is_value=True)
        )
        if not agree:
            wanted = ", ".join(map(_text, (key, said_value, reduced)))
            said = ", ".join(map(_text, declared))
            raise ConfigurationError(
                f"{model.__name__}.{name} is declared as View[{said}], and its fields are of other types:"
                f" write `{name}: ClassVar[View[{wanted}]]`"
            )
    return ViewTypes(key, items if is_tuple else (), said_value, reduced)


def declared_types(model: Any, name: str) -> ViewTypes:
    """Return the types that the annotation of a view says; Any where it says none."""
    found = _annotation(model, name)
    key, value, reduced = (Any, Any, Any) if found is None else _split(found, model, name)
    items = get_args(key) if get_origin(key) is tuple and ... not in get_args(key) else ()
    return ViewTypes(key, items, value, reduced)


def _annotation(model: Any, name: str) -> Any:
    """Return ``View[…]`` of the annotation ``ClassVar[View[…]]``; None if it cannot be evaluated yet."""
    owner = next(base for base in model.__mro__ if name in vars(base))
    found: Any = class_annotation(owner, name)
    module = sys.modules.get(owner.__module__)
    # The annotation is evaluated as pydantic does it, also with the names of the function that the class is defined in.
    local = unpack_lenient_weakvaluedict(getattr(owner, "__pydantic_parent_namespace__", None)) or {}
    annotation, is_known = try_eval_type(found, vars(module) if module else {}, {**local, owner.__name__: owner})
    if not is_known:
        return None
    return get_args(annotation)[0] if get_origin(annotation) is ClassVar and get_args(annotation) else None


def _split(annotation: Any, model: Any, name: str) -> tuple[Any, Any, Any]:
    arguments = get_args(annotation)
    if len(arguments) != 3:
        raise ConfigurationError(
            f"{model.__name__}.{name}: a view says the types of its keys, its values and its groups,"
            f" as in `{name}: ClassVar[View[str, None, int]]`"
        )
    return arguments


def _fits(found: Any, declared: Any, *, is_value: bool = False) -> bool:
    """Return True if every value of a type that was found is a value of the declared one."""
    found, declared = _bare(found), _bare(declared)
    if declared is Any or declared is object or found == declared:
        return True
    if get_origin(found) is tuple and get_origin(declared) is tuple:
        ours, theirs = get_args(found), get_args(declared)
        return len(ours) == len(theirs) and all(map(_fits, ours, theirs))
    if get_origin(found) is Literal:
        return all(_fits(type(each), declared) for each in get_args(found))
    ours, theirs = _alternatives(found), _alternatives(declared)
    if len(ours) > 1 or len(theirs) > 1:
        return all(any(_fits(each, other) for other in theirs) for each in ours)
    if get_origin(found) is not None and get_origin(found) is get_origin(declared):
        return all(map(_fits, get_args(found), get_args(declared)))
    # As type checkers accept it (PEP 484).
    if found is int and declared is float:
        return True
    return isinstance(found, type) and isinstance(declared, type) and declared is str and issubclass(found, str)


def _bare(annotation: Any) -> Any:
    if annotation is None:
        return type(None)
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if hasattr(annotation, "__supertype__"):  # a NewType
        return _bare(annotation.__supertype__)
    if hasattr(annotation, "__value__"):
        return _bare(annotation.__value__)
    return annotation


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    annotation = _bare(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(map(_bare, get_args(annotation)))
    return (annotation,)


def _without_none(annotation: Any) -> Any:
    parts = [each for each in _alternatives(annotation) if each is not type(None)]
    return Union[tuple(parts)]  # noqa: UP007 - of a list


def _text(annotation: Any) -> str:
    if annotation is None or annotation is type(None):
        return "None"
    if get_origin(annotation) is Annotated:
        return _text(get_args(annotation)[0])
    if get_origin(annotation) is tuple:
        return f"tuple[{', '.join(map(_text, get_args(annotation)))}]"
    return annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
