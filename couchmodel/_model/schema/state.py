"""What a document knows of its storage: the bytes of the revision it was loaded from or saved as, and where that is.

Both live in slots beside pydantic's own. A load sets them; a document that was only built has neither.
"""

from typing import Any, Final, TypeVar

__all__ = [
    "SLOTS",
    "copy_state",
    "home",
    "note_unanswered",
    "set_home",
    "set_rev",
    "set_stored",
    "stored",
    "unanswered",
]

SLOTS: Final = ("__home__", "__stored__", "__unanswered__")

D = TypeVar("D")

_set: Final = object.__setattr__


def stored(document: object) -> bytes | None:
    """The stored revision as its JSON text; None for a document that is not stored as far as it knows."""
    found: bytes | None = getattr(document, "__stored__", None)
    return found


def set_stored(document: object, body: bytes | None) -> None:
    """Remember the stored revision."""
    _set(document, "__stored__", body)


def set_rev(document: object, rev: str | None) -> None:
    """Note the revision the document is stored as, past pydantic's own record of what was assigned."""
    _set(document, "rev", rev)


def note_unanswered(document: object, body: bytes) -> None:
    """Remember what was sent and got no answer."""
    _set(document, "__unanswered__", (*getattr(document, "__unanswered__", ()), body))


def unanswered(document: object) -> tuple[bytes, ...]:
    """Return what was sent since it was last known to be stored, and got no answer."""
    found: tuple[bytes, ...] = getattr(document, "__unanswered__", ())
    return found


def home(document: object) -> Any:
    """The repository the document came from; None for one that was only built."""
    return getattr(document, "__home__", None)


def set_home(document: object, repository: object) -> None:
    """Remember the repository, so that a document goes back to where it came from."""
    _set(document, "__home__", repository)


def copy_state(document: object, copy: D) -> D:
    """The copy, with the state of the document."""
    set_stored(copy, stored(document))
    set_home(copy, home(document))
    return copy
