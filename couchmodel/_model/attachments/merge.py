"""Merges of assigned files with a stored revision that others have written meanwhile."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from couchmodel._model.attachments.stubs import stored_stubs
from couchmodel._model.schema import state
from couchmodel._model.schema.attachments import owner_of

__all__ = ["MergedFiles", "is_same_stub", "merge_files"]


class MergedFiles(NamedTuple):
    """The files that are to be stored, by name, and the fields whose attachments both sides have changed."""

    files: dict[str, Any]
    clashes: set[str]


def merge_files(base: Any, mine: Any, theirs: Any, prefer: str) -> MergedFiles:
    """Merge the files that were assigned to ``mine`` with the attachments of ``theirs``.

    A file is kept if the other side has left the attachment as it was. If it has not, the fields clash, and the side
    ``prefer`` counts.
    """
    before, now = stored_stubs(base), stored_stubs(theirs)
    merged = MergedFiles({}, set())
    for name, file in state.assigned_files(mine).items():
        # Both sides have removed it.
        if file is None and name not in now:
            continue
        is_clash = not is_same_stub(before.get(name), now.get(name))
        if is_clash:
            owner = owner_of(type(mine), name)
            merged.clashes.add(name if owner is None else owner.field_name)
        if prefer == "mine" or not is_clash:
            merged.files[name] = file
    return merged


def is_same_stub(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """Return True if two stubs are of the same content. The digest of one that was just saved may not be known."""
    if one is None or other is None:
        return one is other
    # The digest counts first: a content that is stored again unchanged has a new ``revpos``.
    for member in ("digest", "revpos"):
        if None not in (values := {one.get(member), other.get(member)}):
            return len(values) == 1
    return False
