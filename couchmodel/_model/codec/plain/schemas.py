"""The checks of models, made of their core schemas.

A model has a check if each of its fields is plain: of a type whose JSON text is read again as the same value, whatever
the value is. Constraints are checked by pydantic. Validators, serializers and types of the user may do anything, so a
model with one has no check. Neither has one with a key in its schema that is not known here.
"""

from collections.abc import Collection, Mapping
from datetime import date, datetime
from enum import Enum, Flag
from types import NoneType
from typing import Any, Final
from uuid import UUID

from pydantic_core import SchemaSerializer, SchemaValidator

from couchmodel._model.codec.plain.values import (
    JSON,
    Check,
    Kinds,
    check_both,
    dict_check,
    has_64_bits,
    is_aware_instant,
    is_instant,
    is_naive_instant,
    leads_to_document,
    leads_to_document_or_nothing,
    list_check,
    model_check,
    validation_check,
)
from couchmodel._model.codec.rules import STORED_CONFIG
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.links.link import ID_SERIALIZATIONS, Link, LinkTarget

__all__ = ["plain_check"]

_NEUTRAL: Final = frozenset({"type", "ref", "metadata", "strict"})
"""Keys of a schema that do not change what is read. JSON is read strictly as the stored form is written."""

_FIELD_KEYS: Final = frozenset({"schema", "frozen", "validation_alias", "serialization_alias"})
_DEFAULT_KEYS: Final = frozenset(
    {"schema", "default", "default_factory", "default_factory_takes_data", "copy_default", "validate_default"}
)
_MODEL_KEYS: Final = frozenset(
    {"cls", "schema", "config", "custom_init", "root_model", "generic_origin", "frozen", "revalidate_instances"}
)
_FIELDS_KEYS: Final = frozenset({"fields", "model_name", "extra_behavior", "from_attributes"})
_CONFIG_KEYS: Final = frozenset(STORED_CONFIG) | {
    "title",
    "extra_fields_behavior",
    "frozen",
    "from_attributes",
    "hide_input_in_errors",
    "loc_by_alias",
    "populate_by_name",
    "revalidate_instances",
    "serialize_by_alias",
    "strict",
    "validate_assignment",
    "validate_by_name",
    "validate_default",
}

_LENGTHS: Final = ("min_length", "max_length", "fail_fast")

_SIMPLE: Final[Mapping[str, type]] = {
    "str": str,
    "float": float,
    "bool": bool,
    "none": NoneType,
    "bytes": bytes,
    "date": date,
}

_INSTANTS: Final[Mapping[str | None, Check]] = {
    None: is_instant,
    "aware": is_aware_instant,
    "naive": is_naive_instant,
}
"""The checks of datetimes by the constraint on their time zone."""


def plain_check(model: type[DocumentModel], schema: Any, left_out: Collection[str]) -> Check | None:
    """Return the check of the documents of exactly this class; None for a model that has none.

    ``schema`` is the core schema of the stored form. The fields that are ``left_out`` are not checked.
    """
    definitions = schema["definitions"] if schema["type"] == "definitions" else []
    root = schema["schema"] if definitions else schema
    try:
        return _Reader({each["ref"]: each for each in definitions}).document(model, root, left_out)
    except _NotPlainError:
        return None


class _NotPlainError(Exception):
    """A part of a schema is of a kind that may be read as another value than the one that is written."""


class _Reader:
    """A reader of core schemas. Its methods raise _NotPlainError for what they do not know."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._begun: set[str] = set()
        self._found: dict[str, Kinds] = {}

    def document(self, model: type[DocumentModel], schema: Any, left_out: Collection[str]) -> Check:
        """Return the check of documents."""
        if schema["type"] == "definition-ref":
            _know(schema, {"schema_ref"})
            schema = self._definitions[schema["schema_ref"]]
        _require(schema["type"] == "model" and schema["cls"] is model)
        fields = {name: field for name, field in _fields(schema).items() if name not in left_out}
        id, rev = (self._own_field(name, fields.pop(name)) for name in ("id", "rev"))
        _require(set(id) == {str} and rev == {str: None, NoneType: None})
        computed = {info.alias or name for name, info in model.__pydantic_computed_fields__.items()}
        # An empty revision is not written.
        return model_check([("id", id), ("rev", {str: bool, NoneType: None}), *self._members(fields, computed)])

    def _own_field(self, name: str, field: Any) -> Kinds:
        """Return the kinds of a field that is stored as a member of CouchDB's. It may be missing if it is None."""
        _know(field, _FIELD_KEYS)
        _require(_input_paths(field)[:1] == [[f"_{name}"]])
        kinds = self.kinds(field["schema"])
        _require(NoneType not in kinds or field["schema"].get("default", ...) is None)
        return kinds

    def kinds(self, schema: Any) -> Kinds:
        """Return the kinds of the values that a schema describes."""
        kind = schema["type"]
        if kind in _SIMPLE and schema.keys() <= _NEUTRAL:
            return {_SIMPLE[kind]: None}
        match kind:
            case "str" | "float":
                return {_SIMPLE[kind]: _constraints(schema)}
            case "int":
                is_plain = schema.keys() <= _NEUTRAL
                return {int: has_64_bits if is_plain else check_both(has_64_bits, _constraints(schema))}
            case "datetime":
                _know(schema, {"microseconds_precision", "tz_constraint"})
                _require(schema.get("tz_constraint") in _INSTANTS)
                return {datetime: _INSTANTS[schema.get("tz_constraint")]}
            case "uuid":
                _know(schema, ())
                return {UUID: None}
            case "any":
                _know(schema, ())
                return JSON
            case "literal":
                return _literal(schema)
            case "enum":
                return _enumeration(schema)
            case "json-or-python":
                return _link(schema)
        return self._composed(kind, schema)

    def _composed(self, kind: str, schema: Any) -> Kinds:
        match kind:
            case "nullable":
                _know(schema, {"schema"})
                return {**self.kinds(schema["schema"]), NoneType: None}
            case "default":
                _know(schema, _DEFAULT_KEYS)
                return self.kinds(schema["schema"])
            case "list":
                _know(schema, {"items_schema", *_LENGTHS})
                return {list: list_check(self._inner(schema, "items_schema"), *_lengths(schema))}
            case "dict":
                _know(schema, {"keys_schema", "values_schema", *_LENGTHS})
                keys = schema.get("keys_schema", {"type": "str"})
                _require(keys["type"] in ("str", "any") and keys.keys() <= _NEUTRAL)
                return {dict: dict_check(self._inner(schema, "values_schema"), *_lengths(schema))}
            case "model":
                return {schema["cls"]: self._model(schema)}
            case "definition-ref":
                _know(schema, {"schema_ref"})
                return self._defined(schema["schema_ref"])
        raise _NotPlainError

    def _inner(self, schema: Any, key: str) -> Kinds:
        return self.kinds(schema[key]) if key in schema else JSON

    def _model(self, schema: Any) -> Check:
        return model_check(self._members(_fields(schema)))

    def _members(self, fields: Mapping[str, Any], taken: Collection[str] = ()) -> list[tuple[str, Kinds]]:
        """Return the kinds of fields, of which none is stored under a name that is ``taken``."""
        names = set(taken)
        for name, field in fields.items():
            _know(field, _FIELD_KEYS)
            stored = field.get("serialization_alias", name)
            _require(stored not in names and (_input_paths(field) or [[name]])[0] == [stored])
            names.add(stored)
        return [(name, self.kinds(field["schema"])) for name, field in fields.items()]

    def _defined(self, ref: str) -> Kinds:
        schema = self._definitions[ref]
        if ref in self._begun:  # the definition has itself inside, and its check is not made yet
            _require(schema["type"] == "model")
            return {schema["cls"]: self._later(ref)}
        if ref not in self._found:
            self._begun.add(ref)
            self._found[ref] = self.kinds(schema)
            self._begun.remove(ref)
        return self._found[ref]

    def _later(self, ref: str) -> Check:
        def check(model: Any) -> bool:
            made = self._found[ref][type(model)]
            return made is not None and made(model)

        return check


# --- parts of schemas


def _require(condition: bool) -> None:
    if not condition:
        raise _NotPlainError


def _know(schema: Any, keys: Collection[str]) -> None:
    """Require that a schema has no other keys than these and neutral ones."""
    _require(schema.keys() <= _NEUTRAL.union(keys))


def _fields(schema: Any) -> Mapping[str, Any]:
    """Return the fields of the schema of a class."""
    _know(schema, _MODEL_KEYS)
    _require(not schema.get("custom_init") and not schema.get("root_model"))
    _require(schema.get("config", {}).keys() <= _CONFIG_KEYS)
    inner = schema["schema"]
    _require(inner["type"] == "model-fields")
    _know(inner, _FIELDS_KEYS)
    fields: Mapping[str, Any] = inner["fields"]
    return fields


def _input_paths(field: Any) -> list[list[Any]]:
    """Return the paths under which a field is read; none if it is read under its name."""
    alias = field.get("validation_alias", [])
    if isinstance(alias, str):
        return [[alias]]
    return alias if not alias or isinstance(alias[0], list) else [alias]


def _lengths(schema: Any) -> tuple[int, int | None]:
    return schema.get("min_length") or 0, schema.get("max_length")


def _constraints(schema: Any) -> Check:
    """Return the check of the constraints of a scalar. pydantic checks a value of Python as it checks one of JSON."""
    _require("serialization" not in schema)
    return validation_check(SchemaValidator(schema, STORED_CONFIG).validate_python)


def _literal(schema: Any) -> Kinds:
    _know(schema, {"expected"})
    # 1 and True are equal in Python, so the values of each type are a set of their own.
    expected: dict[type, set[Any]] = {}
    for value in schema["expected"]:
        expected.setdefault(type(value), set()).add(value)
    _require(all(_is_kept(schema, value) for value in schema["expected"]))
    return {kind: frozenset(values).__contains__ for kind, values in expected.items()}


def _enumeration(schema: Any) -> Kinds:
    _know(schema, {"cls", "members", "sub_type", "missing"})
    kind: type[Enum] = schema["cls"]
    _require(not issubclass(kind, Flag) and all(_is_kept(schema, member) for member in kind))
    return {kind: None}


def _is_kept(schema: Any, value: Any) -> bool:
    """Return True if a value is read again as it is. Of a type of few values, each can be tried."""
    validator = SchemaValidator(schema, STORED_CONFIG)
    try:
        text = SchemaSerializer(schema, STORED_CONFIG).to_json(value)
        read = [validator.validate_json(text, strict=strict) for strict in (False, True)]
    except ValueError:
        return False
    return all(type(each) is type(value) and each == value for each in read)


def _link(schema: Any) -> Kinds:
    _require(schema.get("serialization") in ID_SERIALIZATIONS)
    target = getattr(schema["json_schema"]["function"]["function"], "__self__", None)
    if not isinstance(target, LinkTarget):
        raise _NotPlainError
    return {Link: leads_to_document_or_nothing if target.is_optional else leads_to_document}
