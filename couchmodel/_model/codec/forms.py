"""The stored form of a model: its validator and its serializers, made once for each class."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, Union
from weakref import WeakKeyDictionary

from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticSerializationError, SchemaSerializer, SchemaValidator, core_schema

from couchmodel._model.codec.instants import widen_with
from couchmodel._model.codec.plain.schemas import plain_check
from couchmodel._model.codec.rules import EXACT, FAST, OWN_SERIALIZATIONS, STORED_CONFIG, adapt_schema
from couchmodel._model.codec.upgrading import upgrading_of
from couchmodel._model.schema.annotations import bare_type, is_attachment
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.expressions.places import Place
from couchmodel._model.schema.kinds import kinds_of
from couchmodel._model.schema.links.link import ID_SERIALIZATIONS
from couchmodel._wire.messages import encode
from couchmodel.errors import QueryError

__all__ = [
    "StoredForm",
    "check_storable",
    "encode_operand",
    "form_of",
    "read_value",
    "reason_of",
    "write_field",
    "write_key",
]

_CALLED: Final = re.compile(r"^(Error calling function `\w+`: (\w+: )?|Error serializing to JSON: (\w+: )?)+")

_MISMATCHES: Final = ("serializer warnings", "AttributeError", "TypeError")
"""The signs of an operand of another type, in the errors of pydantic's serialization and of the functions it calls."""

_ID_FIELDS: Final = frozenset({"id", "rev"})


class StoredForm(NamedTuple):
    """The stored form of one model. Its functions raise pydantic's errors."""

    validate: Callable[..., Any]
    """Make a document of a JSON text. It is of the class whose type the text has."""

    validate_fields: Callable[..., Any]
    """Make a document of this class of a JSON text without a type."""

    kinds: Mapping[str, type[DocumentModel]]
    """This class and its subclasses by type; empty for a model without a type."""

    fast: Callable[..., bytes]
    """Return the JSON text of a document, without CouchDB's own members. Datetimes are left to pydantic."""

    exact: Callable[..., bytes] | None
    """Return the same with each datetime as it is to be stored; None for a model without datetimes."""

    widen: Callable[[bytes], bytes]
    """Return a text of ``fast`` with fractions for datetimes of whole seconds, where that is safe."""

    attachments: frozenset[str]
    """The names of the attachment fields."""

    upgrade: Callable[[bytes], bytes] | None
    """Return a JSON text of an older version of the schema in the newest one; None for a model without upgrades."""

    is_plain: Callable[[Any], bool] | None
    """Return True if a document is certainly read again as it is; None for a model of which only a reading can tell."""


def form_of(model: type[DocumentModel]) -> StoredForm:
    """Return the stored form of a model. It is made once and kept on the class.

    Raises ConfigurationError if the model could not be read again as it is written.
    """
    found: StoredForm | None = model.__stored_form__
    if found is None:
        found = _make_form(model)
        type.__setattr__(model, "__stored_form__", found)
    return found


def check_storable(model: type[DocumentModel]) -> None:
    """Check that a model can be stored and read again, as far as its schema tells.

    Raises ConfigurationError with the path of the first field that cannot.
    """
    adapt_schema(model.__pydantic_core_schema__, model.__name__, FAST)


def write_field(model: type[BaseModel], name: str, value: object) -> Any:
    """Return the stored form of a value of one of a model's fields. Raises ValueError if there is none."""
    try:
        return _serialize_field(model, name, value)
    except (PydanticSerializationError, AttributeError) as error:  # of a value in place of a model of open members
        raise ValueError(reason_of(error)) from None


def reason_of(error: Exception) -> str:
    """Return the text of an error of pydantic's serialization without the functions in which it was raised."""
    return _CALLED.sub("", str(error))


def encode_operand(place: Place, value: object) -> Any:
    """Return the operand of a comparison in the form in which the place stores such a value.

    Raises QueryError if it cannot store the value: then nothing would be found, or the wrong documents.
    """
    kind: Any = bare_type(place.annotation)
    if value is None:
        return None
    if isinstance(value, float) and not math.isfinite(value):
        raise QueryError(f"{place.path or 'the element'} cannot be compared with {value!r}, which JSON does not have")
    try:
        if place.owner is not None:
            return _serialize_field(*place.owner, value, warnings="error")
        return _operand_serializer(place.annotation).to_python(value, mode="json", by_alias=True, warnings="error")
    except (PydanticSerializationError, ValueError, TypeError, AttributeError) as error:
        is_mismatch = any(sign in str(error) for sign in _MISMATCHES)
        if is_mismatch and kind is int and isinstance(value, float):
            return value  # numbers of both types have one order
        reason = "" if is_mismatch else f": {reason_of(error)}"
        said = getattr(kind, "__name__", None) or str(kind)
        raise QueryError(
            f"{place.path or 'the element'} is of {said}, and cannot be compared with {value!r}"
            f" of {type(value).__name__}{reason}{_enum_hint(kind, value)}"
        ) from None


def _enum_hint(kind: Any, value: object) -> str:
    """Return the advice to write a member of an enumeration, if the value is that of one."""
    if not isinstance(kind, type) or not issubclass(kind, Enum):
        return ""
    try:
        return f": write {kind(value)}"
    except ValueError:
        return f": its values are {', '.join(repr(each.value) for each in kind)}"


def write_key(annotation: Any, key: object) -> str:
    """Return the name under which a dictionary with keys of a type stores a key. Raises QueryError if it cannot."""
    try:
        written = _operand_serializer(dict[annotation, Any]).to_python({key: None}, mode="json", warnings="error")
    except (PydanticSerializationError, ValueError, TypeError, AttributeError):
        said = getattr(annotation, "__name__", None) or str(annotation)
        raise QueryError(f"{key!r} of {type(key).__name__} is no key of a dictionary with keys of {said}") from None
    return str(next(iter(written)))


def read_value(place: Place, value: object) -> Any:
    """Return the value of a place, given its stored form as JSON. Raises pydantic's ValidationError for a misfit."""
    text = encode(value)  # pydantic reads bytes, and the types of strict models, in another way from Python's values
    if place.owner is None or not issubclass(place.owner[0], BaseModel):
        return _value_validator(place.annotation).validate_json(text)
    model, name = place.owner
    validators = _field_validators.setdefault(model, {})
    if name not in validators:
        validators[name] = _field_validator(model, name)
    return validators[name].validate_json(text)


# --- making forms


def _make_form(model: type[DocumentModel]) -> StoredForm:
    if not model.__pydantic_complete__:
        model.model_rebuild()
    attachments = frozenset(name for name, info in model.__pydantic_fields__.items() if is_attachment(info.annotation))
    left_out = _ID_FIELDS | attachments
    schema: Any = model.__pydantic_core_schema__
    fast, exact = (adapt_schema(schema, model.__name__, datetimes) for datetimes in (FAST, EXACT))
    has_datetimes = fast != exact
    kinds = kinds_of(model)
    is_plain = plain_check(model, fast, attachments) if _is_read_as(model, kinds) else None
    validate = _validator(fast)
    return StoredForm(
        _kinds_validator(model, kinds) if kinds else validate,
        validate,
        kinds,
        _serializer_without(fast, left_out),
        _serializer_without(exact, left_out) if has_datetimes else None,
        widen_with(_instants(exact) if has_datetimes else ()),
        attachments,
        upgrading_of(model, kinds),
        is_plain,
    )


def _is_read_as(model: type[DocumentModel], kinds: Mapping[str, type[DocumentModel]]) -> bool:
    """Return True if the texts of documents of a model are read as documents of the same class, by their type."""
    return not kinds or kinds.get(model.__declared__.type or "") is model


def _validator(schema: Any) -> Callable[..., Any]:
    return SchemaValidator(schema, STORED_CONFIG, _use_prebuilt=False).validate_json


def _kinds_validator(model: type[DocumentModel], kinds: Mapping[str, type[DocumentModel]]) -> Callable[..., Any]:
    """Return a validator of documents of several types, which are told apart by the member that has their type."""
    union: Any = Union[*kinds.values(), None]  # with None, so that it is a union even of one class
    schema: Any = adapt_schema(TypeAdapter(union).core_schema, model.__name__, FAST)
    root = schema["schema"] if schema["type"] == "definitions" else schema
    tagged = core_schema.tagged_union_schema(
        dict(zip(kinds, _choices(root), strict=False)), model.__declared__.type_field
    )
    return _validator({**schema, "schema": tagged} if schema is not root else tagged)


def _choices(schema: Any) -> list[Any]:
    """Return the classes of a union with None."""
    inner = schema["schema"]
    return list(inner["choices"]) if inner["type"] == "union" else [inner]


def _serializer_without(schema: Any, names: frozenset[str]) -> Callable[..., bytes]:
    """Return the ``to_json`` of a schema without some fields of the document.

    An embedded document of the same model keeps those fields.
    """
    root = schema["schema"] if schema["type"] == "definitions" else schema
    if root["type"] != "model":  # a model that embeds itself is a reference
        return partial(_serializer(schema).to_json, exclude=set(names))
    fields = root["schema"]
    while "fields" not in fields:
        fields = fields["schema"]
    for name in names:
        fields["fields"][name]["serialization_exclude"] = True
    return _serializer(schema).to_json


# --- datetimes


def _instants(schema: Any) -> list[str]:
    """Return the names of members that are datetimes wherever they occur.

    The result is empty if the model has members of free names, among which there may be one of the same name.
    """
    names: dict[str, bool] = {}
    for name, field in _members(schema):
        if name is None:
            return []
        names[name] = names.get(name, True) and _is_datetime(field["schema"])
    return [name for name, always in names.items() if always and name.isidentifier()]


def _members(schema: Any) -> Iterator[tuple[str | None, Any]]:
    """Yield the stored names and schemas of all fields at any depth; None as the name where any name may occur."""
    if isinstance(schema, (list, tuple)):
        for each in schema:
            yield from _members(each)
    if not isinstance(schema, dict) or schema.get("serialization_exclude"):
        return
    if schema.get("type") in ("any", "function-plain") or _has_free_names(schema):
        yield None, schema
    for key, value in schema.items():
        if key == "fields" and isinstance(value, dict):
            yield from ((field.get("serialization_alias", name), field) for name, field in value.items())
        elif key == "fields":
            yield from (
                (each.get("serialization_alias", each["name"]), each) for each in value if isinstance(each, dict)
            )
        if key == "serialization" and value not in (*OWN_SERIALIZATIONS, *ID_SERIALIZATIONS):
            yield None, schema
        elif key not in ("cls", "metadata", "default", "function", "config", "serialization", "python_schema"):
            yield from _members(value)


def _has_free_names(schema: Any) -> bool:
    kind = schema.get("type")
    if kind == "dict":
        values = schema.get("values_schema", {"type": "any"})
        return values.get("type") not in ("int", "float", "bool")
    return kind in ("model-fields", "typed-dict", "dataclass-args") and schema.get("extra_behavior") == "allow"


def _is_datetime(schema: Any) -> bool:
    while schema["type"] in ("default", "nullable"):
        schema = schema["schema"]
    return schema.get("type") == "datetime" and schema.get("serialization", {}).get("function") is not None


# --- operands

_EMPTY_SLOTS: Final = (("__pydantic_extra__", None), ("__pydantic_private__", None))
_field_serializers: WeakKeyDictionary[type, SchemaSerializer] = WeakKeyDictionary()


def _serialize_field(model: type[BaseModel], name: str, value: object, warnings: Any = "none") -> Any:
    """Return a value as the model writes it for one of its fields, by its serializers and its configuration."""
    serializer = _field_serializers.get(model)
    if serializer is None:
        if not model.__pydantic_complete__:
            model.model_rebuild()
        schema: Any = adapt_schema(model.__pydantic_core_schema__, model.__name__, EXACT)
        _field_serializers[model] = serializer = _serializer(schema)
    document = model.__new__(model)  # model_construct would make the defaults of all other fields
    for slot, content in (("__dict__", {name: value}), ("__pydantic_fields_set__", {name}), *_EMPTY_SLOTS):
        object.__setattr__(document, slot, content)
    written = serializer.to_python(document, mode="json", by_alias=True, include={name}, warnings=warnings)
    return next(iter(written.values()))


_field_validators: WeakKeyDictionary[type, dict[str, SchemaValidator]] = WeakKeyDictionary()


def _field_validator(model: type[BaseModel], name: str) -> SchemaValidator:
    if not model.__pydantic_complete__:
        model.model_rebuild()
    schema: Any = adapt_schema(model.__pydantic_core_schema__, model.__name__, FAST)
    definitions = schema["definitions"] if schema["type"] == "definitions" else []
    by_name = {each["ref"]: each for each in definitions}
    fields = schema
    while "fields" not in fields:
        # A model that embeds itself is a reference to its definition.
        fields = by_name[fields["schema_ref"]] if fields["type"] == "definition-ref" else fields["schema"]
    field = fields["fields"][name]["schema"]
    if definitions:
        field = core_schema.definitions_schema(field, definitions)
    return _value_reader(field)


@lru_cache(maxsize=1024)
def _value_validator(annotation: Any) -> SchemaValidator:
    schema: Any = TypeAdapter(annotation).core_schema
    return _value_reader(adapt_schema(schema, "value", FAST))


def _value_reader(schema: Any) -> SchemaValidator:
    return SchemaValidator(schema, STORED_CONFIG, _use_prebuilt=False)


@lru_cache(maxsize=1024)
def _operand_serializer(annotation: Any) -> SchemaSerializer:
    schema: Any = TypeAdapter(annotation).core_schema
    return _serializer(adapt_schema(schema, "operand", EXACT))


def _serializer(schema: Any) -> SchemaSerializer:
    # Without _use_prebuilt=False, pydantic would use the unchanged serializers of embedded models.
    return SchemaSerializer(schema, STORED_CONFIG, _use_prebuilt=False)
