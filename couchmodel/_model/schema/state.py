"""The storage state of a document: the bytes of the revision it was loaded or saved as, and its repository.

It is kept in slots beside pydantic's own. A load sets it; a document that was only built has none.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, TypeVar

from couchmodel._wire.messages import decode, encode

__all__ = [
    "SLOTS",
    "assigned_files",
    "copy_files",
    "copy_state",
    "forget_files",
    "forget_unanswered",
    "note_sent_body",
    "note_unanswered",
    "repository",
    "set_file",
    "set_id",
    "set_repository",
    "set_rev",
    "set_stored_body",
    "set_written",
    "stored_body",
    "unanswered_bodies",
    "unanswered_files",
    "written",
]

SLOTS: Final = ("__files__", "__repository__", "__stored__", "__unanswered__", "__written__")

D = TypeVar("D")

_NO_FILES: Final[Mapping[str, Any]] = MappingProxyType({})

_set_slot: Final = object.__setattr__  # pydantic's own __setattr__ would record or refuse the assignment
_get_slot: Final = object.__getattribute__  # pydantic's own __getattr__ searches for an empty slot, in Python


def stored_body(document: object) -> bytes | None:
    """Return the JSON text of the stored revision; None if no stored revision is known."""
    found: bytes | tuple[bytes, str] | None = _slot(document, "__stored__")
    if isinstance(found, tuple):
        body, rev = found
        # The text was sent with the revision before. Most documents that are saved in bulk are never asked for it.
        found = encode({**decode(body), "_rev": rev})
        set_stored_body(document, found)
    return found


def written(document: object) -> Any:
    """Return what is known of the text that the model writes of the stored revision; None if it is another one."""
    try:
        known = _get_slot(document, "__written__")
        # The same bytes object is the same revision, and takes no comparison.
        return known if known.stored is _get_slot(document, "__stored__") else None
    except AttributeError:
        return None


def set_written(document: object, known: Any) -> None:
    """Set what is known of the text that the model writes of the stored revision."""
    _set_slot(document, "__written__", known)


def note_sent_body(document: object, body: bytes, rev: str) -> None:
    """Set the JSON text of the stored revision to one that was sent. Its revision is put in when it is asked for."""
    _set_slot(document, "__stored__", (body, rev))


def set_stored_body(document: object, body: bytes | None) -> None:
    """Set the JSON text of the stored revision."""
    _set_slot(document, "__stored__", body)


def set_rev(document: object, rev: str | None) -> None:
    """Set the revision that the document is stored as, without adding ``rev`` to the fields that pydantic saw set."""
    _set_slot(document, "rev", rev)


def set_id(document: object, id: str) -> None:
    """Set an id that is made of fields, without adding ``id`` to the fields that pydantic saw set."""
    _set_slot(document, "id", id)


def note_unanswered(document: object, body: bytes) -> None:
    """Record a JSON text that was sent, with the files that are assigned, and got no answer."""
    _set_slot(document, "__unanswered__", (*_unanswered(document), (body, assigned_files(document))))


def forget_unanswered(document: object) -> None:
    """Forget the texts that got no answer, as a later one is stored."""
    if unanswered_bodies(document):
        _set_slot(document, "__unanswered__", ())


def unanswered_bodies(document: object) -> tuple[bytes, ...]:
    """Return the JSON texts that were sent and got no answer."""
    return tuple(body for body, _ in _unanswered(document))


def unanswered_files(document: object, body: bytes) -> Mapping[str, Any]:
    """Return the files that were sent with such a text; those of all attempts, if several have sent this text."""
    # Of several attempts with one text, the one that is stored is not known. A file that only some have sent is sent
    # again.
    attempts = [files for sent, files in _unanswered(document) if sent == body]
    common = set.intersection(*(set(files.items()) for files in attempts)) if attempts else ()
    return dict(common)


def _unanswered(document: object) -> tuple[tuple[bytes, Mapping[str, Any]], ...]:
    return _slot(document, "__unanswered__") or ()


def repository(document: object) -> Any:
    """Return the repository that the document came from; None if it was only built."""
    return _slot(document, "__repository__")


def set_repository(document: object, repository: object) -> None:
    """Set the repository that a document came from. Saves go there."""
    _set_slot(document, "__repository__", repository)


def assigned_files(document: object) -> Mapping[str, Any]:
    """Return the files that were assigned and are not stored yet, by the names of their attachments.

    None stands for an attachment that the next save removes.
    """
    found: Mapping[str, Any] | None = _slot(document, "__files__")
    return found or _NO_FILES


def set_file(document: object, name: str, file: object) -> None:
    """Assign a file to an attachment; None removes it."""
    _set_slot(document, "__files__", {**assigned_files(document), name: file})


def forget_files(document: object, files: Mapping[str, Any]) -> None:
    """Forget assigned files, because they are stored. What was assigned to the same names since then stays."""
    stored = files.items()
    kept = {name: file for name, file in assigned_files(document).items() if (name, file) not in stored}
    _set_slot(document, "__files__", kept)


def copy_files(document: object, copy: object) -> None:
    """Assign the same files to ``copy`` as to ``document``, and no others."""
    if assigned_files(document) or assigned_files(copy):
        _set_slot(copy, "__files__", dict(assigned_files(document)))


def copy_state(document: object, copy: D) -> D:
    """Give ``copy`` the storage state of ``document``, and return it."""
    copy_files(document, copy)
    set_stored_body(copy, stored_body(document))
    set_repository(copy, repository(document))
    return copy


def _slot(document: object, name: str) -> Any:
    """Return what is in a slot; None if it is empty, or if the object has no such slot."""
    try:
        return _get_slot(document, name)
    except AttributeError:
        return None
