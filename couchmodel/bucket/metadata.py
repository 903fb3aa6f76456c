"""The metadata of files: a dictionary, or a model of pydantic."""

from collections.abc import Mapping
from typing import Any, Generic

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypeVar

from couchmodel.errors import DocumentError

__all__ = ["M", "Metadata"]

M = TypeVar("M", default=dict[str, Any])


class Metadata(Generic[M]):
    """The conversion of the metadata of files. Without ``model``, they are JSON as it is stored."""

    def __init__(self, model: Any = None) -> None:
        self._model: TypeAdapter[M] | None = None if model is None else TypeAdapter(model)
        self._name = getattr(model, "__name__", str(model))

    def dump(self, value: Any) -> Any:
        """Return metadata as JSON.

        Raises DocumentError if they do not fit the model; TypeError if there is no model and they are no mapping.
        """
        if value is None:
            return value
        if self._model is None:
            if not isinstance(value, Mapping):
                raise TypeError(f"metadata are a dictionary, not {type(value).__name__}")
            return value
        try:
            # A value of the model may have been changed since it was validated.
            checked = self._model.validate_python(value)
        except ValidationError as error:
            raise self._misfit("the metadata do not fit", None, error) from error
        return self._model.dump_python(checked, mode="json", by_alias=True)

    def load(self, value: Any, file_id: str) -> M | None:
        """Return the metadata of a stored file. Raises DocumentError if they do not fit the model."""
        if self._model is None or value is None:
            loaded: M | None = value
            return loaded
        try:
            return self._model.validate_python(value)
        except ValidationError as error:
            raise self._misfit(f"the metadata of the file {file_id!r} do not fit", file_id, error) from error

    def _misfit(self, said: str, file_id: str | None, error: ValidationError) -> DocumentError:
        details: list[dict[str, Any]] = [dict(each) for each in error.errors()]
        return DocumentError(f"{said} {self._name}: {error}", model=self._name, document_id=file_id, errors=details)
