"""Which revision an interactive write continues."""

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
    """The revision that an interactive write continues; None where it begins a document.

    ``given`` is the revision that the write names, ``older`` are its ancestors where the write has ``_revisions``.
    CouchDB takes a write that names a revision of a document it does not have, unless it has ``looked_up`` documents
    before it writes: it does so in a database with a validation function, and for all documents of a request with a
    design document or an attachment in it. (And it does in a database it has just opened; that is left out here.)

    Raises:
        ConflictError: the write continues another revision than a leaf, or begins a document that is there.
    """
    if not tree:
        if looked_up and given is not None:
            raise _conflict()
        return given
    if tree.deleted:
        return _revived(tree, given, deleting=deleting)
    if not tree.is_leaf(given) and not _ends_in_leaf(tree, given, () if looked_up else older):
        raise _conflict()
    return given


def _revived(tree: RevTree, given: Rev | None, *, deleting: bool) -> Rev:
    """A deleted document comes back on top of its winning tombstone, but only to a write that names no revision."""
    if deleting or (given is not None and given.generation != 0):
        raise _conflict()
    return tree.winner


def _ends_in_leaf(tree: RevTree, given: Rev | None, older: Sequence[Rev]) -> bool:
    """Whether a revision is unknown, but its history leads to a leaf."""
    return given is not None and tree.is_leaf(next((rev for rev in (given, *older) if rev in tree), None))


def _conflict() -> ConflictError:
    return ConflictError("Document update conflict.")
