"""JSON merge patches (RFC 7396) of documents, by the names and in the form of JSON input."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Strict, TypeAdapter, ValidationError
from pydantic_core import to_json

from couchmodel._model.codec.duplicates import snapshot
from couchmodel._model.codec.forms import write_key
from couchmodel._model.schema.annotations import input_names, is_attachment
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.suggestions import nearest
from couchmodel.errors import DocumentError

__all__ = ["assign_patch", "field_of_input"]


def assign_patch(document: DocumentModel, patch: Mapping[str, Any]) -> None:
    """Change the fields of a document that a patch names. Nothing is changed if one of them does not fit.

    An object in the patch changes the members of an embedded model or of a dictionary; null removes a member of a
    dictionary. Any other value replaces the field. Raises DocumentError, with an error for each member that is unknown
    or does not fit.
    """
    model = type(document)
    if not isinstance(patch, Mapping):
        _refuse(document, [_error((), "dict_type", "a patch is an object with members to change", patch)])
    if model.model_config.get("frozen"):
        _refuse(document, [_error((), "frozen_instance", "its model is frozen: store a copy", patch)])
    changed = snapshot(document)
    errors: list[dict[str, Any]] = []
    if len(patch) > 1:  # a rule of the whole model may hold only when all members are assigned
        _Patching([], is_last=False).members(changed, patch, ())
    _Patching(errors, is_last=True).members(changed, patch, ())
    if errors:
        _refuse(document, errors)
    vars(document).update(vars(changed))
    document.__pydantic_fields_set__.update(changed.__pydantic_fields_set__)
    object.__setattr__(document, "__pydantic_extra__", changed.__pydantic_extra__)


def field_of_input(model: type[BaseModel], name: str) -> str | None:
    """Return the field that JSON input sets under a name; None if there is none. CouchDB's ``_id`` is no such name."""
    fields = model.__pydantic_fields__
    by_name = bool(model.model_config.get("populate_by_name") or model.model_config.get("validate_by_name"))
    for field, info in fields.items():
        names = [field] if is_attachment(info.annotation) else input_names(field, info, by_name=by_name)
        if name in names and not (issubclass(model, DocumentModel) and name.startswith("_")):
            return field
    return None


class _Patching:
    """The assignment of one patch, which gathers the errors."""

    def __init__(self, errors: list[dict[str, Any]], *, is_last: bool) -> None:
        self._errors = errors
        self._is_last = is_last

    def members(self, target: BaseModel, patch: Mapping[str, Any], path: tuple[str, ...]) -> None:
        """Change the fields of a model in place."""
        for name, value in patch.items():
            model, place = type(target), (*path, name)
            field = field_of_input(model, name)
            if field is None:
                self._extra(target, name, value, place)
            elif isinstance(target, DocumentModel) and self._is_own(model, field):
                self._errors.append(_error(place, "read_only", "this member is not set by a patch", value))
            else:
                self._assign(target, field, self._value(getattr(target, field), value, place), place)

    def _value(self, current: Any, value: Any, place: tuple[str, ...]) -> Any:
        if not isinstance(value, Mapping):
            return value
        if isinstance(current, BaseModel) and not current.model_config.get("frozen"):
            self.members(current, value, place)
            return current
        if isinstance(current, BaseModel):
            # A frozen model cannot be changed in place, so another one is made of its members.
            return {**current.model_dump(mode="json", by_alias=True), **value}
        if isinstance(current, dict):
            return self._mapping(current, value, place)
        return value

    def _mapping(self, current: dict[Any, Any], patch: Mapping[str, Any], place: tuple[str, ...]) -> dict[Any, Any]:
        merged = dict(current)
        for name, value in patch.items():
            # Keys may be of other types than texts, and the names of JSON are what is written of them.
            key = next((each for each in current if write_key(type(each), each) == name), name)
            if value is None:
                merged.pop(key, None)
            else:
                merged[key] = self._value(current.get(key), value, (*place, name))
        return merged

    def _extra(self, target: BaseModel, name: str, value: Any, place: tuple[str, ...]) -> None:
        """Set or remove a member that the model does not declare, if the model allows such members."""
        extra = target.__pydantic_extra__
        is_own = name in type(target).__pydantic_fields__ or (isinstance(target, DocumentModel) and name[:1] == "_")
        if extra is None or is_own:  # a field is set by its alias only
            said = f"there is no such member{nearest(name, type(target).__pydantic_fields__)}"
            self._errors.append(_error(place, "extra_forbidden", said, value))
        elif value is None:
            extra.pop(name, None)
        else:
            self._assign(target, name, self._value(extra.get(name), value, place), place)

    @staticmethod
    def _is_own(model: type[BaseModel], field: str) -> bool:
        return field in ("id", "rev") or is_attachment(model.__pydantic_fields__[field].annotation)

    def _assign(self, target: BaseModel, field: str, value: Any, place: tuple[str, ...]) -> None:
        try:
            value = _read_strict(type(target), field, value)
            type(target).__pydantic_validator__.validate_assignment(target, field, value)
        except ValidationError as error:
            for each in error.errors(include_url=False, include_context=False):
                # The rules of a whole model are checked at each assignment.
                found = {**each, "loc": (*place, *each["loc"][1:]) if each["loc"] else place[:-1]}
                if (self._is_last or each["loc"]) and found not in self._errors:
                    self._errors.append(found)


def _read_strict(model: type[BaseModel], field: str, value: Any) -> Any:
    """Return the value of a field that is strict, as JSON input gives it: an instant is a text there.

    Any other value is returned as it is. Raises pydantic's ValidationError.
    """
    info = model.__pydantic_fields__.get(field)
    if info is None or isinstance(value, BaseModel):
        return value
    if not model.model_config.get("strict") and not any(isinstance(each, Strict) for each in info.metadata):
        return value
    kind: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    try:
        return TypeAdapter(kind).validate_json(to_json(value), strict=True)
    except ValidationError as error:
        line: Any = [{**each, "loc": (field, *each["loc"])} for each in error.errors(include_url=False)]
        raise ValidationError.from_exception_data(model.__name__, line) from None


def _error(place: tuple[str, ...], kind: str, message: str, value: Any) -> dict[str, Any]:
    return {"type": kind, "loc": place, "msg": message, "input": value}


def _refuse(document: DocumentModel, errors: list[dict[str, Any]]) -> None:
    model = type(document).__name__
    lines = [f"  {'.'.join(map(str, each['loc'])) or 'document'}: {each['msg']}" for each in errors]
    message = "\n".join([f"{model} {document.id!r} cannot be changed:", *lines])
    raise DocumentError(message, model=model, document_id=document.id, errors=errors)
