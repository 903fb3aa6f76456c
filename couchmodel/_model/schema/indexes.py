"""The indexes of a model: those that its class declares, and one for each field of ``index=True``."""

from typing import Any, NamedTuple

from couchmodel._model.schema.annotations import fields_of, stored_name
from couchmodel._model.schema.expressions.paths import UnknownPathError, stored_path
from couchmodel._model.schema.expressions.places import mango_path
from couchmodel._model.schema.field_options import storage_options
from couchmodel.errors import ConfigurationError

__all__ = ["IndexedFields", "always_stored_paths", "indexes_of"]


class IndexedFields(NamedTuple):
    """An index of a model: its name, the paths of its fields in the stored document, and its ``where``."""

    name: str
    paths: tuple[str, ...]
    where: Any = None


def indexes_of(model: Any) -> list[IndexedFields]:
    """Return the indexes of a model. A path is in Mango's notation.

    Raises ConfigurationError if an index names a field that the model does not have.
    """
    found = []
    for index in model.__declared__.indexes:
        try:
            paths = tuple(mango_path(stored_path(model, field)) for field in index.fields)
        except UnknownPathError as error:
            raise ConfigurationError(f"{model.__name__}: {index} is on an unknown field: {error}") from None
        found.append(IndexedFields(index.name, paths, index.where))
    for name, info in model.__pydantic_fields__.items():
        paths = (mango_path((stored_name(name, info),)),)
        if storage_options(info).index and not any(each.paths == paths and each.where is None for each in found):
            found.append(IndexedFields(stored_name(name, info), paths))
    return found


def always_stored_paths(model: Any) -> set[str]:
    """Return the paths that each document has which the model stores: of its fields, and of fields of embedded models.

    An embedded model that may be None, or is one of several types, has no fields at times.
    """
    return {mango_path(names) for names in _stored_names(model, (), frozenset())}


def _stored_names(model: Any, prefix: tuple[str, ...], above: frozenset[type]) -> set[tuple[str, ...]]:
    found = set()
    for name, info in (fields_of(model) or {}).items():
        if name in ("id", "rev") and not prefix:
            continue
        names = (*prefix, stored_name(name, info))
        found.add(names)
        inner: Any = info.annotation
        if isinstance(inner, type) and fields_of(inner) is not None and inner not in above:
            found |= _stored_names(inner, names, above | {inner})
    return found
