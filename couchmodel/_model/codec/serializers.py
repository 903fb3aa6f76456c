"""How a model is written to be stored: its own serializer, with the changes that a database needs.

* datetimes are written in UTC and at a fixed width, so that their order as strings is their order in time;
* sets are written in order, so that the same set is the same document;
* NaN and infinity, which pydantic would make null, stay what they are until somebody refuses them;
* a field that an API leaves out (``exclude=True``) is stored all the same.
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

__all__ = ["Writer", "encode_operand", "is_uneven", "writer_of"]

_OWN: Final = frozenset({"id", "rev"})


class Writer(NamedTuple):
    """How the documents of one model are written: serializers with the arguments of pydantic's ``to_json``.

    ``exact`` is for a text of ``fast`` that :data:`is_uneven`; it is None for a model without datetimes. Either raises
    PydanticSerializationError or ValueError for what has no JSON. ``attachments`` are the names of such fields.
    """

    fast: Callable[..., bytes]
    exact: Callable[..., bytes] | None
    attachments: frozenset[str]


def writer_of(model: type[DocumentModel]) -> Writer:
    """The writer of a model, which is made once and kept on its class.

    Raises ConfigurationError for a model that could not read again what it writes.
    """
    found: Writer | None = model.__storing__
    if found is None:
        found = _make_writer(model)
        type.__setattr__(model, "__storing__", found)
    return found


def encode_operand(field: FieldExpression[Any], value: object) -> Any:
    """A value that a field is compared with, in the form in which the field stores it.

    Raises QueryError for one that the field cannot store.
    """
    try:
        if field.owner is None:
            return _adapter(field.annotation).to_python(value, mode="json", by_alias=True, warnings="none")
        return _through_field(*field.owner, value)
    except (PydanticSerializationError, ValueError) as error:
        raise QueryError(f"{field.path!r} cannot be compared with {value!r}: {error}") from None


# --- making writers


def _make_writer(model: type[DocumentModel]) -> Writer:
    if not model.__pydantic_complete__:
        model.model_rebuild()
    attachments = frozenset(name for name in model.__pydantic_fields__ if _is_attachment(model, name))
    left_out = _OWN | attachments
    for name in model.__pydantic_fields__.keys() - left_out:
        _check_field(model, name)
    schema: Any = model.__pydantic_core_schema__
    fast, exact = _changed(schema, {}), _changed(schema, _DATETIMES)
    even = fast == exact  # before _leaving_out changes them
    to_json, to_exact_json = _leaving_out(fast, left_out), _leaving_out(exact, left_out)
    return Writer(to_json, None if even else to_exact_json, attachments)


def _leaving_out(schema: Any, names: frozenset[str]) -> Callable[..., bytes]:
    """The serializer of a schema, without fields of the document itself: one of its model that it embeds keeps them."""
    root = schema["schema"] if schema["type"] == "definitions" else schema
    if root["type"] != "model":  # a model that embeds itself is a reference
        return partial(_serializer(schema).to_json, exclude=set(names))
    fields = root["schema"]
    while "fields" not in fields:
        fields = fields["schema"]
    for name in names:
        fields["fields"][name]["serialization_exclude"] = True
    return _serializer(schema).to_json


def _is_attachment(model: type[BaseModel], name: str) -> bool:
    return any(isinstance(vars(base).get(name), AttachmentField) for base in model.__mro__)


def _check_field(model: type[BaseModel], name: str) -> None:
    info = model.__pydantic_fields__[name]
    written = info.serialization_alias or info.alias or name
    if written not in _read_as(model, name, info):
        raise ConfigurationError(
            f"{model.__name__}.{name} would be stored as {written!r} and not be read again under that name:"
            f" add it to its validation_alias, or give it a serialization_alias"
        )
    if _is_secret(info) and name not in _serialized_by_method(model):
        raise ConfigurationError(
            f"{model.__name__}.{name} would be stored as asterisks, as pydantic writes a secret:"
            f" give it a serializer that writes what you want to be stored"
        )


def _read_as(model: type[BaseModel], name: str, info: FieldInfo) -> Iterator[str]:
    """The names under which a field is read."""
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
        return False
    kinds = [info.annotation, *get_args(info.annotation)]
    return any(isinstance(kind, type) and issubclass(kind, (SecretStr, SecretBytes, Secret)) for kind in kinds)


def _serialized_by_method(model: type[BaseModel]) -> set[str]:
    decorators = model.__pydantic_decorators__.field_serializers.values()
    return {name for decorator in decorators for name in decorator.info.fields}


# --- operands

_adapters: WeakKeyDictionary[type[BaseModel], SchemaSerializer] = WeakKeyDictionary()


def _through_field(model: type[BaseModel], name: str, value: object) -> Any:
    """What the model writes for one of its fields: by its serializers and its configuration."""
    serializer = _adapters.get(model)
    if serializer is None:
        if not model.__pydantic_complete__:
            model.model_rebuild()
        schema: Any = model.__pydantic_core_schema__
        _adapters[model] = serializer = _serializer(_changed(schema, _DATETIMES))
    document = model.model_construct(_fields_set={name}, **{name: value})
    written = serializer.to_python(document, mode="json", by_alias=True, include={name}, warnings="none")
    return next(iter(written.values()))


@lru_cache(maxsize=1024)
def _adapter(annotation: Any) -> SchemaSerializer:
    schema: Any = TypeAdapter(annotation).core_schema
    return _serializer(_changed(schema, _DATETIMES))


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
    return sorted(handler(value), key=lambda member: json.dumps(member, sort_keys=True))


_DATETIMES: Final[Mapping[str, Any]] = {
    "": {"serialization": core_schema.plain_serializer_function_ser_schema(_write_datetime, when_used="json")},
    "aware": {"serialization": core_schema.plain_serializer_function_ser_schema(_write_aware, when_used="json")},
}
is_uneven: Final = re.compile(rb'T\d\d:\d\d:\d\d(?!\.\d{6}Z")').search
"""Finds an instant as pydantic writes one of a whole second, in another zone or in none; others come out right.

Python's own formatting takes a quarter of the time that pydantic needs for a whole document, so it is left for these.
"""
_SET: Final = core_schema.wrap_serializer_function_ser_schema(_write_set, when_used="json")
_STRICT: Final = core_schema.CoreConfig(ser_json_inf_nan="constants")

_OPAQUE: Final = frozenset({"cls", "metadata", "default", "expected"})
"""Keys of a core schema under which no schema stands."""


def _serializer(schema: Any) -> SchemaSerializer:
    # Without _use_prebuilt=False, pydantic would put the unchanged serializers of embedded models to use.
    return SchemaSerializer(schema, _STRICT, _use_prebuilt=False)


def _changed(schema: Any, datetimes: Mapping[str, Any]) -> Any:
    """The core schema with what storing needs. It is walked as plain data: most of its keys are of no concern here."""
    if isinstance(schema, (list, tuple)):
        return type(schema)(_changed(each, datetimes) for each in schema)
    if not isinstance(schema, dict):
        return schema
    changed = {key: value if key in _OPAQUE else _changed(value, datetimes) for key, value in schema.items()}
    kind = changed.get("type")
    if kind == "datetime" and "serialization" not in changed:
        changed |= datetimes.get(changed.get("tz_constraint", ""), {})
    elif kind in ("set", "frozenset") and "serialization" not in changed:
        changed["serialization"] = _SET
    elif kind == "model":
        changed["config"] = {**changed.get("config", {}), **_STRICT}
    elif kind == "model-field":
        changed.pop("serialization_exclude", None)
    return changed
