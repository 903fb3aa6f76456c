"""The indexes of a model: those that its class declares, and one for each field of ``index=True``."""

from typing import Any

from couchmodel._model.schema.annotations import stored_name
from couchmodel._model.schema.field_options import storage_options
from couchmodel._model.schema.paths import UnknownPathError, stored_path
from couchmodel.errors import ConfigurationError

__all__ = ["indexes_of"]


def indexes_of(model: Any) -> dict[str, list[str]]:
    """Return the fields of each index by its name. A field is a path in the stored document, in Mango's notation.

    Raises ConfigurationError if an index names a field that the model does not have.
    """
    found = {}
    for index in model.__declared__.indexes:
        try:
            found[index.name] = [_mango_path(stored_path(model, field)) for field in index.fields]
        except UnknownPathError as error:
            raise ConfigurationError(f"{model.__name__}: {index} is on an unknown field: {error}") from None
    for name, info in model.__pydantic_fields__.items():
        stored = stored_name(name, info)
        if storage_options(info).index and not any(paths == [stored] for paths in found.values()):
            found[stored] = [_mango_path((stored,))]
    return found


def _mango_path(names: tuple[str, ...]) -> str:
    return ".".join(name.replace("\\", "\\\\").replace(".", "\\.") for name in names)
