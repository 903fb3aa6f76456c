"""The kinds of a model: the model and its subclasses, by the types that mark their documents."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from couchmodel._wire.bucket_ids import OUTSIDE_BUCKETS
from couchmodel.errors import ConfigurationError
from couchmodel.types import JSONObject

if TYPE_CHECKING:
    from couchmodel._model.schema.base import DocumentModel

__all__ = ["kind_of", "kind_selector", "kinds_of", "qualified_name"]


def kinds_of(model: "type[DocumentModel]") -> Mapping[str, "type[DocumentModel]"]:
    """Return a model and its subclasses of types of their own, by type; nothing for a model without a type.

    A class that was defined again under its own name, as in a notebook, replaces the first. Raises ConfigurationError
    if two classes of different names have one type.
    """
    found: dict[str, type[DocumentModel]] = {}
    if model.__declared__.type is None:
        return found
    found[model.__declared__.type] = model
    for kind in _subclasses(model):
        declared = kind.__declared__
        # A subclass without a type of its own stores its documents as its base does.
        if declared.type is None or declared.type == _inherited_type(kind):
            continue
        before = found.get(declared.type)
        if before is not None and qualified_name(before) != qualified_name(kind):
            raise ConfigurationError(
                f"{before.__name__} and {kind.__name__} are both of the type {declared.type!r}: give one another type"
            )
        found[declared.type] = kind
    return found


def kind_of(
    model: "type[DocumentModel]", kinds: "Mapping[str, type[DocumentModel]]", stored: Mapping[str, Any]
) -> "type[DocumentModel]":
    """Return the class of a stored document by its type; the model itself if none of ``kinds`` has that type."""
    name = stored.get(model.__declared__.type_field)
    return kinds.get(name, model) if isinstance(name, str) else model


def kind_selector(model: "type[DocumentModel]", types: Iterable[str]) -> JSONObject:
    """Return the Mango selector of the documents of some types of a model; all but buckets' without a type."""
    found = list(types)
    if not found:
        return dict(OUTSIDE_BUCKETS)
    return {model.__declared__.type_field: found[0] if len(found) == 1 else {"$in": found}}


def qualified_name(model: type) -> str:
    """Return the name by which a class is known again when it is defined again."""
    return f"{model.__module__}.{model.__qualname__}"


def _subclasses(model: "type[DocumentModel]") -> "Iterator[type[DocumentModel]]":
    for kind in model.__subclasses__():
        yield kind
        yield from _subclasses(kind)


def _inherited_type(model: "type[DocumentModel]") -> str | None:
    return next((base.__declared__.type for base in model.__mro__[1:] if hasattr(base, "__declared__")), None)
