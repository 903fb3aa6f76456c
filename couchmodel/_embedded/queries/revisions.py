"""What replicators ask: which revisions are missing, and many revisions at once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from couchmodel._embedded.documents.reader import Opened, Wishes, open_revisions
from couchmodel._embedded.limits.deadlines import check_time
from couchmodel._embedded.rules.revtree import RevTree
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._wire.messages import encode
from couchmodel._wire.revisions import Rev
from couchmodel.errors import BadRequestError

__all__ = ["Difference", "Found", "Wanted", "differences", "found_json", "open_many", "parse_revisions", "parse_wanted"]

BATCH: Final = 100
BATCH_BYTES: Final = 1_048_576
"""Documents that are opened for one piece of an answer, and bytes of them, but for the last."""


class Difference(NamedTuple):
    """The revisions of a document that are not there, and the leaves that may be their ancestors."""

    missing: list[str]
    possible_ancestors: list[str]


class Wanted(NamedTuple):
    """A document of ``_bulk_get``: one of its revisions, or all leaves; or what is wrong with the question."""

    id: Any
    rev: Rev | None = None
    atts_since: Sequence[Rev] = ()
    error: Mapping[str, Any] | None = None


class Found(NamedTuple):
    """What there is of a document that is wanted: revisions, or what is wrong."""

    id: Any
    docs: Sequence[Opened | Mapping[str, Any]]


def parse_revisions(body: Mapping[str, Any]) -> dict[str, list[Rev]]:
    """The body of ``_revs_diff``: revisions by document. Raises BadRequestError."""
    if not all(isinstance(revs, list) for revs in body.values()):
        raise BadRequestError("Invalid list of revisions")
    return {id: [Rev.parse(rev) for rev in revs] for id, revs in body.items()}


def differences(database: int, asked: Mapping[str, Sequence[Rev]], connection: Connection) -> dict[str, Difference]:
    """What is missing, without the documents of which nothing is."""
    found: dict[str, Difference] = {}
    for id, revs in asked.items():
        check_time()
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


def parse_wanted(member: Any, check: Callable[[Any], object]) -> Wanted:
    """A member of the array of ``_bulk_get``; what is wrong with one is told in its place.

    ``check`` raises BadRequestError for an id that no document of the database may have.
    """
    if not isinstance(member, dict) or not member:
        return _wrong(None, None, "document must be a JSON object")
    if "id" not in member:
        return _wrong(None, None, "document id missed")
    id, rev, since = member["id"], member.get("rev"), member.get("atts_since", [])
    try:
        check(id)
    except BadRequestError as error:
        return _wrong(id, None, error.reason, error.code)
    if not isinstance(since, list):
        return _wrong(id, since, "att_since value must be array of revs.")
    for value in ([rev] if "rev" in member else []) + since:
        try:
            Rev.parse(value)
        except BadRequestError as error:
            return _wrong(id, value, error.reason, error.code)
    return Wanted(id, None if rev is None else Rev.parse(rev), list(map(Rev.parse, since)))


def _wrong(id: Any, rev: Any, reason: str, code: str = "bad_request") -> Wanted:
    return Wanted(id, error=_error(id, rev, code, reason))


def open_many(
    database: int,
    wanted: Sequence[Wanted],
    wishes: Wishes,
    latest: bool,
    connection: Connection,
) -> list[Found]:
    """What there is of the first of the documents, as many as make a batch."""
    opened: list[Found] = []
    size = 0
    for item in wanted[:BATCH]:
        found = Found(item.id, _open(connection, database, item, wishes, latest))
        opened.append(found)
        size += sum(len(document.text) for document in found.docs if isinstance(document, Opened))
        if size > BATCH_BYTES:
            break
    return opened


def found_json(found: Found) -> bytes:
    """The row of a JSON answer."""
    documents = [
        b"".join((b'{"ok":', document.text, b"}")) if isinstance(document, Opened) else encode({"error": document})
        for document in found.docs
    ]
    return b"".join((b'{"id":', encode(found.id), b',"docs":[', b",".join(documents), b"]}"))


def _open(
    connection: Connection, database: int, wanted: Wanted, wishes: Wishes, latest: bool
) -> list[Opened | Mapping[str, Any]]:
    if wanted.error is not None:
        return [wanted.error]
    revs = None if wanted.rev is None else [wanted.rev]
    if wanted.atts_since:
        wishes = wishes._replace(attachments=True, atts_since=wanted.atts_since)
    found = open_revisions(database, wanted.id, revs, wishes, latest, connection, drawn=True)
    if not found:
        return [_error(wanted.id, "undefined", "not_found", "missing")]
    return [_error(wanted.id, str(item), "not_found", "missing") if isinstance(item, Rev) else item for item in found]


def _error(id: Any, rev: Any, error: str, reason: str) -> dict[str, Any]:
    return {"id": id, "rev": rev, "error": error, "reason": reason}
