"""Answer the methods of an attachment: read, write and delete it. Contents stream in both directions."""

import secrets
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import NamedTuple

from couchmodel._embedded.auth.users import write_check
from couchmodel._embedded.documents.attachment_encoding import DEFAULT_TYPE, Content
from couchmodel._embedded.documents.attachments import Attachment, open_attachment
from couchmodel._embedded.documents.checked_writes import write_checked
from couchmodel._embedded.documents.contents import StoredContent
from couchmodel._embedded.documents.incoming import (
    Edit,
    IncomingAttachment,
    parse_document,
    read_document,
    validate_attachment_name,
    validate_id,
)
from couchmodel._embedded.documents.reader import RevisionContent, load_revision
from couchmodel._embedded.documents.writer import WriteBatch, WriteCheck
from couchmodel._embedded.rules.params import accepts_gzip, expected_revision, requests_write_quorum
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.handlers.document.attachment_streams import (
    begin,
    decompressed_pieces,
    discard_uploads,
    range_chunks,
    receive_body,
    stored_chunks,
)
from couchmodel._embedded.server.ranges import Range, parse_ranges
from couchmodel._embedded.server.responses import JSON_HEADERS, has_current_etag, json_answer, location, not_modified
from couchmodel._embedded.storage.sqlite import Connection, bind
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request, Response
from couchmodel._wire.revisions import Rev
from couchmodel.errors import NotFoundError, ResponseError, UnsupportedMediaTypeError

__all__ = ["delete", "get", "put"]


async def get(exchange: Exchange) -> Response:
    """Answer ``GET /{db}/{id}/{name}``."""
    store, request = exchange.store, exchange.request
    rev = Rev.parse(request.query["rev"]) if "rev" in request.query else None
    id, name = exchange.arguments["id"], exchange.arguments["name"]
    attachment, content = await store.read(_open_attachment, exchange.database.number, id, rev, name)
    tag = f'"{attachment.digest}"'
    if has_current_etag(request.headers, tag):
        return not_modified(tag)
    headers = {
        "etag": tag,
        "cache-control": "must-revalidate",
        "content-type": _media_type(attachment),
        "content-security-policy": "sandbox",  # an HTML attachment may not act with its reader's rights
        # CouchDB cuts ranges only out of contents that it stores plain.
        "accept-ranges": "none" if attachment.encoding else "bytes",
    }
    if attachment.encoding:
        return await _gzip_answer(store, request, attachment, content, headers)
    ranges = parse_ranges(request.headers.get("range"), attachment.length)
    if ranges is None:
        headers["content-length"] = str(attachment.length)
        return await _content_answer(request, 200, headers, content, stored_chunks(store, content))
    if len(ranges) != 1:
        return _byte_ranges_answer(store, attachment, content, ranges)
    headers["content-range"] = _content_range(ranges[0], attachment)
    headers["content-length"] = str(ranges[0].last - ranges[0].first + 1)
    return await _content_answer(request, 206, headers, content, range_chunks(store, content, ranges[0]))


async def put(exchange: Exchange) -> Response:
    """Answer ``PUT /{db}/{id}/{name}``."""
    store, database, request = exchange.store, exchange.database, exchange.request
    id, name = exchange.arguments["id"], exchange.arguments["name"]
    validate_attachment_name(name)
    status = 202 if requests_write_quorum(request.query) else 201
    rev = expected_revision(request.query, request.headers)
    if rev is None:
        validate_id(id)
    content_type = request.headers.get("content-type", DEFAULT_TYPE)
    content = Content(content_type, _content_encoding(request))
    try:
        await receive_body(store, request, content)
        change = _Change(database.number, id, rev, name, IncomingAttachment(name, content_type, content))
        check = write_check(database, exchange.user)
        new_rev = await write_checked(store, database, bind(_write_job, change, check), check)
    finally:
        discard_uploads(store, [content])
    headers = {
        **JSON_HEADERS,
        "location": location(exchange, database.name, id, name),
    }
    return json_answer(status, {"ok": True, "id": id, "rev": new_rev}, headers)


async def delete(exchange: Exchange) -> Response:
    """Answer ``DELETE /{db}/{id}/{name}``."""
    database, id = exchange.database, exchange.arguments["id"]
    rev = expected_revision(exchange.request.query, exchange.request.headers)
    change = _Change(database.number, id, rev, exchange.arguments["name"], None)
    check = write_check(database, exchange.user)
    new_rev = await write_checked(exchange.store, database, bind(_write_job, change, check), check)
    return json_answer(200, {"ok": True, "id": id, "rev": new_rev})


# --- reading


def _open_attachment(
    connection: Connection, database_id: int, id: str, rev: Rev | None, name: str
) -> tuple[Attachment, StoredContent]:
    attachment = _require_attachment(load_revision(connection, database_id, id, rev).attachments, name)
    return attachment, open_attachment(connection, id, attachment)


def _require_attachment(attachments: Iterable[Attachment], name: str) -> Attachment:
    for attachment in attachments:
        if attachment.name == name:
            return attachment
    raise NotFoundError("Document is missing attachment")


def _media_type(attachment: Attachment) -> str:
    """Return the ``Content-Type`` of an attachment.

    A stored type with control characters would add headers to the response, so it stands in the document only.
    """
    return attachment.content_type if attachment.content_type.isprintable() else DEFAULT_TYPE


async def _content_answer(
    request: Request, status: int, headers: dict[str, str], content: StoredContent, pieces: AsyncGenerator[bytes, None]
) -> Response:
    """Return the response with a content, or a part of it. Raises ServerError if its first piece is damaged."""
    if request.method == "HEAD":  # nothing is read of it
        return Response(status, headers, stream=pieces)
    return Response(status, headers, stream=await begin(pieces), is_verified=content.checksums is not None)


async def _gzip_answer(
    store: Store, request: Request, attachment: Attachment, content: StoredContent, headers: dict[str, str]
) -> Response:
    """Return the response with an attachment that is stored as gzip: as gzip if the client accepts it."""
    sends_gzip = accepts_gzip(request.headers)
    if sends_gzip or attachment.length != attachment.encoded_length:
        # No range is sent of such an attachment, but one behind its end is refused all the same.
        parse_ranges(request.headers.get("range"), attachment.encoded_length if sends_gzip else attachment.length)
    if sends_gzip:
        headers["content-encoding"] = attachment.encoding
        headers["content-length"] = str(attachment.encoded_length)
        return await _content_answer(request, 200, headers, content, stored_chunks(store, content))
    if attachment.length != attachment.encoded_length:
        headers["content-length"] = str(attachment.length)
    # Equal lengths mean that it was uploaded as gzip. Then its decompressed length is unknown.
    return await _content_answer(request, 200, headers, content, decompressed_pieces(store, content))


def _byte_ranges_answer(
    store: Store, attachment: Attachment, content: StoredContent, ranges: Sequence[Range]
) -> Response:
    """Return the ``multipart/byteranges`` response to several ranges. As in CouchDB, it has no other header."""
    boundary = secrets.token_hex(16)
    headers = {"content-type": f'multipart/byteranges; boundary="{boundary}"'}
    return Response(206, headers, stream=_byte_ranges_pieces(store, attachment, content, ranges, boundary.encode()))


async def _byte_ranges_pieces(
    store: Store, attachment: Attachment, content: StoredContent, ranges: Sequence[Range], boundary: bytes
) -> AsyncGenerator[bytes, None]:
    yield b"--" + boundary
    for byte_range in ranges:
        head = f"\r\nContent-Type: {attachment.content_type}\r\nContent-Range: {_content_range(byte_range, attachment)}"
        yield head.encode() + b"\r\n\r\n"
        async for piece in range_chunks(store, content, byte_range):
            yield piece
        yield b"\r\n--" + boundary
    yield b"--"


def _content_range(byte_range: Range, attachment: Attachment) -> str:
    return f"bytes {byte_range.first}-{byte_range.last}/{attachment.length}"


# --- writing


class _Change(NamedTuple):
    """A change of an attachment: ``content`` is its new content, or None if it is to be removed."""

    database_id: int
    id: str
    rev: Rev | None
    name: str
    content: IncomingAttachment | None


def _content_encoding(request: Request) -> str:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise UnsupportedMediaTypeError("Only gzip and identity content-encodings are supported")
    return "" if encoding == "identity" else encoding


def _write_job(connection: Connection, change: _Change, check: WriteCheck | None) -> str:
    writing = WriteBatch(connection, change.database_id, check)
    edit = _make_edit(connection, change)
    rev = writing.edit(edit)
    writing.finish()
    return rev


def _make_edit(connection: Connection, change: _Change) -> Edit:
    """Return the edit that changes an attachment and nothing else. A new one comes first, as in CouchDB.

    Raises NotFoundError if the attachment to be removed does not exist.
    """
    if change.rev is None and change.content is not None:
        edit = parse_document({}, id=change.id)  # right only for a new document; the write checks that
        edit.attachments = [change.content]
        return edit
    try:
        loaded = load_revision(connection, change.database_id, change.id, change.rev)
    except NotFoundError as error:
        if change.rev is None:
            raise
        raise ResponseError("missing_rev", code="not_found", status=409) from error
    if change.content is None:
        _require_attachment(loaded.attachments, change.name)
    if change.rev is None:
        # Without a revision the write conflicts.
        loaded = RevisionContent(b"{}", [])
    edit = read_document(loaded.text, id=change.id)
    edit.path = [change.rev] if change.rev else []
    edit.deleted = loaded.deleted  # a losing tombstone stays one
    others = [attachment for attachment in loaded.attachments if attachment.name != change.name]
    edit.attachments = [*([change.content] if change.content else []), *others]
    return edit
