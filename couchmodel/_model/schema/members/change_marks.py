"""The marks that tell equal changes apart.

CouchDB makes the id of a revision from its content, so two programs that make one and the same change to a document
write the same revision, and neither learns of the other. That is right where the change counts once, and wrong where it
counts twice: two programs that add 1 to a counter. So a document with such fields is stored with a random mark, a new
one for each change.
"""

import secrets
from typing import Any, Final, get_args
from weakref import WeakKeyDictionary

from couchmodel._model.schema.annotations import bare_type, fields_of
from couchmodel._model.schema.field_options import counts_equal_changes, storage_options

__all__ = ["CHANGE_MEMBER", "make_mark", "needs_marks"]

CHANGE_MEMBER: Final = "change_id"
"""The member of a stored document that has the mark of its last change."""

_needs_marks: Final[WeakKeyDictionary[type, bool]] = WeakKeyDictionary()


def needs_marks(model: type) -> bool:
    """Return True if a field of a model, at any depth, counts equal changes of two sides twice."""
    found = _needs_marks.get(model)
    if found is None:
        _needs_marks[model] = found = _counts(model, set())
    return found


def make_mark() -> str:
    """Return a mark that no other change has."""
    # With 64 bits, four billion changes of one revision would have to meet before two marks are equal.
    return secrets.token_hex(8)


def _counts(annotation: Any, seen: set[int]) -> bool:
    kind = bare_type(annotation)
    # A model may embed itself.
    if id(kind) in seen:
        return False
    seen.add(id(kind))
    if any(_counts(each, seen) for each in get_args(kind)):
        return True
    return any(
        counts_equal_changes(storage_options(info).merge) or _counts(info.annotation, seen)
        for info in (fields_of(kind) or {}).values()
    )
