"""The endpoint ``_bulk_docs``: writes of many documents."""

import asyncio
from array import array
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from heapq import merge
from typing import Any, Final

from pydantic_core import to_json

from couchmodel._embedded import limits
from couchmodel._embedded.auth.users import USERS, hash_passwords, write_check
from couchmodel._embedded.budget import Budget
from couchmodel._embedded.documents.checked_writes import write_checked
from couchmodel._embedded.documents.verdicts import RefusedError
from couchmodel._embedded.documents.writer import WriteBatch, WriteCheck
from couchmodel._embedded.json.parse import parse_object
from couchmodel._embedded.rules.params import requests_write_quorum, require_json_type
from couchmodel._embedded.server.bulk_body import BulkEdits, make_edit, read_bulk
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.request_body import parsed_body, read_text
from couchmodel._embedded.server.responses import JSON_HEADERS, join_parts
from couchmodel._embedded.storage.sqlite import Connection, bind
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request, Response
from couchmodel.errors import BadRequestError, ConflictError, ForbiddenError, UnauthorizedError

__all__ = ["write"]

REFUSALS: Final = (ForbiddenError, UnauthorizedError, RefusedError)
"""Errors of one document. The other documents are written all the same."""


async def write(exchange: Exchange) -> Response:
    """Answer ``POST /{db}/_bulk_docs``."""
    database, request = exchange.database, exchange.request
    require_json_type(request)
    # Passwords are hashed in the documents as values, so this body is parsed as a whole.
    plain = database.name == USERS
    text = await read_text(request, limits.BODY_BYTES if plain else limits.DOCUMENTS_BYTES)
    async with parsed_body(text, parse_object if plain else read_bulk) as body:
        return await _write(exchange, body, len(text))


async def _write(exchange: Exchange, body: dict[str, Any], size: int) -> Response:
    database = exchange.database
    documents, new_edits = await hash_passwords(database, _parse_documents(body)), body.get("new_edits", True)
    if not isinstance(new_edits, bool):
        raise BadRequestError("`new_edits` parameter must be a boolean.")
    if new_edits and body.get("all_or_nothing") is True:
        return await _answer(417, await asyncio.to_thread(_refuse_all_or_nothing, documents))
    # The writing job parses the documents: many of them would hold up the event loop.
    bulk = _Bulk(exchange.store, documents, _is_only_accepted(exchange.request, body))
    write_all = _write_new if new_edits else _write_replicated
    check = write_check(database, exchange.user)
    job = bind(write_all, bulk, database.number, check)
    short = len(documents) <= limits.INLINE_DOCUMENTS and size <= limits.LARGE_BODY
    rows = await write_checked(exchange.store, database, job, check, short=short)
    accepted = bulk.accepted and any(row.startswith(b'{"ok":true') for row in rows)
    return await _answer(202 if accepted else 201, rows)


async def _answer(status: int, rows: list[bytes]) -> Response:
    return Response(status, JSON_HEADERS, await join_parts(b"[", await join_parts(*rows, between=b","), b"]\n"))


def _is_only_accepted(request: Request, body: dict[str, Any]) -> bool:
    """Return True if the answer is 202: see :func:`requests_write_quorum`. Here ``w`` may also be in the body."""
    parameters = {"w": str(body["w"])} if "w" in body else request.query
    return requests_write_quorum(parameters)


def _refuse_all_or_nothing(documents: list[Any]) -> list[bytes]:
    """Return the rows of CouchDB's answer to ``all_or_nothing``: an error for each document."""
    error = {"error": "not_implemented", "reason": "all_or_nothing is not supported"}
    edits = map(make_edit, documents)
    return [to_json({"id": edit.id, "rev": str(edit.path[0]) if edit.path else "0-", **error}) for edit in edits]


def _parse_documents(body: dict[str, Any]) -> list[Any]:
    if "docs" not in body:
        raise BadRequestError("POST body must include `docs` parameter.")
    documents = body["docs"]
    if not isinstance(documents, list):
        raise BadRequestError("`docs` parameter must be an array.")
    return documents


class _Bulk:
    """The documents of a request. The writing job parses them once, however often it is attempted.

    ``accepted`` says that what is written is only told to be accepted.
    """

    def __init__(self, store: Store, documents: list[Any], accepted: bool) -> None:
        self.accepted = accepted
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
        places = [
            sorted(range(n, min(n + limits.SORTED_DOCUMENTS, count)), key=ids.__getitem__)
            for n in range(0, count, limits.SORTED_DOCUMENTS)
        ]
        # Sorted in parts and merged, because Python gives no other thread a turn while it sorts a list. An array takes
        # a fraction of the memory of a list of numbers.
        return array("L", merge(*places, key=ids.__getitem__))


def _write_new(connection: Connection, bulk: _Bulk, database_id: int, check: WriteCheck) -> list[bytes]:
    edits = bulk.edits
    writing = WriteBatch(connection, database_id, check)
    writing.expect(edits.ids, attachments=edits.have_attachments)
    rows = [b""] * len(edits)
    accepted = {"accepted": True} if bulk.accepted else {}
    budget = Budget()
    for place in writing.due_places(bulk.order, edits.ids, bulk.repeated):
        budget.pause()
        edit = edits[place]
        try:
            rows[place] = to_json({"ok": True, "id": edit.id, "rev": writing.edit(edit), **accepted})
        except (ConflictError, *REFUSALS) as error:
            rows[place] = to_json({"id": edit.id, "error": error.code, "reason": error.reason})
        except BadRequestError as error:
            if not edit.id.startswith("_local/"):
                raise
            rows[place] = to_json({"id": edit.id, "error": "error", "reason": error.reason})
    writing.finish()
    return rows


def _write_replicated(connection: Connection, bulk: _Bulk, database_id: int, check: WriteCheck) -> list[bytes]:
    """Write documents with ``new_edits: false``. Return rows for the refused ones only, as CouchDB does."""
    edits = bulk.edits
    if not edits.have_revisions:
        raise BadRequestError("When `new_edits: false`, the document needs `_rev` or `_revisions` specified")
    writing = WriteBatch(connection, database_id, check)
    refused: list[bytes] = []
    budget = Budget()
    for place in writing.due_places(bulk.order, edits.ids, bulk.repeated):
        budget.pause()
        edit = edits[place]
        try:
            writing.replicate(edit)
        except REFUSALS as error:
            row = {"id": edit.id, "rev": str(edit.path[0]), "error": error.code, "reason": error.reason}
            refused.append(to_json(row))
    writing.finish()
    return refused
