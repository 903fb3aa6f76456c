"""Answer the methods of a document: read, write, delete and copy it.

A read without parameters is answered here, and one with parameters by :mod:`document_reads`.
"""

import hashlib
import logging
from functools import partial
from urllib.parse import urlencode

from couchmodel._embedded import limits
from couchmodel._embedded.auth.users import hash_password, write_check
from couchmodel._embedded.documents import local
from couchmodel._embedded.documents.checked_writes import write_checked
from couchmodel._embedded.documents.incoming import Edit, parse_document, read_document, validate_id
from couchmodel._embedded.documents.reader import (
    RevisionContent,
    StoredRevision,
    document_json,
    find_winner,
    load_revision,
    require_living,
)
from couchmodel._embedded.documents.writer import WriteBatch, WriteCheck
from couchmodel._embedded.rules.params import expected_revision, requests_write_quorum
from couchmodel._embedded.rules.partitions import require_partition
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.handlers.document import document_reads
from couchmodel._embedded.server.handlers.document.multipart_upload import RelatedUpload, is_related
from couchmodel._embedded.server.request_body import parse_in_thread, read_text
from couchmodel._embedded.server.responses import has_current_etag, json_answer, location, not_modified, revision_answer
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.sqlite import Connection, bind
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import JSON_TYPE, Request, Response, encode, is_valid_unicode, parse_target
from couchmodel._wire.revisions import Rev, revisions_member
from couchmodel.errors import BadRequestError, NotFoundError, ResponseError

__all__ = [
    "check_id",
    "copy",
    "delete",
    "get",
    "put",
    "redirect",
    "refuse_local_attachment",
    "refuse_local_id",
    "set_base_revision",
    "write_batch",
    "write_revision",
]

_log = logging.getLogger("couchmodel.embedded")

_LOCAL = "_local/"


def check_id(exchange: Exchange) -> None:
    """Raise BadRequestError if the id has no partition, and the database is partitioned."""
    if exchange.database.partitioned and (id := exchange.arguments["id"])[:1] != "_":
        require_partition(id)


async def get(exchange: Exchange) -> Response:
    """Answer ``GET /{db}/{id}``."""
    store, database = exchange.store, exchange.database
    request, id = exchange.request, exchange.arguments["id"]
    # CouchDB has one revision of a local document, and lets the parameters of others have no effect on it.
    if id.startswith(_LOCAL) and "open_revs" not in request.query and "rev" not in request.query:
        return await _get_local(store, database, request, id)
    if request.query:
        return await document_reads.get(exchange)
    found = require_living(await store.read(find_winner, database.number, id))
    if "if-none-match" in request.headers and has_current_etag(request.headers, f'"{found.rev}"'):
        return not_modified(f'"{found.rev}"')
    return revision_answer(found.rev, document_json(id, found))


async def put(exchange: Exchange) -> Response:
    """Answer ``PUT /{db}/{id}``."""
    request, id = exchange.request, exchange.arguments["id"]
    validate_id(id)
    if is_related(request):
        async with RelatedUpload(exchange.store, request) as related:
            return await _put(exchange, await related.read(id))
    edit = await _read_edit(request, id)
    if request.query.get("batch") == "ok":
        set_base_revision(request, edit)
        return await write_batch(exchange, edit)
    return await _put(exchange, edit)


async def write_batch(exchange: Exchange, edit: Edit) -> Response:
    """Write a document with ``batch=ok``, and answer 202.

    CouchDB answers such a request before it writes. So an error that refuses the write is only logged.
    """
    try:
        await write_revision(exchange, edit)
    except ResponseError as error:
        if error.status >= 500:
            raise
        _log.info("%r was accepted with batch=ok, and refused: %s", exchange.request, error)
    return json_answer(202, {"ok": True, "id": edit.id})


async def _put(exchange: Exchange, edit: Edit) -> Response:
    request = exchange.request
    set_base_revision(request, edit)
    replicated = request.query.get("new_edits") == "false"
    if replicated and not edit.path:
        reason = "When `new_edits: false`, the document needs `_rev` or `_revisions` specified"
        raise BadRequestError(reason)
    # A PUT with `_deleted` deletes, and nothing is created.
    status = 200 if edit.deleted else 201
    if requests_write_quorum(request.query) and not replicated:
        status = 202
    rev = await write_revision(exchange, edit, replicated=replicated)
    return _write_answer(exchange, edit.id, rev, status, with_location=True)


async def delete(exchange: Exchange) -> Response:
    """Answer ``DELETE /{db}/{id}``."""
    store, database, request, id = exchange.store, exchange.database, exchange.request, exchange.arguments["id"]
    if id.startswith(_LOCAL):
        await _read_local(store, database, id)
    else:
        require_living(await store.read(find_winner, database.number, id))
    edit = parse_document({"_deleted": True}, id=id)
    set_base_revision(request, edit)
    status = 202 if requests_write_quorum(request.query) else 200
    rev = await write_revision(exchange, edit)
    return _write_answer(exchange, id, rev, status, with_location=False)


async def copy(exchange: Exchange) -> Response:
    """Answer ``COPY /{db}/{id}``."""
    database, request = exchange.database, exchange.request
    # `rev` and `If-Match` of a COPY are about its source. The target's revision stands in the Destination.
    source = expected_revision(request.query, request.headers)
    target_id, target_rev = _parse_destination(request)
    validate_id(target_id)
    check = write_check(database, exchange.user)
    job = bind(_copy_job, database.number, exchange.arguments["id"], source, target_id, target_rev, check)
    rev = await write_checked(exchange.store, database, job, check)
    return _write_answer(exchange, target_id, rev, 201, with_location=True)


async def redirect(exchange: Exchange) -> Response:
    """Redirect ``GET /{db}/_design%2F{name}`` to ``/{db}/_design/{name}``, as CouchDB does."""
    request = exchange.request
    name, *rest = request.path
    address = location(exchange, name, *rest[0].split("/", 1), *rest[1:])
    query = "?" + urlencode(request.query) if request.query else ""
    return Response(301, {"location": address + query})


async def write_revision(exchange: Exchange, edit: Edit, *, replicated: bool = False) -> str:
    """Write one revision, and return its id. ``replicated`` keeps the revision id that it has (``new_edits=false``).

    Raises UnauthorizedError or ForbiddenError if the user may not write it, and ConflictError if it conflicts.
    """
    database = exchange.database
    await hash_password(database, edit)
    check = write_check(database, exchange.user)
    job = bind(_write_job, database.number, edit, replicated, check)
    # Such a write does little but wait for the disk, see ``Store.write``.
    short = len(edit.text) <= limits.LARGE_BODY and not edit.attachments
    return await write_checked(exchange.store, database, job, check, short=short)


def _write_job(connection: Connection, database_id: int, edit: Edit, replicated: bool, check: WriteCheck | None) -> str:
    writing = WriteBatch(connection, database_id, check)
    rev = writing.replicate(edit) if replicated else writing.edit(edit)
    writing.finish()
    return rev


async def _read_edit(request: Request, id: str) -> Edit:
    """Return the edit that a request's body describes. Its inline attachments are compressed and hashed already."""
    return await parse_in_thread(await read_text(request, limits.DOCUMENTS_BYTES), partial(read_document, id=id))


def set_base_revision(request: Request, edit: Edit) -> None:
    """Set the revision that an edit is based on, which the query, the ``If-Match`` header or the body may name.

    Raises BadRequestError if they name different ones.
    """
    body_rev = edit.path[0] if edit.path else None
    rev = expected_revision(request.query, request.headers, body_rev)
    if rev is not None and rev != body_rev:
        edit.path = [rev]


def _write_answer(exchange: Exchange, id: str, rev: str, status: int, *, with_location: bool) -> Response:
    headers = {"content-type": JSON_TYPE, "cache-control": "must-revalidate", "etag": f'"{rev}"'}
    if with_location:
        headers["location"] = location(exchange, exchange.database.name, id)
    return json_answer(status, {"ok": True, "id": id, "rev": rev}, headers)


# --- local documents


async def refuse_local_id(exchange: Exchange) -> Response:
    """Refuse ``/{db}/_local``. Raises BadRequestError."""
    raise BadRequestError("Invalid _local document id.")


async def refuse_local_attachment(exchange: Exchange) -> Response:
    """Refuse ``/{db}/_local/{id}/{name}``. Raises BadRequestError."""
    raise BadRequestError("_local documents do not accept attachments.")


async def _get_local(store: Store, database: Database, request: Request, id: str) -> Response:
    found = await _read_local(store, database, id)
    tag = f'"{hashlib.md5(found.rev.encode() + found.body, usedforsecurity=False).hexdigest()}"'
    if has_current_etag(request.headers, tag):
        return not_modified(tag)
    revs = encode({"_revisions": revisions_member([Rev.parse(found.rev)])})
    more = b"," + revs[1:-1] if request.query.get("revs") == "true" else b""
    answer = revision_answer(found.rev, document_json(id, StoredRevision(found.rev, 0, None, found.body), more))
    answer.headers = {**answer.headers, "etag": tag}
    return answer


async def _read_local(store: Store, database: Database, id: str) -> local.LocalDocument:
    found = await store.read(local.read_local, database.number, id)
    if found is None:
        raise NotFoundError("missing")
    return found


# --- copying


def _parse_destination(request: Request) -> tuple[str, Rev | None]:
    """Return the id in the ``Destination`` header of a COPY, and the revision that is to be replaced, if any."""
    header = request.headers.get("destination")
    if header is None:
        raise BadRequestError("Destination header is mandatory for COPY.")
    # As `couch_httpd_db:parse_copy_destination_header`.
    if "://" in header:
        raise BadRequestError("Destination URL must be relative.")
    path, query = parse_target(header.replace("/", "%2F"))  # slashes belong to the id
    id = "".join(path)
    if not is_valid_unicode(id):
        raise BadRequestError("Document id must be valid UTF-8", code="illegal_docid")
    return id, Rev.parse(query["rev"]) if "rev" in query else None


def _load_source(connection: Connection, database_id: int, id: str, rev: Rev | None) -> RevisionContent:
    if not id.startswith(_LOCAL) or rev is not None:
        return load_revision(connection, database_id, id, rev)
    found = local.read_local(connection, database_id, id)
    if found is None:
        raise NotFoundError("missing")
    return RevisionContent(found.body, [])


def _copy_job(
    connection: Connection,
    database_id: int,
    source_id: str,
    source_rev: Rev | None,
    id: str,
    rev: Rev | None,
    check: WriteCheck | None,
) -> str:
    source = _load_source(connection, database_id, source_id, source_rev)
    edit = read_document(source.text, id=id)
    # The copy continues the target's revision, and has none of the source's history.
    edit.path = [rev] if rev else []
    edit.attachments = list(source.attachments)
    edit.deleted = source.deleted
    writing = WriteBatch(connection, database_id, check)
    written = writing.edit(edit)
    writing.finish()
    return written
