"""The unsaved changes of a document: whether there are any, in which fields, and their undoing."""

from typing import Final

from couchmodel._model.codec import codec
from couchmodel._model.codec.fidelity import are_same
from couchmodel._model.codec.forms import form_of
from couchmodel._model.codec.instants import has_zone
from couchmodel._model.schema import state
from couchmodel._model.schema.annotations import is_attachment
from couchmodel._model.schema.attachments import owner_of
from couchmodel._model.schema.base import DocumentModel
from couchmodel.errors import ConfigurationError

__all__ = ["changed_fields", "is_changed", "rollback"]


_GONE: Final = object()


class _Written:
    """What pydantic writes of the stored revision of a document."""

    __slots__ = ("_exact", "_given", "_has_datetimes", "_has_zones", "has_files", "id", "quick", "rev", "stored")

    def __init__(self, document: DocumentModel, stored: bytes, quick: bytes) -> None:
        form = form_of(type(document))
        self.stored, self.id, self.rev = stored, document.id, document.rev
        self.quick = quick
        self._given = len(document.__pydantic_fields_set__)
        self.has_files = bool(form.attachments)
        self._has_datetimes = form.exact is not None
        self._has_zones = self._has_datetimes and has_zone(quick)
        self._exact: bytes | None = None

    def is_of(self, document: DocumentModel) -> bool:
        """Return True if this is still so: a default that was made is none any more once it is assigned."""
        return (
            self.rev == document.rev and self.id == document.id and self._given == len(document.__pydantic_fields_set__)
        )

    def differs(self, document: DocumentModel, quick: bytes) -> bool:
        """Return True if the stored form of a document differs too, of which pydantic writes another text."""
        if not self._has_datetimes:
            return True
        # A datetime in UTC ends with a Z, and is shorter than the same one in another zone.
        if not self._has_zones and (len(quick) <= len(self.quick) or quick.count(b"Z") >= self.quick.count(b"Z")):
            return True
        if self._exact is None:
            base = codec.base_of(document)
            self._exact = None if base is None else codec.dump(base)
        return codec.dump(document) != self._exact


def is_changed(document: DocumentModel) -> bool:
    """Return True if a document differs from what is stored of it, or is not stored."""
    if document.rev is None:
        return True
    quick = codec.dump_quickly(document)
    # What is known of the stored revision is kept, because a document may be asked again and again.
    known = state.written(document)
    if known is None or not known.is_of(document):
        known = _read_written(document, quick)
        state.set_written(document, known)
        if known is None:
            return True
    if quick != known.quick and known.differs(document, quick):
        return True
    return known.has_files and bool(state.assigned_files(document))


def _read_written(document: DocumentModel, quick: bytes) -> _Written | None:
    """Return what the model writes of the stored revision; None if the document has no base, or none any more."""
    stored = state.stored_body(document)
    if stored is None:
        return None
    if codec.prepend_members(codec.own_members(document), quick) == stored:  # as usual, if nothing is changed
        return _Written(document, stored, quick)
    base = codec.base_of(document)
    return None if base is None else _Written(document, stored, codec.dump_quickly(base))


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
    # The defaults of the base may have been made anew.
    state.set_written(document, None)
