"""The members that JSON input may have, and the documents and patches that are made of it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin
from weakref import WeakKeyDictionary

from pydantic import AliasPath, BaseModel, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError, to_json

from couchmodel._model.model import CouchModel
from couchmodel._model.query.patches import field_of_input
from couchmodel._model.schema.annotations import bare_type, element_type, is_attachment
from couchmodel._model.schema.field_options import storage_options
from couchmodel._model.schema.suggestions import nearest
from couchmodel._wire.messages import decode
from couchmodel.errors import DocumentError
from couchmodel.integrations._core.ids import reason_against_id
from couchmodel.integrations._core.problems import ProblemError

__all__ = ["Purpose", "decode_input", "hidden_fields", "read_create", "read_patch", "takes_ids"]

M = TypeVar("M", bound=CouchModel)

Purpose = Literal["create", "patch", "read"]
"""The purpose of a face of a model."""


def takes_ids(model: type[CouchModel]) -> bool:
    """Return True if clients give the ids of new documents: if the model declares ``id`` anew, without a default."""
    return model.__pydantic_fields__["id"].is_required()


def hidden_fields(model: type[BaseModel], purpose: Purpose) -> set[str]:
    """Return the fields that a face does not have. Those of attachments are not among the fields of ``read``."""
    hidden = {name for name, info in model.__pydantic_fields__.items() if is_attachment(info.annotation)}
    for name, info in model.__pydantic_fields__.items():
        if info.exclude if purpose == "read" else storage_options(info).read_only:
            hidden.add(name)
    if issubclass(model, CouchModel) and purpose != "read":
        hidden.add("rev")
        if purpose == "patch" or not takes_ids(model):
            hidden.add("id")
    return hidden


def decode_input(body: bytes) -> Any:
    """Return the value of a JSON body. Raises ProblemError 400 if it is not JSON."""
    try:
        return decode(body)
    except DocumentError:
        raise ProblemError(400, "The body is nested too deeply.") from None
    except ValueError as error:
        raise ProblemError(400, f"The body is not JSON: {error}.") from None


def read_create(model: type[M], value: Any, shown: Mapping[str, Any] | None = None) -> M:
    """Return the new document that JSON input describes. Raises pydantic's ValidationError.

    ``shown`` is what clients see of the document that it replaces. Members that only the server sets may be sent as
    they are there.
    """
    errors: list[Any] = [
        each
        for each in _check(model, value, "create")
        if shown is None or each["type"] != "read_only" or _member_at(shown, each["loc"]) != each["input"]
    ]
    document: M | None = None
    try:
        # The input is validated as JSON, which has dates, bytes and UUIDs as texts. It was parsed only to look at its
        # names.
        document = model.model_validate_json(to_json(value, inf_nan_mode="constants"))
    except ValidationError as error:
        # A member that is refused by its name is mostly refused by its value, too, and is told once.
        known = {each["loc"] for each in errors}
        found = [_with_public_name(each) for each in error.errors(include_url=False, include_context=False)]
        errors += [each for each in found if each["loc"] not in known]
    if document is not None and not errors:
        # The id may be made of fields, so it is known only now.
        reason = reason_against_id(document.id)
        if reason is None:
            return document
        errors.append(_error(("id",), "id", reason, document.id))
    raise _validation_error(model, errors)


def _with_public_name(error: Any) -> Any:
    """Return an error of pydantic with the name that clients know instead of CouchDB's."""
    first, *rest = error["loc"] or ("",)
    return {**error, "loc": (first[1:], *rest)} if first in ("_id", "_rev") else error


def _member_at(value: Any, place: tuple[str | int, ...]) -> Any:
    """Return what is at a place of a JSON value; the place itself if there is nothing."""
    for name in place:
        try:
            value = value[name]
        except (LookupError, TypeError):
            return place
    return value


def read_patch(model: type[CouchModel], value: Any) -> Mapping[str, Any]:
    """Return the patch that JSON input describes. Raises pydantic's ValidationError for members that it may not have.

    Whether their values fit is seen when they are assigned.
    """
    errors = list(_check(model, value, "patch"))
    if errors:
        raise _validation_error(model, errors)
    patch: Mapping[str, Any] = value
    return patch


@dataclass(frozen=True, slots=True)
class _Members:
    """The members that a model takes from input for one purpose."""

    fields: Mapping[str, str]
    """The fields by the names of their members. A name that is read by a path leads to no field."""

    hidden: frozenset[str]
    is_closed: bool
    """True if other members are refused."""


_members: WeakKeyDictionary[type, dict[Purpose, _Members]] = WeakKeyDictionary()


def _members_of(model: type[BaseModel], purpose: Purpose) -> _Members:
    known = _members.setdefault(model, {})
    if purpose not in known:
        known[purpose] = _find_members(model, purpose)
    return known[purpose]


def _find_members(model: type[BaseModel], purpose: Purpose) -> _Members:
    names: dict[str, str] = {}
    for name in _input_names(model):
        field = field_of_input(model, name)
        names[name] = field or ""
    # A function that sees the input first may know other members.
    reads_first = any(
        each.info.mode in ("before", "wrap") for each in model.__pydantic_decorators__.model_validators.values()
    )
    is_closed = model.model_config.get("extra", "forbid") == "forbid" and not reads_first
    return _Members(names, frozenset(hidden_fields(model, purpose)), is_closed)


def _input_names(model: type[BaseModel]) -> Iterator[str]:
    for name, info in model.__pydantic_fields__.items():
        yield name if field_of_input(model, name) else ""
        for alias in (info.validation_alias, info.alias):
            for each in getattr(alias, "choices", [alias]):
                if isinstance(each, AliasPath):
                    yield str(each.path[0])
                elif isinstance(each, str):
                    yield each


def _check(model: type[CouchModel], value: Any, purpose: Purpose) -> Iterator[dict[str, Any]]:
    if not isinstance(value, Mapping):
        yield _error((), "dict_type", "The body is an object", value)
        return
    for name in value:
        if name.startswith("_"):
            yield _error((name,), "extra_forbidden", "Members that begin with an underscore are CouchDB's own", None)
    # Members that begin with an underscore were refused above.
    public = {name: member for name, member in value.items() if not name.startswith("_")}
    yield from _check_members(model, public, purpose, ())


def _check_members(
    model: type[BaseModel], value: Mapping[str, Any], purpose: Purpose, place: tuple[str | int, ...]
) -> Iterator[dict[str, Any]]:
    members = _members_of(model, purpose)
    for name, member in value.items():
        field = members.fields.get(name)
        if field is None:
            if members.is_closed:
                said = f"There is no such member{nearest(name, filter(None, members.fields))}"
                yield _error((*place, name), "extra_forbidden", said, member)
        elif field in members.hidden:
            yield _error((*place, name), "read_only", "This member is set by the server", member)
        elif field:
            annotation = model.__pydantic_fields__[field].annotation
            yield from _check_value(annotation, member, purpose, (*place, name))


def _check_value(
    annotation: Any, value: Any, purpose: Purpose, place: tuple[str | int, ...]
) -> Iterator[dict[str, Any]]:
    kind = bare_type(annotation)
    if isinstance(value, Mapping):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _check_members(kind, value, purpose, place)
        elif get_origin(kind) is dict:
            for name, member in value.items():
                yield from _check_value(get_args(kind)[1], member, purpose, (*place, name))
    elif isinstance(value, list) and (element := element_type(kind)) is not None:
        for n, member in enumerate(value):
            yield from _check_value(element, member, purpose, (*place, n))


def _error(place: tuple[str | int, ...], kind: str, message: str, value: Any) -> dict[str, Any]:
    return {"type": kind, "loc": place, "msg": message, "input": value}


def _validation_error(model: type[BaseModel], errors: Iterable[Any]) -> ValidationError:
    details = [
        InitErrorDetails(type=PydanticCustomError(each["type"], each["msg"]), loc=each["loc"], input=None)
        for each in errors
    ]
    return ValidationError.from_exception_data(model.__name__, details)
