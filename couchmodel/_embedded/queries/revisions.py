"""The reads of replicators: the revisions that a database lacks, and many revisions at once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from couchmodel._embedded import limits
from couchmodel._embedded.budget import Budget
from couchmodel._embedded.documents.reader import AnsweredRevision, ReadOptions, open_revisions
from couchmodel._embedded.rules.revtree import RevTree
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._wire.messages import encode
from couchmodel._wire.revisions import Rev
from couchmodel.errors import BadRequestError

__all__ = [
    "BulkGetResult",
    "Difference",
    "Requested",
    "check_revisions",
    "differences",
    "open_requested",
    "parse_requested",
    "result_json",
]


class Difference(NamedTuple):
    """The revisions of a document that the database lacks, and the leaves that may be their ancestors."""

    missing: list[str]
    possible_ancestors: list[str]


class Requested(NamedTuple):
    """A member of the request of ``_bulk_get``: one revision of a document, or all its leaves if ``rev`` is None.

    ``error`` is the error to answer with if the member is not valid.
    """

    id: Any
    rev: Rev | None = None
    atts_since: Sequence[Rev] = ()
    error: Mapping[str, Any] | None = None


class BulkGetResult(NamedTuple):
    """The revisions that ``_bulk_get`` found of a document, or errors in their places."""

    id: Any
    docs: Sequence[AnsweredRevision | Mapping[str, Any]]


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


def parse_requested(member: Any, check: Callable[[Any], object]) -> Requested:
    """Parse a member of the array of ``_bulk_get``. An invalid member becomes an error in its place.

    ``check`` raises BadRequestError for an id that no document of the database may have.
    """
    if not isinstance(member, dict) or not member:
        return _refused(None, None, "document must be a JSON object")
    if "id" not in member:
        return _refused(None, None, "document id missed")
    id, rev, since = member["id"], member.get("rev"), member.get("atts_since", [])
    try:
        check(id)
    except BadRequestError as error:
        return _refused(id, None, error.reason, error.code)
    if not isinstance(since, list):
        return _refused(id, since, "att_since value must be array of revs.")
    for value in ([rev] if "rev" in member else []) + since:
        try:
            Rev.parse(value)
        except BadRequestError as error:
            return _refused(id, value, error.reason, error.code)
    return Requested(id, None if rev is None else Rev.parse(rev), list(map(Rev.parse, since)))


def _refused(id: Any, rev: Any, reason: str, code: str = "bad_request") -> Requested:
    return Requested(id, error=_error_row(id, rev, code, reason))


def open_requested(
    connection: Connection,
    database_id: int,
    requested: Sequence[Requested],
    options: ReadOptions,
    latest: bool,
) -> list[BulkGetResult]:
    """Open the first of the requested documents, as many as make a batch."""
    results: list[BulkGetResult] = []
    size = 0
    # The first one in any case, so that every batch makes progress.
    for item in requested[: limits.BULK_GET_DOCUMENTS]:
        result = BulkGetResult(item.id, _open(connection, database_id, item, options, latest))
        results.append(result)
        size += sum(len(document.text) for document in result.docs if isinstance(document, AnsweredRevision))
        if size > limits.BULK_GET_BYTES:
            break
    return results


def result_json(result: BulkGetResult) -> bytes:
    """Return the row of a JSON answer."""
    documents = [
        b"".join((b'{"ok":', document.text, b"}"))
        if isinstance(document, AnsweredRevision)
        else encode({"error": document})
        for document in result.docs
    ]
    return b"".join((b'{"id":', encode(result.id), b',"docs":[', b",".join(documents), b"]}"))


def _open(
    connection: Connection, database_id: int, requested: Requested, options: ReadOptions, latest: bool
) -> list[AnsweredRevision | Mapping[str, Any]]:
    if requested.error is not None:
        return [requested.error]
    id, revs = requested.id, None if requested.rev is None else [requested.rev]
    if requested.atts_since:
        options = options._replace(attachments=True, atts_since=requested.atts_since)
    found = open_revisions(connection, database_id, id, revs, options, latest, drawn=True)
    if not found:
        # CouchDB writes the atom `undefined` for the revision that was not named.
        return [_error_row(id, "undefined", "not_found", "missing")]
    return [_error_row(id, str(item), "not_found", "missing") if isinstance(item, Rev) else item for item in found]


def _error_row(id: Any, rev: Any, error: str, reason: str) -> dict[str, Any]:
    return {"id": id, "rev": rev, "error": error, "reason": reason}
