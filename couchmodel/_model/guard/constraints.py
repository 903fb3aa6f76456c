"""The constraints of a model as the declaration of a guard, and sentences on those that a guard cannot have.

They are read from the core schema of the stored form, so names and types are those of the stored document. A guard is
never stricter than the model is with a document that it saves: where the stored form of a value is not known, as behind
a serializer of the user's own, any value passes.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from couchmodel._model.codec.forms import form_of
from couchmodel._model.codec.rules import EXACT, OWN_SERIALIZATIONS, adapt_schema
from couchmodel._model.guard import scalars
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.members.versions import VERSION_MEMBER
from couchmodel.types import JSONObject

__all__ = ["Constraints", "constraints_of"]

_ANYTHING: Final[JSONObject] = {"is": "anything"}

_PYDANTICS: Final = {"serialize_sequence_via_list": "items", "ser_path": "text", "ser_ip": "text"}
"""pydantic's own serializers of types without a schema of their own, and what they write."""


class Constraints(NamedTuple):
    """The declaration of a guard, and a sentence for each constraint of the model that it lacks."""

    declaration: JSONObject
    missing: tuple[str, ...]


def constraints_of(model: type[DocumentModel]) -> Constraints:
    """Return the constraints of a model, without those of its subclasses."""
    form = form_of(model)
    reader = _Reader(model, form.attachments | {"id", "rev"})
    schema = adapt_schema(model.__pydantic_core_schema__, model.__name__, EXACT)
    rules = reader.read_document(schema)
    declared = model.__declared__
    # A member of that name is a field's, and not the version's, in a model that has not named a version.
    is_field = declared.version == 1 and VERSION_MEMBER in (*reader.stored_names, declared.type_field)
    declaration: JSONObject = {
        "model": model.__name__,
        "type_member": None if declared.type is None else declared.type_field,
        "type": declared.type,
        "version_member": None if is_field else VERSION_MEMBER,
        "version": declared.version,
        "rules": rules,
    }
    return Constraints(declaration, tuple(dict.fromkeys(reader.missing)))


class _Reader:
    """A reader of core schemas, which notes what cannot be a rule."""

    def __init__(self, model: type[DocumentModel], left_out: frozenset[str]) -> None:
        self._model = model
        self._left_out = left_out
        self._definitions: dict[str, Any] = {}
        self._names: dict[str, str] = {}
        self._rules: dict[str, JSONObject] = {}
        self._path: list[str] = []
        self._configs: list[Mapping[str, Any]] = []
        self._is_in_union = False
        self.stored_names: list[str] = []
        self.missing: list[str] = []

    def read_document(self, schema: Any) -> dict[str, JSONObject]:
        """Return the rules of a model by name.

        ``document`` is the rule of a whole document. The others are those of schemas that are used several times, or
        within themselves.
        """
        self._rules["document"] = _ANYTHING
        self._collect(schema)
        root = schema
        # pydantic moves a schema that is used twice, or within itself, into a list of definitions.
        while root["type"] in ("definitions", "definition-ref"):
            root = root["schema"] if root["type"] == "definitions" else self._definitions[root["schema_ref"]]
        self._rules["document"] = self._read_root(root)
        return self._rules

    def _collect(self, schema: Any) -> None:
        """Note the definitions, which may be at any depth."""
        if isinstance(schema, (list, tuple)):
            for each in schema:
                self._collect(each)
        elif isinstance(schema, dict):
            if isinstance(schema.get("ref"), str):
                self._definitions[schema["ref"]] = schema
            for key, value in schema.items():
                # These hold values of the user, in which a member ``ref`` means nothing.
                if key not in ("metadata", "cls", "config", "default"):
                    self._collect(value)

    def _read_root(self, schema: Any) -> JSONObject:
        """Return the rule of the document itself, whose id, revision and attachments are not the guard's."""
        kind = schema["type"]
        if kind in ("function-before", "function-after"):
            self._miss_function(schema)
            return self._read_root(schema["schema"])
        if kind != "model" or _has_serializer(schema):
            return self._miss("its form as a whole is its own, so nothing of it is guarded")
        self._configs.append(schema.get("config", {}))
        inner = schema["schema"]
        while inner["type"] in ("function-before", "function-after", "definitions"):
            if inner["type"] != "definitions":
                self._miss_function(inner)
            inner = inner["schema"]
        if inner["type"] != "model-fields":
            return self._miss_function(inner)
        fields = {name: field for name, field in inner["fields"].items() if name not in self._left_out}
        rule = self.read_fields({**inner, "fields": fields})
        self.stored_names = [member["name"] for member in rule["members"]]
        return rule

    # --- sentences

    def _miss(self, reason: str) -> JSONObject:
        self.missing.append(f"{'.'.join(self._path) or self._model.__name__}: {reason}")
        return _ANYTHING

    def _miss_function(self, schema: Any) -> JSONObject:
        function = schema.get("function", {}).get("function")
        function = getattr(function, "func", function)
        # The validators of couchmodel read the stored form of decimals, and constrain nothing.
        if getattr(function, "__module__", "") == "couchmodel._model.codec.decimals":
            return _ANYTHING
        return self._miss(f"its validator {getattr(function, '__name__', '')}() is not guarded".replace(" ()", ""))

    # --- rules

    def read(self, schema: Any) -> JSONObject:
        """Return the rule of a schema at any depth."""
        kind = schema["type"]
        if _has_serializer(schema) and kind not in ("function-plain", "function-wrap"):
            return self._own_serializer(schema)
        scalar = scalars.READERS.get(kind)
        if scalar is not None:
            found = scalar({**self._config(), **schema, "in_union": self._is_in_union})
            for reason in found.missing:
                self._miss(reason)
            return found.rule
        reader = _READERS.get(kind)
        if reader is None:
            return self._miss(f"the stored form of its type ({kind}) is not guarded")
        return reader(self, schema)

    def _config(self) -> JSONObject:
        """Return the constraints on texts that the configuration of the model sets."""
        config = self._configs[-1] if self._configs else {}
        found = {
            key: config[f"str_{key}"]
            for key in ("min_length", "max_length", "strip_whitespace")
            if config.get(f"str_{key}") is not None
        }
        return {**found, "regex_engine": config.get("regex_engine")}

    def _own_serializer(self, schema: Any) -> JSONObject:
        function = schema["serialization"].get("function")
        if getattr(function, "__module__", "").startswith("pydantic."):
            match _PYDANTICS.get(function.__name__):
                case "items" if schema["type"] == "json-or-python":
                    return self.read(schema["json_schema"])
                case "text":
                    return {"is": "text"}
        return self._miss("it has a serializer of its own, so its stored form is not guarded")

    def read_inner(self, schema: Any) -> JSONObject:
        return self.read(schema["schema"])

    def read_function(self, schema: Any) -> JSONObject:
        self._miss_function(schema)
        return self.read(schema["schema"])

    def read_opaque(self, schema: Any) -> JSONObject:
        self._miss_function(schema)
        return _ANYTHING

    def read_default(self, schema: Any) -> JSONObject:
        if schema.get("on_error") == "default":
            return self._miss("what does not fit is replaced by its default, so nothing of it is guarded")
        return self.read(schema["schema"])

    def read_nullable(self, schema: Any) -> JSONObject:
        inner = self.read(schema["schema"])
        # A rule that any value meets is left out, so the function stays short.
        return inner if inner == _ANYTHING else {"is": "nullable", "rule": inner}

    def read_items(self, schema: Any) -> JSONObject:
        self._path.append("0")
        inner = self.read(schema.get("items_schema", {"type": "any"}))
        self._path.pop()
        # A set is stored as a list, and JSON has no rule for different elements.
        if schema["type"] in ("set", "frozenset") and schema.get("min_length"):
            self._miss("an element that a set has twice counts twice for min_length")
        return {"is": "list", **_without_anything("items", inner), **_size(schema)}

    def read_tuple(self, schema: Any) -> JSONObject:
        items, variadic = list(schema["items_schema"]), schema.get("variadic_item_index")
        rules = []
        for n, each in enumerate(items):
            self._path.append(str(n))
            rules.append(self.read(each))
            self._path.pop()
        if variadic is None:
            return {"is": "tuple", "before": rules, "after": []}
        before, inner, after = rules[:variadic], rules[variadic], rules[variadic + 1 :]
        return {"is": "tuple", "before": before, "items": inner, "after": after, **_size(schema)}

    def read_map(self, schema: Any) -> JSONObject:
        self._path.append("*")
        keys = self._keys(schema.get("keys_schema", {"type": "any"}))
        values = self.read(schema.get("values_schema", {"type": "any"}))
        self._path.pop()
        return {
            "is": "map",
            **_without_anything("keys", keys),
            **_without_anything("values", values),
            **_size(schema),
        }

    def _keys(self, schema: Any) -> JSONObject:
        if schema["type"] == "any":
            return _ANYTHING
        rule = self.read(schema) if schema["type"] in ("str", "literal", "enum") else _ANYTHING
        if rule["is"] == "text" or (rule["is"] == "choice" and all(isinstance(each, str) for each in rule["values"])):
            return rule
        return self._miss("its names are not guarded, since JSON has texts only there")

    def read_union(self, schema: Any) -> JSONObject:
        # In a union, pydantic tries each type strictly first, so a number is not read from a text there.
        before, self._is_in_union = self._is_in_union, True
        choices = [self.read(each[0] if isinstance(each, tuple) else each) for each in schema["choices"]]
        self._is_in_union = before
        # One type that is not known lets any value through, so the others need no check.
        return _ANYTHING if _ANYTHING in choices else {"is": "union", "choices": choices}

    def read_tagged_union(self, schema: Any) -> JSONObject:
        by, choices = schema["discriminator"], schema["choices"]
        # The discriminator may be a function, and tags may be numbers. JavaScript's objects have texts for names.
        if not isinstance(by, str) or not all(isinstance(tag, str) for tag in choices):
            return self.read_union({"choices": list(choices.values())})
        said = scalars.one_of(list(choices))
        rules = {tag: self.read(each) for tag, each in choices.items()}
        return {"is": "tagged", "by": by, "said": said, "choices": rules}

    def read_model(self, schema: Any) -> JSONObject:
        before, self._is_in_union = self._is_in_union, False  # pydantic writes models by their classes
        self._configs.append(schema.get("config", {}))
        found = self.read(schema["schema"])
        self._configs.pop()
        self._is_in_union = before
        return found

    def read_fields(self, schema: Any) -> JSONObject:
        """Return the rule of an object. Members that its model does not know pass."""
        members = list[JSONObject]()
        config = self._configs[-1] if self._configs else {}
        extra = schema.get("extra_behavior") or config.get("extra_fields_behavior")
        if extra == "forbid":
            self._miss("members that its model forbids pass")
        if schema.get("extras_schema") is not None:
            self._miss("members of other names are not guarded")
        for name, field in _fields_of(schema):
            self._path.append(name)
            members.append(self._member(name, field, schema))
            self._path.pop()
        return {"is": "object", "members": members}

    def _member(self, name: str, field: Any, schema: Any) -> JSONObject:
        stored = field.get("serialization_alias") or name
        rule = self.read(field["schema"])
        found: JSONObject = {"name": stored}
        if _is_required(field, schema):
            found["required"] = True
            others = [other for other in _input_names(field.get("validation_alias")) if other != stored]
            if others:
                found["or"] = others
        return {**found, **_without_anything("rule", rule)}

    def read_reference(self, schema: Any) -> JSONObject:
        reference = schema["schema_ref"]
        name = self._names.get(reference)
        if name is None:
            # The names that pydantic gives have addresses of memory in them.
            name = self._names[reference] = f"{reference.rsplit(':', 1)[0].rsplit('.', 1)[-1]} {len(self._names) + 1}"
            # A schema within itself comes back to its own reference while it is read, and finds the name then.
            self._rules[name] = _ANYTHING
            self._rules[name] = self.read(self._definitions[reference])
        return {"is": "rule", "name": name}

    def read_definitions(self, schema: Any) -> JSONObject:
        return self.read(schema["schema"])


_READERS: Final[Mapping[str, Callable[[_Reader, Any], JSONObject]]] = {
    "any": lambda _, __: _ANYTHING,
    "custom-error": _Reader.read_inner,
    "dataclass": _Reader.read_model,
    "dataclass-args": _Reader.read_fields,
    "default": _Reader.read_default,
    "definition-ref": _Reader.read_reference,
    "definitions": _Reader.read_definitions,
    "deque": _Reader.read_items,
    "dict": _Reader.read_map,
    "frozenset": _Reader.read_items,
    "function-after": _Reader.read_function,
    "function-before": _Reader.read_function,
    "function-plain": _Reader.read_opaque,
    "function-wrap": _Reader.read_opaque,
    "list": _Reader.read_items,
    "model": _Reader.read_model,
    "model-fields": _Reader.read_fields,
    "nullable": _Reader.read_nullable,
    "set": _Reader.read_items,
    "tagged-union": _Reader.read_tagged_union,
    "tuple": _Reader.read_tuple,
    "typed-dict": _Reader.read_fields,
    "union": _Reader.read_union,
}


def _has_serializer(schema: Any) -> bool:
    return "serialization" in schema and schema["serialization"] not in OWN_SERIALIZATIONS


def _fields_of(schema: Any) -> Iterator[tuple[str, Any]]:
    fields = schema["fields"]
    if isinstance(fields, Mapping):
        yield from fields.items()
    else:
        yield from ((field["name"], field) for field in fields)


def _is_required(field: Any, schema: Any) -> bool:
    if schema["type"] == "typed-dict":
        return bool(field.get("required", schema.get("total", True)))
    return field.get("init") is not False and not _has_default(field["schema"])


def _has_default(schema: Any) -> bool:
    while schema["type"] in ("function-before", "function-after", "function-wrap", "nullable"):
        schema = schema["schema"]
    return bool(schema["type"] == "default")


def _input_names(alias: Any) -> list[str]:
    """Return the names of members that a field is read from."""
    if alias is None:
        return []
    paths = [[alias]] if isinstance(alias, str) else [each if isinstance(each, list) else [each] for each in alias]
    return [path[0] for path in paths if isinstance(path[0], str)]


def _size(schema: Any) -> JSONObject:
    found = {key: schema[key] for key in ("min_length", "max_length") if schema.get(key) is not None}
    return {key: value for key, value in found.items() if (key, value) != ("min_length", 0)}


def _without_anything(key: str, rule: JSONObject) -> JSONObject:
    return {} if rule == _ANYTHING else {key: rule}
