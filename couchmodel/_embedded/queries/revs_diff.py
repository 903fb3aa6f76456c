"""Find the revisions that a database lacks, for ``_revs_diff`` and ``_missing_revs``."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from couchmodel._embedded.budget import Budget
from couchmodel._embedded.rules.revtree import RevTree
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._wire.revisions import Rev
from couchmodel.errors import BadRequestError

__all__ = ["Difference", "check_revisions", "differences"]


class Difference(NamedTuple):
    """The revisions of a document that the database lacks, and the leaves that may be their ancestors."""

    missing: list[str]
    possible_ancestors: list[str]


def check_revisions(body: Mapping[str, Any]) -> None:
    """Check the body of ``_revs_diff``: revisions by document id. Raises BadRequestError."""
    if not all(isinstance(revs, list) for revs in body.values()):
        raise BadRequestError("Invalid list of revisions")
    for revs in body.values():
        for rev in revs:
            Rev.parse(rev)


def differences(
    connection: Connection, database_id: int, requested: Mapping[str, Sequence[str]]
) -> dict[str, Difference]:
    """Return what the database lacks, by document id. A document of which it has every revision is left out."""
    found: dict[str, Difference] = {}
    budget = Budget()
    for id, revs in requested.items():
        budget.pause()
        tree = _read_tree(connection, database_id, id)
        missing = tree.missing(list(map(Rev.parse, revs)))
        if missing:
            # As `couch_db:possible_ancestors`.
            # A leaf as new as the missing revisions cannot be their ancestor.
            # Replicators ask for the attachments since these ancestors (`atts_since`), and send only what is newer.
            newest = max(rev.generation for rev in missing)
            ancestors = [str(leaf) for leaf in tree.leaves if leaf.generation < newest]
            found[id] = Difference(list(map(str, missing)), ancestors)
    return found


def _read_tree(connection: Connection, database_id: int, id: str) -> RevTree:
    row = connection.execute("SELECT tree FROM document WHERE database = ? AND id = ?", (database_id, id)).fetchone()
    return RevTree.from_bytes(row[0]) if row else RevTree.empty()
