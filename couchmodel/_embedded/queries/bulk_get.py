"""Read many revisions at once, for ``_bulk_get``."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from couchmodel._embedded import limits
from couchmodel._embedded.documents.reader import AnsweredRevision, ReadOptions, open_revisions
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._wire.messages import encode
from couchmodel._wire.revisions import Rev
from couchmodel.errors import BadRequestError

__all__ = ["BulkGetResult", "Requested", "open_requested", "parse_requested", "result_json"]


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


def parse_requested(member: Any, check: Callable[[Any], object]) -> Requested:
    """Parse a member of the array of ``_bulk_get``. An invalid member becomes an error in its place.

    ``check`` raises BadRequestError for an id that no document of the database may have.
    """
    if not isinstance(member, dict) or not member:
        return _refusal(None, None, "document must be a JSON object")
    if "id" not in member:
        return _refusal(None, None, "document id missed")
    id, rev, since = member["id"], member.get("rev"), member.get("atts_since", [])
    try:
        check(id)
    except BadRequestError as error:
        return _refusal(id, None, error.reason, error.code)
    if not isinstance(since, list):
        return _refusal(id, since, "att_since value must be array of revs.")
    for value in ([rev] if "rev" in member else []) + since:
        try:
            Rev.parse(value)
        except BadRequestError as error:
            return _refusal(id, value, error.reason, error.code)
    return Requested(id, None if rev is None else Rev.parse(rev), list(map(Rev.parse, since)))


def _refusal(id: Any, rev: Any, reason: str, code: str = "bad_request") -> Requested:
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
