"""Decoding of what views give, from the JSON texts of rows to keys, values and groups of the declared types."""

from collections.abc import Callable
from typing import Any, NoReturn

from pydantic import TypeAdapter, ValidationError
from pydantic_core import SchemaValidator
from typing_extensions import TypedDict

from couchmodel._model.codec.rules import FAST, STORED_CONFIG, adapt_schema
from couchmodel._model.views.definition import ViewDefinition
from couchmodel._model.views.fields import linked_value
from couchmodel._model.views.results import Group, ViewRow
from couchmodel._wire.messages import decode
from couchmodel.errors import DocumentError, ServerError

__all__ = ["group_decoder", "is_link", "key_decoder", "row_decoder"]


def row_decoder(view: ViewDefinition) -> Callable[[bytes], ViewRow[Any, Any]]:
    """Return the function that makes a row of its JSON text.

    It raises DocumentError if the key or the value is of another type than the view says.
    """
    validate = _reader(view, "row", lambda: {"id": str, "key": _key_type(view, None), "value": _value_type(view)})

    def read(text: bytes) -> ViewRow[Any, Any]:
        try:
            row = validate(text)
        except ValidationError as error:
            _raise(view, text, error)
        return ViewRow(row["id"], row["key"], row["value"])

    return read


def group_decoder(view: ViewDefinition, level: int | None) -> Callable[[bytes], Group[Any, Any]]:
    """Return the function that makes a group of its JSON text; ``level`` is the number of items of keys, None for all.

    It raises DocumentError if the key or the value is of another type than the view says, ServerError if the reduce
    function failed.
    """
    validate = _reader(view, f"group {level}", lambda: {"key": _key_type(view, level), "value": view.types.reduced})

    def read(text: bytes) -> Group[Any, Any]:
        try:
            group = validate(text)
        except ValidationError as error:
            _raise(view, text, error)
        return Group(group["key"], group["value"])

    return read


def key_decoder(view: ViewDefinition) -> Callable[[bytes], Any]:
    """Return the function that reads the key of a group. It raises DocumentError if it is of another type."""
    validate = _reader(view, "key", lambda: {"key": _key_type(view, None)})

    def read(text: bytes) -> Any:
        try:
            return validate(text)["key"]
        except ValidationError as error:
            _raise(view, text, error)

    return read


def is_link(view: ViewDefinition) -> bool:
    """Return True if the values of a view are links."""
    return view.value is not None and view.value.is_link


def _key_type(view: ViewDefinition, level: int | None) -> Any:
    if not view.is_tuple:
        return view.keys[0].annotation if level != 0 else Any
    if level == 0:
        return Any
    return tuple[tuple(field.annotation for field in view.keys[:level])]  # type: ignore[misc]


def _value_type(view: ViewDefinition) -> Any:
    if view.value is None:
        return None
    return linked_value(view.value.annotation) if view.value.is_link else view.value.annotation


def _reader(view: ViewDefinition, kind: str, members: Callable[[], dict[str, Any]]) -> Callable[[bytes], Any]:
    found: Callable[[bytes], Any] | None = view.readers.get(kind)
    if found is None:
        # One validator reads the whole row from its bytes, so no dictionary of JSON values is made in between.
        row: Any = TypedDict("Row", members())  # type: ignore[misc]  # pyright: ignore[reportArgumentType]
        schema = adapt_schema(TypeAdapter(row).core_schema, view.where, FAST)
        # With prebuilt ones, embedded models would be read by their own validators, and not as they are stored.
        found = view.readers[kind] = SchemaValidator(schema, STORED_CONFIG, _use_prebuilt=False).validate_json
    return found


def _raise(view: ViewDefinition, text: bytes, error: ValidationError) -> NoReturn:
    row = decode(text)
    # CouchDB has answered 200 by the time that a reduce function fails, so the error is a row.
    if "error" in row:
        raise ServerError(str(row.get("reason")), code=str(row["error"])) from None
    found: Any = error.errors(include_url=False, include_context=False)
    lines = [f"  {'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found]
    of = f" of {row['id']!r}" if "id" in row else ""
    message = "\n".join([f"a row{of} of {view.where} does not fit its types:", *lines])
    raise DocumentError(message, model=view.model.__name__, document_id=row.get("id"), errors=found) from None
