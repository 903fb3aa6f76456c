"""Revisions by the many: what is missing here, and reading what another database lacks."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import quote

from pydantic_core import to_json

from couchmodel._embedded.documents.incoming import validate_id
from couchmodel._embedded.documents.reader import Opened, Wishes
from couchmodel._embedded.json.incremental import dissolve
from couchmodel._embedded.queries import revisions as replication
from couchmodel._embedded.queries.revisions import BATCH, Difference, Found
from couchmodel._embedded.rules.params import accepts
from couchmodel._embedded.rules.partitions import check_access, check_id
from couchmodel._embedded.server.handlers.document.document_reads import ERROR_TYPE, bundled
from couchmodel._embedded.server.request_body import json_object
from couchmodel._embedded.server.responses import JSON_HEADERS, LARGE, json_answer, streamed
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Database, Store
from couchmodel._wire.messages import JSON_TYPE, NOTHING, Request, Response
from couchmodel._wire.multipart import MIXED, RELATED, Mixed
from couchmodel.errors import BadRequestError

__all__ = ["bulk_get", "missing_revisions", "revisions_difference"]

_REFUSED: Final = ("open_revs", "new_edits", "w", "rev", "atts_since")
_WISHES: Final = ("revs", "attachments", "att_encoding_info")


SHORT: Final = 20
"""Documents, and revisions of them, that are looked up in the event loop."""


async def revisions_difference(store: Store, database: Database, request: Request) -> Response:
    """``POST /{db}/_revs_diff``."""

    def show(found: dict[str, Difference]) -> dict[str, Any]:
        return {id: _shown(difference) for id, difference in found.items()}

    return await _differences(store, database, request, show)


async def missing_revisions(store: Store, database: Database, request: Request) -> Response:
    """``POST /{db}/_missing_revs``."""

    def show(found: dict[str, Difference]) -> dict[str, Any]:
        return {"missing_revs": {id: difference.missing for id, difference in found.items()}}

    return await _differences(store, database, request, show)


async def bulk_get(store: Store, database: Database, request: Request) -> Response:
    """``POST /{db}/_bulk_get``."""
    listed = (await json_object(request)).get("docs")
    if not isinstance(listed, list):
        raise BadRequestError("Missing JSON list of 'docs'.")
    for name in _REFUSED:
        if name in request.query:
            raise BadRequestError(f'"{name}" query parameter is not acceptable')
    check = _check_partitioned_id if database.partitioned else validate_id
    asked: dict[str, Any] = {name: True for name in _WISHES if request.query.get(name) == "true"}
    wishes = Wishes(**asked)
    latest = request.query.get("latest") == "true"
    kind = _multipart_type(request)
    if kind is None:
        rows = _rows(_batches(store, database, listed, check, wishes, latest))
        return Response(200, JSON_HEADERS, stream=streamed(b'{"results":[', rows, b"\n]}\n"))
    mixed = Mixed(kind)
    wishes = wishes._replace(attachments=True, follows=True, whole_empty=True, att_encoding_info=True)
    batches = _batches(store, database, listed, check, wishes, latest)
    headers = {**JSON_HEADERS, "content-type": mixed.content_type}
    return Response(200, headers, stream=_mixed(store, mixed, batches) if listed else None)


async def _differences(
    store: Store, database: Database, request: Request, show: Callable[[dict[str, Difference]], dict[str, Any]]
) -> Response:
    """What is missing, shown. All of it is done where the documents are read: there may be very many of them."""
    body = await json_object(request)

    def answer(connection: Connection) -> Response:
        asked = replication.parse_revisions(body)
        if database.partitioned:
            for id in asked:
                check_access(id)
        told = json_answer(200, show(replication.differences(database.number, asked, connection)))
        if not few:
            dissolve(body)
            dissolve(asked)
        return told

    few = len(body) <= SHORT and sum(len(revs) for revs in body.values() if isinstance(revs, list)) <= SHORT
    return await (store.read if few else store.scan)(answer)


def _check_partitioned_id(id: Any) -> None:
    check_id(validate_id(id), validate_id)


def _told(error: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is wrong, as a part tells it: without the id where it is a revision that is missing."""
    if error["reason"] != "missing" or error["rev"] == "undefined":
        return error
    return {name: value for name, value in error.items() if name != "id"}


def _shown(difference: Difference) -> dict[str, Any]:
    shown = {"missing": difference.missing}
    if difference.possible_ancestors:
        shown["possible_ancestors"] = difference.possible_ancestors
    return shown


def _multipart_type(request: Request) -> str | None:
    """The multipart type that the client takes and JSON not; None where it takes JSON, or nothing that there is."""
    if accepts(request.headers, JSON_TYPE):
        return None
    return next((kind for kind in (MIXED, RELATED) if accepts(request.headers, kind)), None)


async def _batches(
    store: Store,
    database: Database,
    listed: Sequence[Any],
    check: Callable[[Any], object],
    wishes: Wishes,
    latest: bool,
) -> AsyncGenerator[list[Found], None]:
    def open_some(some: Sequence[Any], connection: Connection) -> list[Found]:
        wanted = [replication.parse_wanted(member, check) for member in some]
        return replication.open_many(database.number, wanted, wishes, latest, connection)

    read = store.read if len(listed) <= SHORT else store.scan
    while listed:
        found = await read(partial(open_some, listed[:BATCH]))
        listed = listed[len(found) :]
        yield found


def _found_json(found: Sequence[Found]) -> list[bytes]:
    return [replication.found_json(item) for item in found]


async def _rows(batches: AsyncIterator[list[Found]]) -> AsyncGenerator[list[bytes], None]:
    async for found in batches:
        rows = partial(_found_json, found)
        size = sum(len(document.text) for item in found for document in item.docs if isinstance(document, Opened))
        yield rows() if size <= LARGE else await asyncio.to_thread(rows)


async def _mixed(store: Store, mixed: Mixed, batches: AsyncIterator[list[Found]]) -> AsyncGenerator[bytes, None]:
    async for found in batches:
        for id, documents in found:
            for document in documents:
                if not isinstance(document, Opened):
                    yield mixed.frame(ERROR_TYPE) + to_json(_told(document))
                    continue
                whole = bundled(store, document)
                names = {"X-Doc-Id": quote(id, safe="/: "), "X-Rev-Id": document.rev} if document.follow else NOTHING
                yield mixed.frame(whole.content_type, names)
                async for piece in whole.pieces:
                    yield piece
    yield mixed.tail + b"\r\n"
