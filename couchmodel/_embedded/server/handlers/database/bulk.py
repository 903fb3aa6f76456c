"""The endpoint ``_bulk_docs``: writes of many documents."""

import asyncio
from array import array
from collections import Counter
from collections.abc import Sequence
from functools import cached_property, partial
from heapq import merge
from typing import Any, Final

from couchmodel._embedded.auth.users import USERS, hash_passwords, write_check
from couchmodel._embedded.budget import Budget
from couchmodel._embedded.documents.checked_writes import write_checked
from couchmodel._embedded.documents.verdicts import RefusedError
from couchmodel._embedded.documents.writer import WriteBatch, WriteCheck
from couchmodel._embedded.json.incremental import clear_gradually
from couchmodel._embedded.json.parse import parse_object
from couchmodel._embedded.json.writer import encode_array
from couchmodel._embedded.rules.params import requests_write_quorum, require_json_type
from couchmodel._embedded.server.bulk_body import BulkEdits, make_edit, read_bulk
from couchmodel._embedded.server.request_body import MAX_DOCUMENTS_BODY, MAX_JSON, parse_in_thread, read_text
from couchmodel._embedded.server.responses import JSON_HEADERS, json_answer
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Database, Store
from couchmodel._wire.messages import Request, Response
from couchmodel.errors import BadRequestError, ConflictError, ForbiddenError, ResponseError, UnauthorizedError

__all__ = ["write"]


FEW: Final = 20
SMALL: Final = 65_536
"""The most documents, and the most bytes of them, that are written as a single document would be."""

SORTED: Final = 10_000
"""Documents that are sorted at once: ``sorted`` keeps Python's lock, so no other thread runs meanwhile."""

REFUSALS: Final = (ForbiddenError, UnauthorizedError, RefusedError)
"""Errors of one document. The other documents are written all the same."""


async def write(store: Store, database: Database, request: Request) -> Response:
    """Answer ``POST /{db}/_bulk_docs``."""
    require_json_type(request)
    plain = database.name == USERS
    text = await read_text(request, MAX_JSON if plain else MAX_DOCUMENTS_BODY)
    body = await parse_in_thread(text, parse_object if plain else read_bulk)
    documents, new_edits = await hash_passwords(database, _parse_documents(body)), body.get("new_edits", True)
    if not isinstance(new_edits, bool):
        raise BadRequestError("`new_edits` parameter must be a boolean.")
    if new_edits and body.get("all_or_nothing") is True:
        return Response(417, JSON_HEADERS, await asyncio.to_thread(_refuse_all_or_nothing, documents))
    accepted = _is_only_accepted(request, body)
    # The writing job parses the documents: many of them would hold up the event loop.
    write_all = _write_new if new_edits else _write_replicated
    check = write_check(database, request.user)
    job = partial(write_all, _Bulk(store, documents), database.number, check)
    short = len(documents) <= FEW and len(text) <= SMALL
    try:
        rows = await write_checked(store, database, job, check, short=short)
    except ResponseError:
        if not short:
            await asyncio.to_thread(clear_gradually, documents)
        raise
    written = [row for row in rows if "ok" in row] if accepted else ()
    for row in written:
        row["accepted"] = True
    status = 202 if written else 201
    if len(text) <= SMALL:
        return json_answer(status, rows)
    return Response(status, JSON_HEADERS, await asyncio.to_thread(_encode_and_free, rows, documents))


def _encode_and_free(rows: list[dict[str, Any]], documents: list[Any]) -> bytes:
    """Encode the rows of an answer, then free the rows and the documents a few at a time."""
    text = encode_array(rows) + b"\n"
    clear_gradually(rows)
    clear_gradually(documents)
    return text


def _is_only_accepted(request: Request, body: dict[str, Any]) -> bool:
    """Apply :func:`is_only_accepted` to the request. ``w`` may also be a member of the body here."""
    parameters = {"w": str(body["w"])} if "w" in body else request.query
    return requests_write_quorum(parameters)


def _refuse_all_or_nothing(documents: list[Any]) -> bytes:
    """Return CouchDB's answer to ``all_or_nothing``: an error for each document."""
    error = {"error": "not_implemented", "reason": "all_or_nothing is not supported"}
    edits = map(make_edit, documents)
    return _encode_and_free(
        [{"id": edit.id, "rev": str(edit.path[0]) if edit.path else "0-", **error} for edit in edits], documents
    )


def _parse_documents(body: dict[str, Any]) -> list[Any]:
    if "docs" not in body:
        raise BadRequestError("POST body must include `docs` parameter.")
    documents = body["docs"]
    if not isinstance(documents, list):
        raise BadRequestError("`docs` parameter must be an array.")
    return documents


class _Bulk:
    """The documents of a request. The writing job parses them once, however often it is attempted."""

    def __init__(self, store: Store, documents: list[Any]) -> None:
        self._store = store
        self._documents = documents

    @cached_property
    def edits(self) -> BulkEdits:
        """The documents as writes. Raises ResponseError if a document is invalid."""
        return BulkEdits(self._documents, self._store.uuids.next)

    @cached_property
    def repeated(self) -> frozenset[str]:
        """The ids that several of the documents have."""
        return frozenset(id for id, count in Counter(self.edits.ids).items() if count > 1)

    @cached_property
    def order(self) -> Sequence[int]:
        """The places of the documents in the order in which they are written.

        CouchDB writes them by id, which shows in the order of changes.
        """
        ids = self.edits.ids
        count = len(ids)
        places = [sorted(range(n, min(n + SORTED, count)), key=ids.__getitem__) for n in range(0, count, SORTED)]
        return array("L", merge(*places, key=ids.__getitem__))


def _write_new(bulk: _Bulk, database: int, check: WriteCheck, connection: Connection) -> list[dict[str, Any]]:
    edits = bulk.edits
    writing = WriteBatch(connection, database, check)
    writing.expect(edits.ids, attachments=edits.have_attachments)
    rows: list[dict[str, Any]] = [{}] * len(edits)
    budget = Budget()
    for place in writing.due_places(bulk.order, bulk.repeated):
        budget.pause()
        edit = edits[place]
        try:
            rows[place] = {"ok": True, "id": edit.id, "rev": writing.edit(edit)}
        except (ConflictError, *REFUSALS) as error:
            rows[place] = {"id": edit.id, "error": error.code, "reason": error.reason}
        except BadRequestError as error:
            if not edit.id.startswith("_local/"):
                raise
            rows[place] = {"id": edit.id, "error": "error", "reason": error.reason}
    writing.finish()
    return rows


def _write_replicated(bulk: _Bulk, database: int, check: WriteCheck, connection: Connection) -> list[dict[str, Any]]:
    """Write documents with ``new_edits: false``. Return rows for the refused ones only, as CouchDB does."""
    edits = bulk.edits
    if not edits.have_revisions:
        raise BadRequestError("When `new_edits: false`, the document needs `_rev` or `_revisions` specified")
    writing = WriteBatch(connection, database, check)
    refused: list[dict[str, Any]] = []
    budget = Budget()
    for place in writing.due_places(bulk.order, bulk.repeated):
        budget.pause()
        edit = edits[place]
        try:
            writing.replicate(edit)
        except REFUSALS as error:
            refused.append({"id": edit.id, "rev": str(edit.path[0]), "error": error.code, "reason": error.reason})
    writing.finish()
    return refused
