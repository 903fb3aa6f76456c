"""Documents to bytes and back: what is stored of a model, and what a model makes of what is stored.

A document is loaded by pydantic's JSON parser from the bytes of the answer, once. For storing, each model has a second
serializer, made of its own schema with the changes that a database needs:

* ``id``, ``rev`` and attachments are left out: they are members of CouchDB's;
* datetimes are written in UTC and at a fixed width, so that their order as strings is their order in time;
* sets are written in order, so that the same set is the same document;
* what JSON cannot carry (NaN, infinity) and what does not fit the field is an error, not a null.
"""

import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple, NoReturn, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, SchemaSerializer, core_schema, from_json, to_jsonable_python

from couchmodel._model import state
from couchmodel._model.base import DocumentModel
from couchmodel._model.fields import AttachmentField
from couchmodel._wire.messages import decode, encode
from couchmodel.errors import DocumentError

__all__ = ["change", "dump", "encode_operand", "load", "stored_as"]

M = TypeVar("M", bound=DocumentModel)


def load(model: type[M], body: bytes, home: object = None) -> M:
    """The document of a JSON text. Raises DocumentError where the text does not fit the model."""
    try:
        document: M = model.__pydantic_validator__.validate_json(body)
    except ValidationError as error:
        _refuse(model, body, error)
    state.set_stored(document, body)
    state.set_home(document, home)
    return document


def dump(document: DocumentModel) -> bytes:
    """What a document says, without CouchDB's own members, in the form in which it is stored.

    Raises DocumentError for what has no JSON. Whether it fits the model is asked before it is sent, by :func:`change`.
    """
    fast, exact = type(document).__storing__ or _serializers(type(document))
    try:
        body: bytes = fast(document, by_alias=True, warnings=False)
        if exact is not None and _UNEVEN.search(body):
            body = exact(document, by_alias=True, warnings=False)
    except (PydanticSerializationError, ValueError) as error:
        raise _unfit(document, str(error)) from None
    return body


def change(document: DocumentModel) -> bytes | None:
    """The document to send, with CouchDB's own members; None where what is stored says the same already.

    Only what has changed since the load is changed in what was loaded, so members that the model does not know survive.
    Raises DocumentError where the document does not fit its model any more.
    """
    mine = dump(document)
    base = state.stored(document)
    before = None if base is None else dump(load(type(document), base))
    if mine == before:
        return None
    _check(document, mine)
    if base is None or before is None:
        own = {"_id": document.id, "_rev": document.rev} if document.rev else {"_id": document.id}
        return splice(own, mine)
    merged = _apply(decode(base), decode(before), decode(mine))
    return encode({**merged, "_id": document.id, "_rev": document.rev})


def stored_as(document: DocumentModel, body: bytes, rev: str) -> None:
    """Take note that ``body``, which was sent, is stored as revision ``rev``."""
    state.set_rev(document, rev)
    state.set_stored(document, encode({**decode(body), "_id": document.id, "_rev": rev}))


def splice(own: Mapping[str, Any], body: bytes) -> bytes:
    """A JSON object with CouchDB's members in front."""
    return encode(own)[:-1] + (b"}" if body == b"{}" else b"," + body[1:])


def encode_operand(annotation: Any, value: object) -> Any:
    """A value that a field is compared with, in the form in which the field stores it."""
    try:
        return _operand_serializer(annotation).to_python(value, mode="json", by_alias=True, warnings="none")
    except TypeError:  # an annotation that cannot be hashed or has no schema
        return to_jsonable_python(value)


def _refuse(model: type[DocumentModel], body: bytes, error: ValidationError) -> NoReturn:
    try:
        document_id = decode(body).get("_id")
    except (ValueError, AttributeError):
        document_id = None
    raise _error(model, document_id, error) from error


def _error(model: type[DocumentModel], document_id: str | None, error: ValidationError) -> DocumentError:
    found: Any = error.errors(include_url=False, include_context=False)
    lines = [f"  {'.'.join(map(str, each['loc'])) or 'document'}: {each['msg']}" for each in found]
    message = "\n".join([f"{model.__name__} {document_id!r} does not fit its model:", *lines])
    return DocumentError(message, model=model.__name__, document_id=document_id, errors=found)


def _unfit(document: DocumentModel, reason: str) -> DocumentError:
    model = type(document).__name__
    message = f"{model} {document.id!r} cannot be stored: {reason}"
    return DocumentError(message, model=model, document_id=document.id, errors=[])


def _check(document: DocumentModel, mine: bytes) -> None:
    """Raise DocumentError for what the model would not load again as it is: pydantic lets any value be assigned."""
    try:
        decode(mine)
        again = type(document).__pydantic_validator__.validate_json(mine)
        if dump(again) != mine:
            # A validator may have tidied a value up, which is fine, or pydantic a value of another type, which is not.
            _serializers(type(document)).fast(document, by_alias=True, warnings="error")
    except ValidationError as error:
        raise _error(type(document), document.id, error) from None
    except PydanticSerializationError as error:
        raise _unfit(document, str(error)) from None
    except ValueError:
        where = ", ".join(_constants(from_json(mine)))
        raise _unfit(document, f"{where}: NaN and infinity have no JSON; store None or a string instead") from None


def _constants(value: Any, path: str = "") -> Iterator[str]:
    """Where NaN or infinity is."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _constants(member, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for n, member in enumerate(value):
            yield from _constants(member, f"{path}.{n}")
    elif isinstance(value, float) and not math.isfinite(value):
        yield path


def _apply(stored: Any, before: Any, after: Any) -> Any:
    """What was stored, with the changes that lead from ``before`` to ``after``, both of which know less than it."""
    if before == after:
        return stored
    if isinstance(stored, dict) and isinstance(before, dict) and isinstance(after, dict):
        kept = {name: value for name, value in stored.items() if name in after or name not in before}
        return kept | {name: _apply_member(name, stored, before, value) for name, value in after.items()}
    if isinstance(stored, list) and isinstance(before, list) and isinstance(after, list) and len(stored) == len(before):
        return [_apply_element(n, stored, before, after) for n in range(len(after))]
    return after


def _apply_member(name: str, stored: dict[str, Any], before: dict[str, Any], value: Any) -> Any:
    return _apply(stored[name], before[name], value) if name in stored and name in before else value


def _apply_element(n: int, stored: list[Any], before: list[Any], after: list[Any]) -> Any:
    """An element of a list.

    One that is as it was is taken from where it stood; in a list of the same length, one that was edited stood here.
    Elsewhere nobody knows which it was, so nothing is guessed.
    """
    if n < len(before) and before[n] == after[n]:
        return stored[n]
    if after[n] in before:
        return stored[before.index(after[n])]
    return _apply(stored[n], before[n], after[n]) if len(before) == len(after) else after[n]


# --- serializers


def _write_datetime(value: datetime, iso: Callable[..., str] = datetime.isoformat) -> str:
    text = iso(value, "T", "microseconds")
    if text.endswith("+00:00"):
        return f"{text[:-6]}Z"
    return text if value.tzinfo is None else _write_datetime(value.astimezone(UTC))


def _write_aware(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone, which its field asks for")
    return _write_datetime(value)


def _write_set(value: Any, handler: Callable[[Any], list[Any]]) -> list[Any]:
    return sorted(handler(value), key=lambda member: json.dumps(member, sort_keys=True))


_DATETIMES: Final[Mapping[str, Any]] = {
    "": {"serialization": core_schema.plain_serializer_function_ser_schema(_write_datetime, when_used="json")},
    "aware": {"serialization": core_schema.plain_serializer_function_ser_schema(_write_aware, when_used="json")},
}
_UNEVEN: Final = re.compile(rb'T\d\d:\d\d:\d\d(?!\.\d{6}Z")')
"""An instant as pydantic writes one of a whole second, in another zone or in none; all others come out as they should.

Python's own formatting takes a quarter of the time that pydantic needs for a whole document, so it is left for these.
"""
_SET: Final = core_schema.wrap_serializer_function_ser_schema(_write_set, when_used="json")
_STRICT: Final = core_schema.CoreConfig(ser_json_inf_nan="constants")


class _Serializers(NamedTuple):
    """The storing serializers of a model: pydantic's own pace, and the exact one that datetimes may need."""

    fast: Callable[..., bytes]
    exact: Callable[..., bytes] | None


def _serializers(model: type[DocumentModel]) -> _Serializers:
    """The storing serializers of a model, which are made once and kept on its class."""
    found: _Serializers | None = model.__storing__
    if found is None:
        found = _make_serializers(model)
        type.__setattr__(model, "__storing__", found)
    return found


def _make_serializers(model: type[DocumentModel]) -> _Serializers:
    if not model.__pydantic_complete__:
        model.model_rebuild()
    left_out = {"id", "rev"} | {name for name in model.__pydantic_fields__ if _is_attachment(model, name)}
    schema: Any = model.__pydantic_core_schema__
    fast, exact = _changed(schema, {}, model, left_out), _changed(schema, _DATETIMES, model, left_out)
    return _Serializers(_serializer(fast).to_json, None if fast == exact else _serializer(exact).to_json)


@lru_cache(maxsize=1024)
def _operand_serializer(annotation: Any) -> SchemaSerializer:
    schema: Any = TypeAdapter(annotation).core_schema
    return _serializer(_changed(schema, _DATETIMES))


def _serializer(schema: Any) -> SchemaSerializer:
    # Without _use_prebuilt=False, pydantic would put the unchanged serializers of embedded models to use.
    return SchemaSerializer(schema, _STRICT, _use_prebuilt=False)


def _changed(
    schema: Any, datetimes: Mapping[str, Any], model: type | None = None, left_out: Collection[str] = ()
) -> Any:
    """The core schema with what storing needs. It is walked as plain data: most of its keys are of no concern here."""
    if isinstance(schema, (list, tuple)):
        return type(schema)(_changed(each, datetimes, model, left_out) for each in schema)
    if not isinstance(schema, dict):
        return schema
    changed = {
        key: value if key in _OPAQUE else _changed(value, datetimes, model, left_out) for key, value in schema.items()
    }
    kind = changed.get("type")
    if kind == "datetime" and "serialization" not in changed:
        changed |= datetimes.get(changed.get("tz_constraint", ""), {})
    elif kind in ("set", "frozenset") and "serialization" not in changed:
        changed["serialization"] = _SET
    elif kind == "model":
        changed["config"] = {**changed.get("config", {}), **_STRICT}
        if changed["cls"] is model:
            _leave_out(changed["schema"], left_out)
    return changed


_OPAQUE: Final = frozenset({"cls", "metadata", "default", "expected"})
"""Keys of a core schema under which no schema stands."""


def _leave_out(schema: Any, names: Collection[str]) -> None:
    while "fields" not in schema:
        schema = schema["schema"]
    for name in names:
        schema["fields"][name]["serialization_exclude"] = True


def _is_attachment(model: type[DocumentModel], name: str) -> bool:
    return any(isinstance(vars(base).get(name), AttachmentField) for base in model.__mro__)
