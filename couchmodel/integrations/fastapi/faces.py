"""The faces of a model as types of FastAPI's functions. To a type checker, each is the model itself."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

from fastapi import Body
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticSerializationError, core_schema, to_json

from couchmodel._model.model import CouchModel
from couchmodel.errors import ConfigurationError
from couchmodel.integrations._core.faces import face_of
from couchmodel.integrations._core.members import decode_input, read_create, read_patch
from couchmodel.integrations._core.problems import ProblemError
from couchmodel.integrations._core.shown.documents import show

__all__ = ["Create", "Patch", "Read", "ReplaceSchema", "require_model"]

M = TypeVar("M", bound=CouchModel)


class _CreateSchema:
    """How pydantic reads a new document from JSON input."""

    def __init__(self, model: type[CouchModel]) -> None:
        self._model = model

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        face = handler.generate_schema(face_of(self._model, "create"))
        # The face gives its schema only. ``_read`` asks the model, and not the validator of the face.
        return core_schema.no_info_wrap_validator_function(self._read, face)

    def _read(self, value: Any, handler: Any) -> CouchModel:
        _check_json(value)
        return read_create(self._model, value)


class _ReadSchema:
    """How pydantic writes a document for clients."""

    def __init__(self, model: type[CouchModel]) -> None:
        self._model = model

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        face = handler.generate_schema(face_of(self._model, "read"))
        # A document that is returned was validated by its model, so it is not validated again.
        return core_schema.no_info_wrap_validator_function(
            self._check, face, serialization=core_schema.plain_serializer_function_ser_schema(show)
        )

    def _check(self, value: Any, handler: Any) -> CouchModel:
        if not isinstance(value, self._model):
            raise ValueError(f"this is no {self._model.__name__}: {value!r}")  # noqa: TRY004 - pydantic reports ValueError
        return value


class Patch(Mapping[str, Any], Generic[M]):
    """What a client wants changed: ``await recipe.update(patch)`` checks and saves it.

    It is a JSON merge patch, as a mapping of the members that the client sent.
    """

    def __init__(self, members: Mapping[str, Any]) -> None:
        self._members = members

    def __getitem__(self, name: str) -> Any:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __repr__(self) -> str:
        return f"<Patch of {', '.join(self) or 'nothing'}>"

    if not TYPE_CHECKING:

        def __class_getitem__(cls, model: Any) -> Any:
            if not isinstance(model, type) or not issubclass(model, CouchModel):
                return super().__class_getitem__(model)
            return Annotated[cls, _PatchSchema(model), Body()]


class _PatchSchema:
    """How pydantic reads a patch from JSON input."""

    def __init__(self, model: type[CouchModel]) -> None:
        self._model = model

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        face = handler.generate_schema(face_of(self._model, "patch"))
        return core_schema.no_info_wrap_validator_function(self._read, face)

    def _read(self, value: Any, handler: Any) -> Patch[Any]:
        _check_json(value)
        return Patch(read_patch(self._model, value))


class ReplaceSchema(_CreateSchema):
    """How pydantic reads what replaces a document. It is checked when that document is known."""

    def _read(self, value: Any, handler: Any) -> Any:
        _refuse_bytes(value)
        return value


def _refuse_bytes(value: Any) -> None:
    """Raise ProblemError 415 for a body that FastAPI has not read as JSON, because of its media type."""
    if isinstance(value, bytes):
        raise ProblemError(415, "The body has to be application/json.")


def _check_json(value: Any) -> None:
    """Raise ProblemError 400 for a body that Python's parser takes and that cannot be stored.

    A route that is no :class:`ProblemRoute` has read it: such JSON may have texts that are no Unicode, and any depth.
    """
    _refuse_bytes(value)
    try:
        decode_input(to_json(value, inf_nan_mode="strings"))
    except PydanticSerializationError:
        raise ProblemError(400, "The body is nested too deeply, or has a text that is no Unicode.") from None


if TYPE_CHECKING:
    Create = Annotated[M, _CreateSchema(CouchModel)]
    """A new document, as a client describes it: ``recipe: Create[Recipe]`` is a recipe that is not stored yet."""

    Read = Annotated[M, _ReadSchema(CouchModel)]
    """A document as clients see it, as the type of what a function returns: ``-> Read[Recipe]``."""
else:

    class Create:
        """A new document, as a client describes it: ``recipe: Create[Recipe]`` is a recipe that is not stored yet."""

        def __class_getitem__(cls, model: type[CouchModel]) -> Any:
            # With Body, FastAPI takes the parameter for the body. A model that it does not know as one would be a
            # parameter of the query.
            return Annotated[model, _CreateSchema(require_model(model)), Body()]

    class Read:
        """A document as clients see it, as the type of what a function returns: ``-> Read[Recipe]``."""

        def __class_getitem__(cls, model: type[CouchModel]) -> Any:
            return Annotated[model, _ReadSchema(require_model(model))]


def require_model(model: Any) -> type[CouchModel]:
    """Return a model. Raises ConfigurationError for anything else."""
    if not isinstance(model, type) or not issubclass(model, CouchModel):
        raise ConfigurationError(f"a face is one of a model, as Create[Recipe], and {model!r} is none")
    return model
