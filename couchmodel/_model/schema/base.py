"""The base class of models: a pydantic model with an id and a revision, whose class attributes are field expressions.

It knows no database, so a model can be built, validated and dumped anywhere. The state of a document is in slots, which
cost a load nothing. There is no ``__init__``, no private attribute and no validator here, because each would make
loading slower.
"""

import os
import time
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, dataclass_transform

from pydantic import AliasChoices, BaseModel, Field, GetJsonSchemaHandler, PrivateAttr
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from couchmodel._model.schema import state
from couchmodel._model.schema.expressions import FieldExpression, field_of
from couchmodel._model.schema.fields import AttachmentField, attachment, building_class
from couchmodel.errors import ConfigurationError

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)

__all__ = ["DocumentModel", "ModelMeta", "new_id"]

_MODEL_MODULE: Final = "couchmodel._model.model"
"""The module of CouchModel, whose methods a field must not hide."""

_STORED_FIELDS: Final[dict[str, FieldExpression[str]]] = {
    "id": FieldExpression(("_id",), str),
    "rev": FieldExpression(("_rev",), str),
}


def new_id() -> str:
    """Return a unique document id: a UUID of version 7 as 32 hexadecimal digits, which sorts by time.

    The time is encoded as in RFC 9562, section 6.2, method 3: milliseconds, and 12 bits for fractions of one. Ids that
    sort by time keep CouchDB's B-trees compact, and an id made by the client makes a repeated write detectable.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    high = milliseconds << 16 | 0x7000 | (nanoseconds << 12) // 1_000_000
    noise = int.from_bytes(os.urandom(8), "big")
    return f"{high:016x}{0x8000_0000_0000_0000 | noise & 0x3FFF_FFFF_FFFF_FFFF:016x}"


@dataclass_transform(kw_only_default=True, field_specifiers=(Field, PrivateAttr, attachment))
class ModelMeta(ModelMetaclass):
    """The metaclass of models. It returns a field expression for ``Recipe.rating``.

    pydantic removes the class attribute of a field, so ``__getattr__`` is called for it.
    """

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
        attachments = {key: value for key, value in namespace.items() if isinstance(value, AttachmentField)}
        fields = {key: value.declare(key) for key, value in attachments.items()}
        token = building_class.set(True)
        try:
            model = super().__new__(cls, name, bases, {**namespace, **fields}, **options)
        finally:
            building_class.reset(token)
        for key, field in attachments.items():
            type.__setattr__(model, key, field)
        type.__setattr__(model, "__storing__", None)
        _check_class(model, bases)
        return model

    if not TYPE_CHECKING:

        def __getattr__(cls, name: str) -> Any:
            if not name.startswith("_") and not building_class.get():
                fields = cls.__dict__.get("__pydantic_fields__", ())
                if name in fields:
                    return _STORED_FIELDS[name] if name in _STORED_FIELDS else field_of(cls, name)
            return super().__getattr__(name)


def _check_class(model: Any, bases: tuple[type, ...]) -> None:
    """Raise ConfigurationError for declarations that would fail later; restore the aliases of ``id`` and ``rev``."""
    if model.model_config.get("validate_by_alias") is False:
        raise ConfigurationError(f"{model.__name__} sets validate_by_alias=False, so CouchDB's _id would not be read")
    for name, info in model.__pydantic_fields__.items():
        if any(name in vars(base) for kind in bases for base in kind.__mro__ if base.__module__ == _MODEL_MODULE):
            hint = f'{name}_: … = Field(alias="{name}")'
            raise ConfigurationError(f"{model.__name__}.{name} would hide the method {name}(): write `{hint}`")
        kind = info.annotation
        if isinstance(info.default, AttachmentField) or (
            getattr(kind, "__declared_by__", None) is AttachmentField
            and not any(isinstance(vars(base).get(name), AttachmentField) for base in model.__mro__)
        ):
            raise ConfigurationError(
                f"{model.__name__}.{name} is declared as `{name}: Attachment = attachment()`"
                f" in the body of {model.__name__} or of another CouchModel, not elsewhere"
            )
    _restore_aliases(model)


def _restore_aliases(model: Any) -> None:
    """Let ``_id`` and ``_rev`` be read even if a subclass declares ``id`` anew, for example with its own default."""
    changed = False
    for name in ("id", "rev"):
        info = model.__pydantic_fields__.get(name)
        if info is not None and info.validation_alias != AliasChoices(f"_{name}", name):
            info.validation_alias, info.serialization_alias = AliasChoices(f"_{name}", name), None
            info.alias_priority = 2
            changed = True
    if changed and model.__pydantic_complete__:
        token = building_class.set(True)
        try:
            model.model_rebuild(force=True)
        finally:
            building_class.reset(token)


class DocumentModel(BaseModel, metaclass=ModelMeta):
    """A document: its ``id``, the ``rev`` that it is stored as, and the fields that a subclass declares."""

    __slots__ = state.SLOTS

    if TYPE_CHECKING:
        __storing__: ClassVar[Any]
        """The serializers of this class for storage, once they are made: a ``Writer`` of ``codec.serializers``."""

    if TYPE_CHECKING:
        # Type checkers are to see optional fields, without the aliases.
        id: str = ""
        rev: str | None = None
    else:
        id: str = Field(default_factory=new_id, validation_alias=AliasChoices("_id", "id"))
        rev: str | None = Field(default=None, validation_alias=AliasChoices("_rev", "rev"))

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        # `_id` and `_rev` are the names in the store. The schema of an API has the names of the model.
        found = handler.resolve_ref_schema(handler(schema))
        properties = found.get("properties", {})
        for stored, name in (("_id", "id"), ("_rev", "rev")):
            if stored in properties:
                found["properties"] = properties = {
                    name if key == stored else key: value for key, value in properties.items()
                }
        return found

    def __copy__(self) -> Self:
        return state.copy_state(self, super().__copy__())

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return state.copy_state(self, super().__deepcopy__(memo))

    def __getstate__(self) -> dict[Any, Any]:
        return {**super().__getstate__(), "__stored__": state.stored_body(self)}

    def __setstate__(self, values: dict[Any, Any]) -> None:
        state.set_stored_body(self, values.pop("__stored__", None))
        super().__setstate__(values)
