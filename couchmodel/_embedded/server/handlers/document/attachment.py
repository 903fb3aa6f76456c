"""One attachment: read, write, delete. Contents stream both ways."""

import secrets
from collections.abc import AsyncGenerator, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from couchmodel._embedded.auth.users import check_for
from couchmodel._embedded.documents.attachment_encoding import DEFAULT_TYPE, Content
from couchmodel._embedded.documents.attachments import Attachment
from couchmodel._embedded.documents.checked_writes import write_checked
from couchmodel._embedded.documents.incoming import (
    Edit,
    Incoming,
    parse_document,
    read_document,
    validate_attachment_name,
    validate_id,
)
from couchmodel._embedded.documents.reader import Loaded, load
from couchmodel._embedded.documents.writer import Check, Writing
from couchmodel._embedded.rules.params import accepts_gzip, expected_revision, is_only_accepted
from couchmodel._embedded.server.handlers.document.attachment_streams import chunks, give_up, part, receive, unpacked
from couchmodel._embedded.server.ranges import Range, parse_ranges
from couchmodel._embedded.server.responses import JSON_HEADERS, json_answer, location, matches, unchanged
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Database, Store
from couchmodel._wire.messages import Request, Response
from couchmodel._wire.revisions import Rev
from couchmodel.errors import NotFoundError, ResponseError, UnsupportedMediaTypeError

__all__ = ["delete", "get", "put"]


async def get(store: Store, database: Database, request: Request, id: str, name: str) -> Response:
    """``GET /{db}/{id}/{name}``."""
    rev = Rev.parse(request.query["rev"]) if "rev" in request.query else None
    attachment = await store.read(partial(_find, database.number, id, rev, name))
    tag = f'"{attachment.digest}"'
    if matches(request.headers, tag):
        return unchanged(tag)
    headers = {
        "etag": tag,
        "cache-control": "must-revalidate",
        "content-type": _media_type(attachment),
        "content-security-policy": "sandbox",  # a page among the attachments may not act for its reader
        "accept-ranges": "none" if attachment.encoding else "bytes",
    }
    if attachment.encoding:
        return _encoded(store, request, attachment, headers)
    ranges = parse_ranges(request.headers.get("range"), attachment.length)
    if ranges is None:
        headers["content-length"] = str(attachment.length)
        return Response(200, headers, stream=chunks(store, attachment))
    if len(ranges) != 1:
        return _byte_ranges(store, attachment, ranges)
    headers["content-range"] = _content_range(ranges[0], attachment)
    headers["content-length"] = str(ranges[0].last - ranges[0].first + 1)
    return Response(206, headers, stream=part(store, attachment, ranges[0]))


async def put(store: Store, database: Database, request: Request, id: str, name: str) -> Response:
    """``PUT /{db}/{id}/{name}``."""
    validate_attachment_name(name)
    status = 202 if is_only_accepted(request.query) else 201
    rev = expected_revision(request.query, request.headers)
    if rev is None:
        validate_id(id)
    content_type = request.headers.get("content-type", DEFAULT_TYPE)
    content = Content(content_type, _content_encoding(request))
    try:
        await receive(store, request, content)
        change = _Change(database.number, id, rev, name, Incoming(name, content_type, content))
        check = check_for(database, request.user)
        written = await write_checked(store, database, partial(_write, change, check), check)
    finally:
        give_up(store, [content])
    headers = {
        **JSON_HEADERS,
        "location": location(request, database.name, id, name),
    }
    return json_answer(status, {"ok": True, "id": id, "rev": written}, headers)


async def delete(store: Store, database: Database, request: Request, id: str, name: str) -> Response:
    """``DELETE /{db}/{id}/{name}``."""
    rev = expected_revision(request.query, request.headers)
    change = _Change(database.number, id, rev, name, None)
    check = check_for(database, request.user)
    written = await write_checked(store, database, partial(_write, change, check), check)
    return json_answer(200, {"ok": True, "id": id, "rev": written})


# --- reading


def _find(database: int, id: str, rev: Rev | None, name: str, connection: Connection) -> Attachment:
    return _named(load(database, id, rev, connection).attachments, name)


def _named(attachments: Iterable[Attachment], name: str) -> Attachment:
    for attachment in attachments:
        if attachment.name == name:
            return attachment
    raise NotFoundError("Document is missing attachment")


def _media_type(attachment: Attachment) -> str:
    """The header of a content. What would be several of them is none, and stands in the document only."""
    return attachment.content_type if attachment.content_type.isprintable() else DEFAULT_TYPE


def _encoded(store: Store, request: Request, attachment: Attachment, headers: dict[str, str]) -> Response:
    """A content that is stored as gzip: as it is for whoever takes that, and otherwise unpacked."""
    is_packed = accepts_gzip(request.headers)
    if is_packed or attachment.length != attachment.encoded_length:
        # No part is sent, but one behind the end is refused all the same.
        parse_ranges(request.headers.get("range"), attachment.encoded_length if is_packed else attachment.length)
    if is_packed:
        headers["content-encoding"] = attachment.encoding
        headers["content-length"] = str(attachment.encoded_length)
        return Response(200, headers, stream=chunks(store, attachment))
    if attachment.length != attachment.encoded_length:
        headers["content-length"] = str(attachment.length)
    # Otherwise it came as gzip: nobody knows how long it will be.
    return Response(200, headers, stream=unpacked(store, attachment))


def _byte_ranges(store: Store, attachment: Attachment, ranges: Sequence[Range]) -> Response:
    """Several parts of a content, or none at all, with the one header that CouchDB sends with them."""
    boundary = secrets.token_hex(16)
    headers = {"content-type": f'multipart/byteranges; boundary="{boundary}"'}
    return Response(206, headers, stream=_framed(store, attachment, ranges, boundary.encode()))


async def _framed(
    store: Store, attachment: Attachment, ranges: Sequence[Range], boundary: bytes
) -> AsyncGenerator[bytes, None]:
    yield b"--" + boundary
    for wanted in ranges:
        head = f"\r\nContent-Type: {attachment.content_type}\r\nContent-Range: {_content_range(wanted, attachment)}"
        yield head.encode() + b"\r\n\r\n"
        async for piece in part(store, attachment, wanted):
            yield piece
        yield b"\r\n--" + boundary
    yield b"--"


def _content_range(wanted: Range, attachment: Attachment) -> str:
    return f"bytes {wanted.first}-{wanted.last}/{attachment.length}"


# --- writing


class _Change(NamedTuple):
    """An attachment that is put, or removed where there is no content."""

    database: int
    id: str
    rev: Rev | None
    name: str
    content: Incoming | None


def _content_encoding(request: Request) -> str:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip"):
        raise UnsupportedMediaTypeError("Only gzip and identity content-encodings are supported")
    return "" if encoding == "identity" else encoding


def _write(change: _Change, check: Check | None, connection: Connection) -> str:
    writing = Writing(connection, change.database, check)
    edit = _edit(change, connection)
    rev = writing.edit(edit)
    writing.finish()
    return rev


def _edit(change: _Change, connection: Connection) -> Edit:
    """The document as it is, but for the attachment: a new one comes first, as in CouchDB."""
    if change.rev is None and change.content is not None:
        edit = parse_document({}, id=change.id)  # right only if there is no such document, and checked as it is written
        edit.attachments = [change.content]
        return edit
    try:
        loaded = load(change.database, change.id, change.rev, connection)
    except NotFoundError as error:
        if change.rev is None:
            raise
        raise ResponseError("missing_rev", code="not_found", status=409) from error
    if change.content is None:
        _named(loaded.attachments, change.name)
    if change.rev is None:
        loaded = Loaded(b"{}", [])
    edit = read_document(loaded.text, id=change.id)
    edit.path = [change.rev] if change.rev else []
    edit.deleted = loaded.deleted  # a losing tombstone stays one
    others = [attachment for attachment in loaded.attachments if attachment.name != change.name]
    edit.attachments = [*([change.content] if change.content else []), *others]
    return edit
