"""What replicators ask: which revisions are missing, and many revisions at once."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from couchmodel._embedded.documents import Opened, Wishes, open_revisions
from couchmodel._embedded.edits import validate_id
from couchmodel._embedded.revtree import RevTree
from couchmodel._embedded.sqlite import Connection
from couchmodel._wire.messages import encode
from couchmodel._wire.revisions import Rev
from couchmodel.errors import BadRequestError, UnsupportedError

__all__ = ["Difference", "Wanted", "differences", "open_many", "parse_revisions", "parse_wanted"]

BATCH: Final = 100
"""Documents that are opened for one piece of an answer."""


class Difference(NamedTuple):
    """The revisions of a document that are not there, and the leaves that may be their ancestors."""

    missing: list[str]
    possible_ancestors: list[str]


class Wanted(NamedTuple):
    """A document of ``_bulk_get``: one of its revisions, or all leaves; or what is wrong with the question."""

    id: Any
    rev: Rev | None = None
    error: Mapping[str, Any] | None = None


def parse_revisions(body: Mapping[str, Any]) -> dict[str, list[Rev]]:
    """The body of ``_revs_diff``: revisions by document. Raises BadRequestError."""
    if not all(isinstance(revs, list) for revs in body.values()):
        raise BadRequestError("Invalid list of revisions")
    return {id: [Rev.parse(rev) for rev in revs] for id, revs in body.items()}


def differences(database: int, asked: Mapping[str, Sequence[Rev]], connection: Connection) -> dict[str, Difference]:
    """What is missing, without the documents of which nothing is."""
    found: dict[str, Difference] = {}
    for id, revs in asked.items():
        tree = _tree(connection, database, id)
        missing = tree.missing(revs)
        if missing:
            newest = max(rev.generation for rev in missing)
            ancestors = [str(leaf) for leaf in tree.leaves if leaf.generation < newest]
            found[id] = Difference(list(map(str, missing)), ancestors)
    return found


def _tree(connection: Connection, database: int, id: str) -> RevTree:
    row = connection.execute("SELECT tree FROM document WHERE database = ? AND id = ?", (database, id)).fetchone()
    return RevTree.from_bytes(row[0]) if row else RevTree.empty()


def parse_wanted(member: Any) -> Wanted:
    """A member of the array of ``_bulk_get``; what is wrong with one is told in its place."""
    if not isinstance(member, dict) or not member:
        return Wanted(None, error=_error(None, None, "bad_request", "document must be a JSON object"))
    if "id" not in member:
        return Wanted(None, error=_error(None, None, "bad_request", "document id missed"))
    if member.get("atts_since"):
        raise UnsupportedError("The embedded store does not know `atts_since` yet.")
    id, rev = member["id"], member.get("rev")
    try:
        validate_id(id)
    except BadRequestError as error:
        return Wanted(id, error=_error(id, None, error.code, error.reason))
    try:
        return Wanted(id, None if rev is None else Rev.parse(rev))
    except BadRequestError as error:
        return Wanted(id, error=_error(id, rev, error.code, error.reason))


def open_many(
    database: int,
    wanted: Sequence[Wanted],
    wishes: Wishes,
    latest: bool,
    connection: Connection,
) -> list[bytes]:
    """A row of the answer for each document."""
    return [_row(connection, database, item, wishes, latest) for item in wanted]


def _row(connection: Connection, database: int, wanted: Wanted, wishes: Wishes, latest: bool) -> bytes:
    if wanted.error is not None:
        return encode({"id": wanted.id, "docs": [{"error": wanted.error}]})
    revs = None if wanted.rev is None else [wanted.rev]
    found = open_revisions(database, wanted.id, revs, wishes, latest, connection)
    documents = [_opened(wanted.id, item) for item in found]
    if not documents:
        documents.append(encode({"error": _error(wanted.id, "undefined", "not_found", "missing")}))
    return b'{"id":%b,"docs":[%b]}' % (encode(wanted.id), b",".join(documents))


def _opened(id: str, found: Opened | Rev) -> bytes:
    if isinstance(found, Rev):
        return encode({"error": _error(id, str(found), "not_found", "missing")})
    return b'{"ok":%b}' % found.text


def _error(id: Any, rev: Any, error: str, reason: str) -> dict[str, Any]:
    return {"id": id, "rev": rev, "error": error, "reason": reason}
