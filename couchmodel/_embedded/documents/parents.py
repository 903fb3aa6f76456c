"""Find the parent revision of an interactive write, one with ``new_edits``."""

from collections.abc import Sequence

from couchmodel._embedded.rules.revtree import RevTree
from couchmodel._wire.revisions import Rev
from couchmodel.errors import ConflictError

__all__ = ["parent_for"]


def parent_for(
    tree: RevTree | None,
    given: Rev | None,
    deleting: bool,
    *,
    older: Sequence[Rev] = (),
    looked_up: bool = False,
) -> Rev | None:
    """Return the revision that an interactive write continues, or None if it begins a document.

    ``given`` is the revision that the write names. ``older`` are its ancestors, if the write has ``_revisions``.

    CouchDB accepts a write that names a revision of a document it does not have, unless it has ``looked_up`` the
    documents before the write. CouchDB looks documents up in a database with a validation function, and for all
    documents of a request that contains a design document or an attachment. (It also does so in a database that it
    has just opened. The caller decides that.)

    Raises:
        ConflictError: the write continues a revision that is not a leaf, or begins a document that exists.
    """
    if not tree:
        if looked_up and given is not None:
            raise _conflict()
        return given
    if tree.deleted:
        return _tombstone_to_revive(tree, given, deleting=deleting)
    if not tree.is_leaf(given) and not _descends_from_leaf(tree, given, () if looked_up else older):
        raise _conflict()
    return given


def _tombstone_to_revive(tree: RevTree, given: Rev | None, *, deleting: bool) -> Rev:
    """Return the tombstone on which a deleted document is created again.

    It is the winner. Raises ConflictError if the write deletes, or names a revision.
    """
    if deleting or (given is not None and given.generation != 0):
        raise _conflict()
    return tree.winner


def _descends_from_leaf(tree: RevTree, given: Rev | None, older: Sequence[Rev]) -> bool:
    """Return True if the newest revision of the write's history that the tree has is a leaf."""
    return given is not None and tree.is_leaf(next((rev for rev in (given, *older) if rev in tree), None))


def _conflict() -> ConflictError:
    return ConflictError("Document update conflict.")
