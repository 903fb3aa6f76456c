"""Serializers that write models for storage: pydantic's own, with the changes that a database needs.

* Datetimes are written in UTC and at a fixed width, so that their order as strings is their order in time.
* Sets are written in order, so that equal sets make equal documents.
* NaN and infinity, which pydantic would write as null, are kept as constants, so that the codec can refuse them.
* A field that an API leaves out (``exclude=True``) is stored.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, get_args
from weakref import WeakKeyDictionary

from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    PlainSerializer,
    Secret,
    SecretBytes,
    SecretStr,
    TypeAdapter,
    WrapSerializer,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError, SchemaSerializer, core_schema

from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.expressions import FieldExpression
from couchmodel._model.schema.fields import AttachmentField
from couchmodel.errors import ConfigurationError, QueryError

__all__ = ["Writer", "encode_operand", "needs_exact", "writer_of"]

_ID_FIELDS: Final = frozenset({"id", "rev"})


class Writer(NamedTuple):
    """The serializers of one model. They take the arguments of pydantic's ``to_json``.

    ``exact`` has to write a document again if :data:`needs_exact` finds something in the text of ``fast``. It is None
    for a model without datetimes. Both raise PydanticSerializationError or ValueError if a value cannot be written as
    JSON. ``attachments`` are the names of the model's attachment fields.
    """

    fast: Callable[..., bytes]
    exact: Callable[..., bytes] | None
    attachments: frozenset[str]


def writer_of(model: type[DocumentModel]) -> Writer:
    """Return the writer of a model. It is made once and kept on the class.

    Raises ConfigurationError if the model could not read again what it writes.
    """
    found: Writer | None = model.__storing__
    if found is None:
        found = _make_writer(model)
        type.__setattr__(model, "__storing__", found)
    return found


def encode_operand(field: FieldExpression[Any], value: object) -> Any:
    """Return the operand of a comparison in the form in which the field stores such a value.

    Raises QueryError if the field cannot store the value.
    """
    try:
        if field.owner is None:
            return _operand_serializer(field.annotation).to_python(value, mode="json", by_alias=True, warnings="none")
        return _serialize_field(*field.owner, value)
    except (PydanticSerializationError, ValueError) as error:
        raise QueryError(f"{field.path!r} cannot be compared with {value!r}: {error}") from None


# --- making writers


def _make_writer(model: type[DocumentModel]) -> Writer:
    if not model.__pydantic_complete__:
        model.model_rebuild()
    attachments = frozenset(name for name in model.__pydantic_fields__ if _is_attachment_field(model, name))
    left_out = _ID_FIELDS | attachments
    for name in model.__pydantic_fields__.keys() - left_out:
        _check_field(model, name)
    schema: Any = model.__pydantic_core_schema__
    fast, exact = _adapt_schema(schema, {}), _adapt_schema(schema, _DATETIMES)
    even = fast == exact  # before _serializer_without changes them
    to_json, to_exact_json = _serializer_without(fast, left_out), _serializer_without(exact, left_out)
    return Writer(to_json, None if even else to_exact_json, attachments)


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


def _is_attachment_field(model: type[BaseModel], name: str) -> bool:
    return any(isinstance(vars(base).get(name), AttachmentField) for base in model.__mro__)


def _check_field(model: type[BaseModel], name: str) -> None:
    info = model.__pydantic_fields__[name]
    written = info.serialization_alias or info.alias or name
    if written not in _input_names(model, name, info):
        raise ConfigurationError(
            f"{model.__name__}.{name} would be stored as {written!r} and not be read again under that name:"
            f" add it to its validation_alias, or give it a serialization_alias"
        )
    if _is_secret(info) and name not in _fields_with_serializers(model):
        raise ConfigurationError(
            f"{model.__name__}.{name} would be stored as asterisks, as pydantic writes a secret:"
            f" give it a serializer that writes what you want to be stored"
        )


def _input_names(model: type[BaseModel], name: str, info: FieldInfo) -> Iterator[str]:
    """Yield the names under which pydantic reads a field."""
    alias = info.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    for choice in choices:
        if isinstance(choice, AliasPath):
            yield from (str(part) for part in choice.path if len(choice.path) == 1)
        elif choice is not None:
            yield choice
    config = model.model_config
    if alias is None or config.get("populate_by_name") or config.get("validate_by_name"):
        yield name


def _is_secret(info: FieldInfo) -> bool:
    if any(isinstance(each, (PlainSerializer, WrapSerializer)) for each in info.metadata):
        return False  # the field has a serializer of its own, which decides
    kinds = [info.annotation, *get_args(info.annotation)]
    return any(isinstance(kind, type) and issubclass(kind, (SecretStr, SecretBytes, Secret)) for kind in kinds)


def _fields_with_serializers(model: type[BaseModel]) -> set[str]:
    decorators = model.__pydantic_decorators__.field_serializers.values()
    return {name for decorator in decorators for name in decorator.info.fields}


# --- operands

_field_serializers: WeakKeyDictionary[type[BaseModel], SchemaSerializer] = WeakKeyDictionary()


def _serialize_field(model: type[BaseModel], name: str, value: object) -> Any:
    """Return a value as the model writes it for one of its fields, by its serializers and its configuration."""
    serializer = _field_serializers.get(model)
    if serializer is None:
        if not model.__pydantic_complete__:
            model.model_rebuild()
        schema: Any = model.__pydantic_core_schema__
        _field_serializers[model] = serializer = _serializer(_adapt_schema(schema, _DATETIMES))
    document = model.model_construct(_fields_set={name}, **{name: value})
    written = serializer.to_python(document, mode="json", by_alias=True, include={name}, warnings="none")
    return next(iter(written.values()))


@lru_cache(maxsize=1024)
def _operand_serializer(annotation: Any) -> SchemaSerializer:
    schema: Any = TypeAdapter(annotation).core_schema
    return _serializer(_adapt_schema(schema, _DATETIMES))


# --- core schemas


def _write_datetime(value: datetime, iso: Callable[..., str] = datetime.isoformat) -> str:
    text = iso(value, "T", "microseconds")
    if text.endswith("+00:00"):
        return f"{text[:-6]}Z"
    return text if value.tzinfo is None else _write_datetime(value.astimezone(UTC))


def _write_aware(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone, which its aware field asks for")
    return _write_datetime(value)


def _write_set(value: Any, handler: Callable[[Any], list[Any]]) -> list[Any]:
    # Members of different types cannot be compared, but their JSON texts can.
    return sorted(handler(value), key=lambda member: json.dumps(member, sort_keys=True))


_DATETIMES: Final[Mapping[str, Any]] = {
    "": {"serialization": core_schema.plain_serializer_function_ser_schema(_write_datetime, when_used="json")},
    "aware": {"serialization": core_schema.plain_serializer_function_ser_schema(_write_aware, when_used="json")},
}
needs_exact: Final = re.compile(rb'T\d\d:\d\d:\d\d(?!\.\d{6}Z")').search
"""Search a JSON text for a datetime that pydantic did not write as it is to be stored.

Those are datetimes of a whole second, in a zone other than UTC, or without a zone. pydantic writes all others as they
are to be stored. Formatting datetimes in Python takes a quarter of the time that pydantic needs for a whole document,
so only documents with such datetimes pay for it.
"""
_SORTED_SET: Final = core_schema.wrap_serializer_function_ser_schema(_write_set, when_used="json")
_KEEP_CONSTANTS: Final = core_schema.CoreConfig(ser_json_inf_nan="constants")

_OPAQUE: Final = frozenset({"cls", "metadata", "default", "expected"})
"""The keys of a core schema whose values are not schemas."""


def _serializer(schema: Any) -> SchemaSerializer:
    # Without _use_prebuilt=False, pydantic would use the unchanged serializers of embedded models.
    return SchemaSerializer(schema, _KEEP_CONSTANTS, _use_prebuilt=False)


def _adapt_schema(schema: Any, datetimes: Mapping[str, Any]) -> Any:
    """Return a copy of a core schema with the changes for storage; ``datetimes`` are those for datetimes.

    The schema is walked as plain data, because most of its keys do not matter here.
    """
    if isinstance(schema, (list, tuple)):
        return type(schema)(_adapt_schema(each, datetimes) for each in schema)
    if not isinstance(schema, dict):
        return schema
    changed = {key: value if key in _OPAQUE else _adapt_schema(value, datetimes) for key, value in schema.items()}
    kind = changed.get("type")
    if kind == "datetime" and "serialization" not in changed:
        changed |= datetimes.get(changed.get("tz_constraint", ""), {})
    elif kind in ("set", "frozenset") and "serialization" not in changed:
        changed["serialization"] = _SORTED_SET
    elif kind == "model":
        changed["config"] = {**changed.get("config", {}), **_KEEP_CONSTANTS}
    elif kind == "model-field":
        changed.pop("serialization_exclude", None)
    return changed
