"""The unsaved changes of a document: whether there are any, in which fields, and their undoing."""

from typing import Final

from couchmodel._model.codec import codec
from couchmodel._model.codec.fidelity import are_same
from couchmodel._model.codec.forms import form_of
from couchmodel._model.schema import state
from couchmodel._model.schema.annotations import is_attachment
from couchmodel._model.schema.attachments import owner_of
from couchmodel._model.schema.base import DocumentModel
from couchmodel.errors import ConfigurationError

__all__ = ["changed_fields", "is_changed", "rollback"]


_GONE: Final = object()


def is_changed(document: DocumentModel) -> bool:
    """Return True if a document differs from what is stored of it, or is not stored."""
    stored = state.stored_body(document)
    if stored is None or document.rev is None:
        return True
    # The texts of the stored revision are kept, because a document may be asked again and again.
    known = state.written_texts(document, stored)
    if known is None:
        base = codec.base_of(document)
        if base is None:
            return True
        known = codec.dump_twice(base)
        state.set_written_texts(document, stored, known)
    quick, body = codec.dump_twice(document, unless=known[0])
    # An instant may be written in another time zone, so the second texts may be equal where the first are not.
    if quick != known[0] and body != known[1]:
        return True
    return bool(form_of(type(document)).attachments and state.assigned_files(document))


def changed_fields(document: DocumentModel) -> set[str]:
    """Return the names of the fields that differ from what is stored; all fields if nothing is stored.

    Undeclared members of a model that allows them are among them.
    """
    fields = {
        name
        for name, info in type(document).__pydantic_fields__.items()
        if name not in ("id", "rev") and not is_attachment(info.annotation)
    }
    fields.update(document.__pydantic_extra__ or ())
    owners = (owner_of(type(document), name) for name in state.assigned_files(document))
    files = {owner.field_name for owner in owners if owner is not None}
    base = codec.base_of(document)
    if base is None:
        return fields | files
    fields.update(base.__pydantic_extra__ or ())
    return files | {name for name in fields if not are_same(getattr(document, name, _GONE), getattr(base, name, _GONE))}


def rollback(document: DocumentModel) -> None:
    """Give the fields of a document the values that are stored.

    Raises ConfigurationError if nothing is stored.
    """
    base = codec.base_of(document)
    if base is None:
        raise ConfigurationError(f"{document.id!r} has no stored revision to go back to: it was never loaded or saved")
    codec.adopt_values(document, base)
