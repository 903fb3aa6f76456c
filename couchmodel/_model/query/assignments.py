"""Assignments to fields of documents: checked by name and by type before anything is changed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError

from couchmodel._model.codec.duplicates import snapshot
from couchmodel._model.codec.forms import write_key
from couchmodel._model.query.selector import check_root
from couchmodel._model.schema.annotations import fields_of, stored_name
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.expressions.places import Assignment
from couchmodel._model.schema.suggestions import nearest
from couchmodel.errors import DocumentError, QueryError

__all__ = ["assign", "assign_names", "check_assignments"]


def check_assignments(model: Any, assignments: Iterable[object]) -> list[Assignment]:
    """Return the assignments. Raises QueryError unless each is one to a field of the model."""
    found = []
    for each in assignments:
        if not isinstance(each, Assignment):
            raise QueryError(f"update() takes assignments, such as Recipe.rating.set(4), not {each!r}")
        check_root(model, each.place)
        if each.place.names[0] in ("_id", "_rev", "_attachments"):
            raise QueryError(f"{each.place.path!r} cannot be assigned: it is CouchDB's own")
        found.append(each)
    if not found:
        raise QueryError("update() takes at least one assignment, such as Recipe.rating.set(4)")
    return found


def assign_names(document: DocumentModel, values: Mapping[str, Any]) -> None:
    """Assign values to fields of a document by their names. Nothing is changed if one of them does not fit.

    Raises DocumentError for an unknown field, for ``id`` and ``rev``, and for a value that the field does not take.
    """
    fields = type(document).__pydantic_fields__
    for name in values:
        if type(document).model_config.get("frozen"):
            _refuse(document, name, "its model is frozen: change it by a query, or store a copy")
        if name not in fields:
            _refuse(document, name, f"there is no such field{nearest(name, fields)}")
        if name in ("id", "rev"):
            _refuse(document, name, "it is not assigned: to store a copy, use model_copy()")
    _assign_all(document, [((name,), value) for name, value in values.items()])


def assign(document: DocumentModel, assignments: Iterable[Assignment]) -> None:
    """Make assignments to the fields of a document. Nothing is changed if one of them does not fit.

    Raises DocumentError for a value that the field does not take, and for a place that the document does not have.
    """
    _assign_all(document, [(each.place.names, each.value) for each in assignments])


def _assign_all(document: DocumentModel, values: Sequence[tuple[tuple[str, ...], Any]]) -> None:
    # A deep copy, so that the document is as it was if a later value does not fit.
    changed = snapshot(document)
    if len(values) > 1:  # a rule of the whole model may hold only when all of them are assigned
        for names, value in values:
            _assign_one(document, changed, names, value, is_last=False)
    for names, value in values:
        _assign_one(document, changed, names, value)
    vars(document).update(vars(changed))
    document.__pydantic_fields_set__.update(changed.__pydantic_fields_set__)


def _assign_one(
    document: DocumentModel, changed: Any, names: tuple[str, ...], value: Any, *, is_last: bool = True
) -> None:
    """Assign a value in the copy ``changed``. Unless ``is_last``, a rule of the whole model may be broken."""
    try:
        _assign_at(changed, names, value)
    except ValidationError as error:
        found: Any = error.errors(include_url=False, include_context=False)
        if is_last or any(each["loc"] for each in found):
            _refuse(document, ".".join(names), "; ".join(each["msg"] for each in found), found)
    except (LookupError, TypeError, AttributeError):
        _refuse(document, ".".join(names), "the document has no such place")


def _assign_at(target: Any, names: tuple[str, ...], value: Any) -> None:
    """Assign to the place below an object to which stored names lead."""
    *way, last = names
    for name in way:
        target = _member(target, name)
    fields = fields_of(type(target))
    if isinstance(target, BaseModel):
        field = _field_name(target, last)
        # The validator is asked itself, because a model need not validate what is assigned to its attributes.
        type(target).__pydantic_validator__.validate_assignment(target, field, value)
    elif fields is not None:
        setattr(target, _field_name(target, last), value)
    else:
        target[_key(target, last)] = value


def _member(target: Any, name: str) -> Any:
    if fields_of(type(target)) is not None:
        return getattr(target, _field_name(target, name))
    return target[_key(target, name)]


def _key(target: Any, stored: str) -> Any:
    """Return the place in a list, or the key of a dictionary, that is stored under a name; the name for a new key."""
    if isinstance(target, (list, tuple)):
        return int(stored)
    return next((key for key in target if write_key(type(key), key) == stored), stored)


def _field_name(target: Any, stored: str) -> str:
    fields = fields_of(type(target)) or {}
    # A field may be stored under the name of another one, so the one that is stored under its own name comes first.
    if stored in fields and stored_name(stored, fields[stored]) == stored:
        return stored
    return next((name for name, info in fields.items() if stored_name(name, info) == stored), stored)


def _refuse(document: DocumentModel, name: str, reason: str, errors: Any = ()) -> NoReturn:
    model = type(document).__name__
    message = f"{model} {document.id!r} cannot be changed: {name}: {reason}"
    raise DocumentError(message, model=model, document_id=document.id, errors=list(errors))
