"""The rules by which a model is stored, as changes of pydantic's core schema.

The stored form of a model differs from the form that an API sees. It is made from the core schema, which describes a
model at any depth, and it is the same for reading and for writing:

* A field is written under one name and read under that name first.
* A field that an API leaves out (``exclude``, ``exclude_if``) is stored. A computed field is not.
* Datetimes are written in UTC and at a fixed width, durations as seconds, bytes as hexadecimal digits, decimals as
  numbers or as sortable text, so that their order in CouchDB is their own order.
* Sets are written in order, so that equal sets make equal documents.
* NaN and infinity, which pydantic would write as null, are kept as constants, so that the codec can refuse them.
* ``Json[...]`` is stored as the JSON value that the text contains.

A type that cannot be read from JSON is refused, with the path of the field.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import types as pydantic_types
from pydantic_core import core_schema

from couchmodel._model.codec.decimals import decimal_from_text, decimal_to_number, decimal_to_text
from couchmodel._model.schema.annotations import holds_several, is_attachment
from couchmodel._model.schema.field_options import storage_options
from couchmodel.errors import ConfigurationError

__all__ = ["EXACT", "FAST", "OWN_SERIALIZATIONS", "STORED_CONFIG", "adapt_schema", "write_datetime"]

_OPAQUE: Final = frozenset(
    {"cls", "metadata", "default", "expected", "function", "config", "members", "default_factory"}
)
"""The keys of a core schema whose values are not schemas."""

_NOT_FROM_JSON: Final = frozenset({"python_schema", "strict_schema"})
"""The keys of schemas that are not used for JSON."""

_UNREADABLE: Final[Mapping[str, str]] = {
    "callable": "a function has no JSON",
    "generator": "an iterable can be read only once: declare a list",
    "is-instance": "an object of {cls} cannot be read from JSON: give its class a __get_pydantic_core_schema__",
    "is-subclass": "a class has no JSON",
}

STORED_CONFIG: Final = core_schema.CoreConfig(
    ser_json_inf_nan="constants",
    ser_json_bytes="hex",
    val_json_bytes="hex",
    ser_json_timedelta="float",
    validate_by_alias=True,
)
"""The configuration of every model in its stored form, whatever an API wants."""


def write_datetime(value: datetime, iso: Callable[..., str] = datetime.isoformat) -> str:
    """Return the stored form of a datetime."""
    text = iso(value, "T", "microseconds")
    if text.endswith("+00:00"):
        return f"{text[:-6]}Z"
    return text if value.tzinfo is None else write_datetime(value.astimezone(UTC))


def _write_aware(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone, which its aware field asks for")
    return write_datetime(value)


def _write_set(value: Any, handler: Callable[[Any], list[Any]]) -> list[Any]:
    # Members of different types cannot be compared, but their JSON texts can.
    return sorted(handler(value), key=lambda member: json.dumps(member, sort_keys=True))


def _plain(function: Callable[[Any], Any]) -> Any:
    return core_schema.plain_serializer_function_ser_schema(function, when_used="json")


FAST: Final[Mapping[str, Any]] = {}
EXACT: Final[Mapping[str, Any]] = {
    "": {"serialization": _plain(write_datetime)},
    "aware": {"serialization": _plain(_write_aware)},
    "naive": {"serialization": _plain(write_datetime)},
}
"""The serializers of datetimes, by the constraint on their time zone: pydantic's own, and those of the stored form."""

_SORTED_SET: Final = core_schema.wrap_serializer_function_ser_schema(_write_set, when_used="json")
_DECIMAL_NUMBER: Final = _plain(decimal_to_number)
_DECIMAL_TEXT: Final = _plain(decimal_to_text)

OWN_SERIALIZATIONS: Final = [
    _SORTED_SET,
    _DECIMAL_NUMBER,
    _DECIMAL_TEXT,
    *(each["serialization"] for each in EXACT.values()),
]
"""The serializations that the stored form adds. None of them writes an object."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A place in a core schema: the class whose fields it has, and the path of the fields that lead to it."""

    model: str
    owner: Any = None
    by_name: bool = False
    path: str = ""
    has_serializer: bool = False

    def refuse(self, reason: str) -> ConfigurationError:
        return ConfigurationError(f"{self.model}{self.path and '.'}{self.path} cannot be stored: {reason}")


def adapt_schema(schema: Any, model: str, datetimes: Mapping[str, Any]) -> Any:
    """Return the core schema of a model's stored form; ``model`` is its name, for errors.

    Raises ConfigurationError if a field cannot be stored and read again.
    """
    return _Adapter(datetimes).adapt(schema, _Place(model))


class _Adapter:
    """A copier of core schemas that makes the changes for storage.

    It walks a schema as plain data, because most of its keys do not matter here.
    """

    def __init__(self, datetimes: Mapping[str, Any]) -> None:
        self._datetimes = datetimes

    def adapt(self, schema: Any, place: _Place) -> Any:
        """Return a part of a schema with the changes."""
        if isinstance(schema, (list, tuple)):
            return type(schema)(self.adapt(each, place) for each in schema)
        if not isinstance(schema, dict):
            return schema
        kind = schema.get("type")
        if not isinstance(kind, str):  # not a schema, but a mapping of names to schemas
            return {key: self.adapt(value, place) for key, value in schema.items()}
        if kind in _UNREADABLE:
            raise place.refuse(_UNREADABLE[kind].format(cls=getattr(schema.get("cls"), "__name__", "")))
        if kind == "json":
            return self.adapt(schema.get("schema", core_schema.any_schema()), place)
        serialization = schema.get("serialization", {})
        if not place.has_serializer and _writes_asterisks(serialization.get("function")):
            reason = (
                "pydantic writes a secret as asterisks: give it a serializer that writes what you want to be stored"
            )
            raise place.refuse(reason)
        if serialization.get("type") == "function-plain":
            place = replace(place, has_serializer=True)
        if kind in ("model", "dataclass", "typed-dict"):
            place = replace(place, owner=schema["cls"], by_name=_reads_by_name(schema.get("config", {})))
        changed = {
            key: value if key in _OPAQUE else self._adapt_key(kind, key, value, place) for key, value in schema.items()
        }
        return self._change(kind, changed)

    def _adapt_key(self, kind: str, key: str, value: Any, place: _Place) -> Any:
        if key == "fields" and kind in ("model-fields", "typed-dict"):
            changed = {name: self._field(name, field, place) for name, field in value.items()}
            _check_distinct(changed.items(), place)
            return changed
        if key == "fields" and kind == "dataclass-args":
            several = [self._field(field["name"], field, place) for field in value]
            _check_distinct(((field["name"], field) for field in several), place)
            return several
        return value if key in _NOT_FROM_JSON else self.adapt(value, place)

    def _field(self, name: str, field: Any, place: _Place) -> Any:
        """Return a field that is written under one name, is read under that name first, and is never left out."""
        info = getattr(place.owner, "__pydantic_fields__", {}).get(name)
        if info is not None and is_attachment(info.annotation):
            # The stored document has stubs; the API's form does not read them. A field that is declared wrongly has no
            # alias; the class is refused a moment later.
            stub = [["_attachments"]] if holds_several(info.annotation) else field.get("validation_alias", [[name]])[:1]
            anything = core_schema.with_default_schema(core_schema.any_schema(), default=None)
            return {**field, "validation_alias": stub, "schema": anything}
        inside = replace(place, path=f"{place.path}.{name}" if place.path else name)
        changed = {key: self.adapt(value, inside) if key == "schema" else value for key, value in field.items()}
        changed.pop("serialization_exclude", None)
        changed.pop("serialization_exclude_if", None)
        stored = (info and storage_options(info).stored_as) or field.get("serialization_alias") or name
        names = _input_names(name, field.get("validation_alias"), by_name=place.by_name)
        if stored != name:
            changed["serialization_alias"] = stored
        else:
            changed.pop("serialization_alias", None)
        if names != [[stored]] and names[0] != [f"_{name}"]:  # `_id` and `_rev` come first
            changed["validation_alias"] = [[stored], *(each for each in names if each != [stored])]
        return changed

    def _change(self, kind: str, schema: Any) -> Any:
        has_serializer = "serialization" in schema
        match kind:
            case "model" | "dataclass" | "typed-dict":
                schema["config"] = {**schema.get("config", {}), **STORED_CONFIG}
                schema["config"].pop("ser_json_temporal", None)
            case "datetime" if not has_serializer:
                schema |= self._datetimes.get(schema.get("tz_constraint", ""), {})
            case "set" | "frozenset" if not has_serializer:
                schema["serialization"] = _SORTED_SET
            case "decimal" if not has_serializer:
                return _decimal(schema)
            case "timedelta":
                schema["strict"] = False  # seconds are read in strict models, too
        schema.pop("computed_fields", None)
        if schema.get("serialization") == {"type": "any"}:  # SerializeAsAny: what is cut is noticed by the codec
            del schema["serialization"]
        return schema


def _check_distinct(fields: Iterable[tuple[str, Any]], place: _Place) -> None:
    """Refuse two fields of an embedded model that would share a name. Those of a document are checked with its type."""
    if hasattr(place.owner, "__declared__"):
        return
    taken: dict[str, str] = {}
    for name, field in fields:
        stored = field.get("serialization_alias", name)
        if stored in taken:
            raise place.refuse(
                f"the fields {taken[stored]!r} and {name!r} of {place.owner.__name__} would both be stored as"
                f' {stored!r}: write `Field(stored_as="…")`'
            )
        taken[stored] = name


def _decimal(schema: Any) -> Any:
    if schema.get("decimal_places") is not None:
        return {**schema, "strict": False, "serialization": _DECIMAL_NUMBER}
    text: Any = {**schema, "strict": False, "serialization": _DECIMAL_TEXT}
    return core_schema.no_info_before_validator_function(decimal_from_text, text)


def _reads_by_name(config: Mapping[str, Any]) -> bool:
    return bool(config.get("populate_by_name") or config.get("validate_by_name"))


def _input_names(name: str, alias: Any, *, by_name: bool) -> list[list[Any]]:
    """Return the paths under which pydantic reads a field."""
    if alias is None:
        return [[name]]
    if isinstance(alias, str):
        paths = [[alias]]
    else:
        paths = (
            [list(alias)] if not alias or not isinstance(alias[0], (list, tuple)) else [list(each) for each in alias]
        )
    return [*paths, [name]] if by_name and [name] not in paths else paths


def _writes_asterisks(function: Any) -> bool:
    return getattr(function, "__module__", "") == pydantic_types.__name__ and "secret" in getattr(
        function, "__name__", ""
    )
