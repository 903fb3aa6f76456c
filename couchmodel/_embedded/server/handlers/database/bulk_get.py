"""The endpoint ``_bulk_get``: many revisions at once, as JSON or with their attachments as a multipart body."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from pydantic_core import to_json

from couchmodel._embedded import limits
from couchmodel._embedded.documents.incoming import validate_id
from couchmodel._embedded.documents.reader import AnsweredRevision, ReadOptions
from couchmodel._embedded.queries.bulk_get import BulkGetResult, open_requested, parse_requested, result_json
from couchmodel._embedded.rules.params import accepts
from couchmodel._embedded.rules.partitions import check_id
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.handlers.document.document_reads import MISSING_PART_TYPE, bundle_document
from couchmodel._embedded.server.request_body import json_object
from couchmodel._embedded.server.responses import JSON_HEADERS, array_pieces
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import EMPTY, JSON_TYPE, Request, Response
from couchmodel._wire.multipart import MIXED, RELATED, MultipartMixed
from couchmodel.errors import BadRequestError

__all__ = ["bulk_get"]

_REFUSED_PARAMETERS: Final = ("open_revs", "new_edits", "w", "rev", "atts_since")
_FLAGS: Final = ("revs", "attachments", "att_encoding_info")
"""Parameters of ``_bulk_get`` that become members of ReadOptions."""


async def bulk_get(exchange: Exchange) -> Response:
    """Answer ``POST /{db}/_bulk_get`` with JSON, or with a multipart body if the client accepts no JSON."""
    store, database, request = exchange.store, exchange.database, exchange.request
    documents = (await json_object(request)).get("docs")
    if not isinstance(documents, list):
        raise BadRequestError("Missing JSON list of 'docs'.")
    # Each document of the body has its own (`chttpd_db:bulk_get_parse_doc_query`).
    for name in _REFUSED_PARAMETERS:
        if name in request.query:
            raise BadRequestError(f'"{name}" query parameter is not acceptable')
    check = _check_partitioned_id if database.partitioned else validate_id
    flags: dict[str, Any] = {name: True for name in _FLAGS if request.query.get(name) == "true"}
    options = ReadOptions(**flags)
    latest = request.query.get("latest") == "true"
    kind = _multipart_type(request)
    if kind is None:
        rows = _row_batches(_read_batches(store, database, documents, check, options, latest))
        return Response(200, JSON_HEADERS, stream=array_pieces(b'{"results":[', rows, b"\n]}\n"))
    mixed = MultipartMixed(kind)
    options = options._replace(attachments=True, follows=True, whole_empty=True, att_encoding_info=True)
    batches = _read_batches(store, database, documents, check, options, latest)
    headers = {**JSON_HEADERS, "content-type": mixed.content_type}
    return Response(200, headers, stream=_multipart_pieces(store, mixed, batches) if documents else None)


def _check_partitioned_id(id: Any) -> None:
    check_id(validate_id(id), validate_id)


def _error_part(error: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an error as the part of a multipart body shows it: without the id if one revision is missing."""
    if error["reason"] != "missing" or error["rev"] == "undefined":
        return error
    return {name: value for name, value in error.items() if name != "id"}


def _multipart_type(request: Request) -> str | None:
    """Return the multipart type to answer with, or None for JSON.

    JSON is for a client that accepts it, and for one that accepts none of the three types.
    """
    if accepts(request.headers, JSON_TYPE):
        return None
    return next((kind for kind in (MIXED, RELATED) if accepts(request.headers, kind)), None)


async def _read_batches(
    store: Store,
    database: Database,
    documents: Sequence[Any],
    check: Callable[[Any], object],
    options: ReadOptions,
    latest: bool,
) -> AsyncGenerator[list[BulkGetResult], None]:
    def open_some(connection: Connection, some: Sequence[Any]) -> list[BulkGetResult]:
        requested = [parse_requested(member, check) for member in some]
        return open_requested(connection, database.number, requested, options, latest)

    read = store.read if len(documents) <= limits.INLINE_REVISIONS else store.read_in_thread
    while documents:
        results = await read(open_some, documents[: limits.BULK_GET_DOCUMENTS])
        documents = documents[len(results) :]
        yield results


def _rows_json(results: Sequence[BulkGetResult]) -> list[bytes]:
    return [result_json(result) for result in results]


async def _row_batches(batches: AsyncIterator[list[BulkGetResult]]) -> AsyncGenerator[list[bytes], None]:
    async for results in batches:
        rows = partial(_rows_json, results)
        size = sum(
            len(document.text) for item in results for document in item.docs if isinstance(document, AnsweredRevision)
        )
        yield rows() if size <= limits.INLINE_JOINED_BYTES else await asyncio.to_thread(rows)


async def _multipart_pieces(
    store: Store, mixed: MultipartMixed, batches: AsyncIterator[list[BulkGetResult]]
) -> AsyncGenerator[bytes, None]:
    async for results in batches:
        for id, documents in results:
            for document in documents:
                if not isinstance(document, AnsweredRevision):
                    yield mixed.part_head(MISSING_PART_TYPE) + to_json(_error_part(document))
                    continue
                whole = bundle_document(store, document)
                # CouchDB names only parts that are multipart bodies themselves: a plain one has its id and revision in
                # its JSON.
                names = {"X-Doc-Id": quote(id, safe="/: "), "X-Rev-Id": document.rev} if document.follow else EMPTY
                yield mixed.part_head(whole.content_type, names)
                async for piece in whole.pieces:
                    yield piece
    # CouchDB ends this body with a line break, and that of a single document without.
    yield mixed.tail + b"\r\n"
