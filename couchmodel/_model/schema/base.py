"""The base class of models: a pydantic model with an id and a revision, whose class attributes are field expressions.

It knows no database, so a model can be built, validated and dumped anywhere. The state of a document is in slots, which
cost a load nothing. There is no ``__init__``, no private attribute and no validator here, because each would make
loading slower.
"""

import inspect
import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, dataclass_transform

from pydantic import AliasChoices, BaseModel, GetJsonSchemaHandler, PrivateAttr
from pydantic._internal._model_construction import build_lenient_weakvaluedict
from pydantic._internal._typing_extra import parent_frame_namespace
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticUndefined

from couchmodel._model.schema import state
from couchmodel._model.schema.annotations import complete
from couchmodel._model.schema.attachments import AttachmentField, attachment, attachment_fields
from couchmodel._model.schema.checks import check_class
from couchmodel._model.schema.declaration import Declaration
from couchmodel._model.schema.expressions.field_expressions import FieldExpression, field_of
from couchmodel._model.schema.field_options import Field
from couchmodel._model.schema.fields import is_building_class
from couchmodel._model.schema.ids import fields_of_template, id_factory, new_id
from couchmodel._model.schema.indexes import indexes_of
from couchmodel._model.schema.links.descriptors import add_link_fields
from couchmodel._model.schema.links.link import name_links, register
from couchmodel._model.schema.suggestions import nearest
from couchmodel.errors import QueryError

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)

__all__ = ["DocumentModel", "ModelMeta"]

_STORED_FIELDS: Final[dict[str, FieldExpression[str]]] = {
    "id": FieldExpression(("_id",), str),
    "rev": FieldExpression(("_rev",), str),
}


class ComputedProperty(property):
    """The property of a computed field. On the class it raises an error: it is not stored, so no query can find it."""

    def __init__(self, name: str, wrapped: property) -> None:
        super().__init__(wrapped.fget, wrapped.fset, wrapped.fdel, wrapped.__doc__)
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        _refuse_on_class(instance, owner, self.name)
        return super().__get__(instance, owner)


class CachedComputedProperty(cached_property[Any]):
    """The same for a field that is computed once."""

    def __init__(self, name: str, wrapped: cached_property[Any]) -> None:
        super().__init__(wrapped.func)
        self.__set_name__(type(self), name)
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        _refuse_on_class(instance, owner, self.name)
        return super().__get__(instance, owner)


def _refuse_on_class(instance: Any, owner: type | None, name: str) -> None:
    if instance is None and owner is not None and not is_building_class.get():
        raise QueryError(f"{owner.__name__}.{name} is a computed field, which is not stored: it cannot be queried")


def _declare_computed(model: type, name: str) -> None:
    """Replace the property of a computed field, also of one that a base class declares, by one that knows its name."""
    found = inspect.getattr_static(model, name)
    if type(found) is property:
        type.__setattr__(model, name, ComputedProperty(name, found))
    elif type(found) is cached_property:
        type.__setattr__(model, name, CachedComputedProperty(name, found))


class Fields(Mapping[str, FieldExpression[Any]]):
    """The fields of a model by their names: ``Recipe.fields["copy"]`` is the field, ``Recipe.copy`` the method."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model

    def __getitem__(self, name: str) -> FieldExpression[Any]:
        fields = self._model.__pydantic_fields__
        if name not in fields:
            raise KeyError(f"{self._model.__name__} has no field {name!r}{nearest(name, fields)}")
        complete(self._model)
        return _STORED_FIELDS[name] if name in _STORED_FIELDS else field_of(self._model, name, root=self._model)

    def __repr__(self) -> str:
        return f"<fields of {self._model.__name__}: {', '.join(self)}>"

    def __iter__(self) -> Any:
        return iter(self._model.__pydantic_fields__)

    def __len__(self) -> int:
        return len(self._model.__pydantic_fields__)


# Field is not among the specifiers: checkers would see a default only behind the keyword, and take `Field(0, ge=0)` for
# a required field.
@dataclass_transform(kw_only_default=True, field_specifiers=(PrivateAttr, attachment))
class ModelMeta(ModelMetaclass):
    """The metaclass of models. It returns a field expression for ``Recipe.rating``.

    pydantic removes the class attribute of a field, so ``__getattr__`` is called for it.
    """

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
        attachments = {key: value for key, value in namespace.items() if isinstance(value, AttachmentField)}
        fields: dict[str, Any] = {key: value.declare(key) for key, value in attachments.items()}
        if "__annotations__" in namespace:
            fields["__annotations__"] = name_links(namespace["__annotations__"], namespace.get("__module__", ""))
        if options.pop("__pydantic_reset_parent_namespace__", True):
            # pydantic resolves forward references in the namespace that its metaclass is called from. Here that is this
            # function, and not the one that defines the class.
            local = build_lenient_weakvaluedict(parent_frame_namespace(parent_depth=2))
            fields["__pydantic_parent_namespace__"] = local
        token = is_building_class.set(True)
        try:
            with warnings.catch_warnings():
                # check_class says what a field hides, and how to get at it.
                warnings.filterwarnings("ignore", "Field name .* shadows an attribute in parent", UserWarning)
                model: Any = super().__new__(
                    cls, name, bases, {**namespace, **fields}, __pydantic_reset_parent_namespace__=False, **options
                )
        finally:
            is_building_class.reset(token)
        for key, field in attachments.items():
            type.__setattr__(model, key, field)
        for key, field in attachment_fields(model).items():
            # pydantic keeps here how it sets each attribute.
            model.__pydantic_setattr_handlers__[key] = field.set_value
        add_link_fields(model)
        register(model)
        for kind in model.__mro__:
            if isinstance(kind, ModelMeta):  # the forms of base classes know the types of their subclasses
                type.__setattr__(kind, "__stored_form__", None)
        check_class(model)
        for key in model.__pydantic_computed_fields__:
            _declare_computed(model, key)
        if "__hash__" not in namespace and vars(model).get("__hash__") is not None:  # pydantic's, as it is frozen
            type.__setattr__(model, "__hash__", _hash_document)
        _finish_fields(model)
        if model.__pydantic_complete__:
            indexes_of(model)  # refuses those of unknown fields
            model.__check_views__()
        return model

    @property
    def fields(cls) -> Fields:
        """The fields of the model by name, also those that have the name of a method."""
        return Fields(cls)  # type: ignore[arg-type]

    if not TYPE_CHECKING:

        def __getattr__(cls, name: str) -> Any:
            # pydantic asks for attributes while it makes the class, and must not find fields of a base class as
            # defaults.
            if name.startswith("_") or is_building_class.get():
                return super().__getattr__(name)
            if name in cls.__dict__.get("__pydantic_fields__", ()):
                return Fields(cls)[name]
            try:
                return super().__getattr__(name)
            except AttributeError:
                raise AttributeError(_missing_attribute(cls, name), name=name, obj=cls) from None


def _hash_document(document: Any) -> int:
    """Return the hash of a document of a frozen model, which does not change when the document is saved."""
    return hash((type(document), document.id))


def _missing_attribute(model: Any, name: str) -> str:
    if name in model.__repository_names__:
        return f"{model.__name__} has no {name!r}, its repository has: {model.__name__}.repository().{name}"
    return f"{model.__name__} has no field {name!r}{nearest(name, model.__dict__.get('__pydantic_fields__', ()))}"


def _finish_fields(model: Any) -> None:
    """Let ``_id`` and ``_rev`` be read even if a subclass declares ``id`` anew.

    An id that is made of fields is put behind them: pydantic gives a factory of defaults the values before it.
    """
    fields, changed = model.__pydantic_fields__, False
    for name in ("id", "rev"):
        info = fields.get(name)
        if info is not None and info.validation_alias != AliasChoices(f"_{name}", name):
            # All three, so that a generator of aliases finds none to fill in.
            info.alias, info.validation_alias, info.serialization_alias = name, AliasChoices(f"_{name}", name), name
            # pydantic's mark of an alias that no generator replaces.
            info.alias_priority = 2
            changed = True
    template = model.__declared__.id
    if template is not None:
        fields_of_template(model, template)
        info = fields.pop("id")
        info.default_factory, info.default = id_factory(model, template), PydanticUndefined
        fields["id"] = info
        changed = True
    if changed and model.__pydantic_complete__:
        token = is_building_class.set(True)
        try:
            model.model_rebuild(force=True)
        finally:
            is_building_class.reset(token)


class DocumentModel(BaseModel, metaclass=ModelMeta):
    """A document: its ``id``, the ``rev`` that it is stored as, and the fields that a subclass declares."""

    __slots__ = state.SLOTS

    if TYPE_CHECKING:
        __stored_form__: ClassVar[Any]
        """The form in which this class is stored, once it is made: a ``StoredForm`` of ``codec.forms``."""

    __declared__: ClassVar[Declaration] = Declaration()
    """The declaration that the class keywords of this model make."""

    __repository_names__: ClassVar[frozenset[str]] = frozenset()
    """The names of what the repository of a model has, and the model may not have."""

    __keeps_deleted__: ClassVar[bool] = False
    """True if the tombstones of the model's documents keep what was stored."""

    if TYPE_CHECKING:
        # Type checkers are to see optional fields, without the aliases.
        id: str = ""
        rev: str | None = None
    else:
        id: str = Field(
            default_factory=new_id, alias="id", validation_alias=AliasChoices("_id", "id"), serialization_alias="id"
        )
        rev: str | None = Field(
            default=None, alias="rev", validation_alias=AliasChoices("_rev", "rev"), serialization_alias="rev"
        )

    @classmethod
    def __check_views__(cls) -> None:
        """Check what the class declares beside its fields, once it is made and all its types are known."""

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

    def __eq__(self, other: object) -> bool:
        """Compare the fields of two documents without ``rev``, so that a save leaves a document equal to its copies.

        Attachments are not compared, as their bytes are not here.
        """
        if not isinstance(other, DocumentModel) or type(self) is not type(other):
            return NotImplemented
        names = type(self).__pydantic_fields__.keys() - {"rev"} - attachment_fields(type(self)).keys()
        mine, theirs = self.__dict__, other.__dict__
        return self.__pydantic_extra__ == other.__pydantic_extra__ and all(
            mine.get(name) == theirs.get(name) for name in names
        )

    if not TYPE_CHECKING:  # checkers would refuse the hash of a subclass
        __hash__ = None

    def __copy__(self) -> Self:
        return state.copy_state(self, super().__copy__())

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return state.copy_state(self, super().__deepcopy__(memo))

    def __getstate__(self) -> dict[Any, Any]:
        return {
            **super().__getstate__(),
            "__stored__": state.stored_body(self),
            "__files__": dict(state.assigned_files(self)),
        }

    def __setstate__(self, values: dict[Any, Any]) -> None:
        state.set_stored_body(self, values.pop("__stored__", None))
        for name, file in values.pop("__files__", {}).items():
            state.set_file(self, name, file)
        super().__setstate__(values)
