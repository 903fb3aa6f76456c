"""Answer reads of a document with parameters: other revisions, metadata, and attachments in it or behind it.

Attachments stand in the document's JSON, or follow it as the parts of a ``multipart/related`` body. Several revisions
are a JSON array, or the parts of a ``multipart/mixed`` body.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from couchmodel._embedded import limits
from couchmodel._embedded.documents.attachment_encoding import DEFAULT_TYPE
from couchmodel._embedded.documents.attachments import Attachment
from couchmodel._embedded.documents.reader import (
    FLAGS,
    META,
    AnsweredRevision,
    ReadOptions,
    open_revisions,
    open_winner,
)
from couchmodel._embedded.json.parse import parse_json
from couchmodel._embedded.rules.params import accepts
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.handlers.document.attachment_streams import stored_chunks
from couchmodel._embedded.server.request_body import parse_in_thread
from couchmodel._embedded.server.responses import JSON_HEADERS, has_current_etag, join_parts, not_modified
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.sqlite import bind
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import JSON_TYPE, Request, Response
from couchmodel._wire.multipart import MIXED, RELATED, AttachmentPart, MultipartMixed, MultipartRelated, is_media_type
from couchmodel._wire.revisions import Rev
from couchmodel.errors import BadRequestError, NotFoundError

__all__ = ["MISSING_PART_TYPE", "DocumentBundle", "bundle_document", "get"]

MISSING_PART_TYPE: Final = f'{JSON_TYPE}; error="true"'
"""The content type of a part that reports a missing revision."""


async def get(exchange: Exchange) -> Response:
    """Answer ``GET /{db}/{id}`` with parameters."""
    store, request, id = exchange.store, exchange.request, exchange.arguments["id"]
    query = request.query
    options = _parse_flags(request)
    if "atts_since" in query:
        options = options._replace(attachments=True, atts_since=await _parse_revision_list(query["atts_since"]))
    revs = await _parse_open_revs(query["open_revs"]) if "open_revs" in query else []
    if revs is None or revs:  # for an empty list CouchDB sends the winner
        return await _get_revisions(store, exchange.database, request, id, revs, options)
    options = _follow_if_accepted(request, options, RELATED)
    opened = await _open_revision(store, exchange.database, request, id, options)
    tag = f'"{opened.rev}"'
    # Metadata may change while the revision stays the same, so its id is no ETag then.
    if not opened.has_meta and has_current_etag(request.headers, tag):
        return not_modified(tag)
    headers = JSON_HEADERS if opened.has_meta else {**JSON_HEADERS, "etag": tag}
    if not opened.follow:
        return Response(200, headers, await join_parts(opened.text, b"\n"))
    bundle = bundle_document(store, opened)
    headers = {**headers, "content-type": bundle.content_type, "content-length": str(bundle.length)}
    return Response(200, headers, stream=bundle.pieces)


def _parse_flags(request: Request) -> ReadOptions:
    """Return the options that are boolean parameters of the query."""
    query = request.query
    asked: dict[str, Any] = {name: True for name in FLAGS if query.get(name) == "true"}
    if query.get("meta") == "true":
        asked |= dict.fromkeys(META, True)
    return ReadOptions(**asked)


async def _open_revision(
    store: Store, database: Database, request: Request, id: str, options: ReadOptions
) -> AnsweredRevision:
    query = request.query
    rev = Rev.parse(query["rev"]) if "rev" in query else None
    # Attachments may be large, and may be put into the document's JSON here, so the read runs on a thread.
    read = store.read_in_thread if options.attachments else store.read
    if rev is None or query.get("latest") == "true":  # CouchDB's reading of `latest`: the winner
        return await read(open_winner, database.number, id, options)
    (found,) = await read(open_revisions, database.number, id, [rev], options, False)
    if isinstance(found, Rev):
        raise NotFoundError("missing")
    return found


def _follow_if_accepted(request: Request, options: ReadOptions, media_type: str) -> ReadOptions:
    """Let attachments follow the document, if the client accepts a multipart body.

    Their parts are sent as stored, maybe as gzip, so the document then has to state their encoding.
    """
    if options.attachments and accepts(request.headers, media_type):
        return options._replace(follows=True, att_encoding_info=True)
    return options


# --- several revisions


async def _get_revisions(
    store: Store, database: Database, request: Request, id: str, revs: Sequence[Rev] | None, options: ReadOptions
) -> Response:
    is_mixed = accepts(request.headers, MIXED)
    # Stored bytes follow the documents, so their encoding has to be stated, and empty parts have to be avoided: see
    # ``ReadOptions``.
    if is_mixed:
        options = options._replace(attachments=True, follows=True, whole_empty=True, att_encoding_info=True)
    latest = request.query.get("latest") == "true"
    read = store.read_in_thread if options.attachments else store.read
    open_all = bind(open_revisions, database.number, id, revs, options, latest)
    if not is_mixed:
        text = await read(lambda connection: _revisions_array(_require_found(open_all(connection), revs)))
        return Response(200, JSON_HEADERS, text)
    found = _require_found(await read(open_all), revs)
    mixed = MultipartMixed()
    headers = {**JSON_HEADERS, "content-type": mixed.content_type}
    return Response(200, headers, stream=_mixed_pieces(store, mixed, found))


async def _parse_open_revs(text: str) -> list[Rev] | None:
    """Return the revisions that ``open_revs`` names. None means all leaves."""
    return None if text == "all" else await _parse_revision_list(text)


async def _parse_revision_list(text: str) -> list[Rev]:
    """Return the revisions in a JSON array. Raises BadRequestError if it is malformed."""
    return await parse_in_thread(text.encode(), _parse_revisions, limits.INLINE_QUERY_BYTES)


def _parse_revisions(text: bytes) -> list[Rev]:
    value = parse_json(text)
    if not isinstance(value, list):
        raise BadRequestError("Invalid list of revisions")
    return [Rev.parse(item) for item in value]


def _require_found(found: list[AnsweredRevision | Rev], revs: Sequence[Rev] | None) -> list[AnsweredRevision | Rev]:
    """Return the revisions. Raises NotFoundError if the request was for all leaves, and there is none."""
    if not found and revs is None:
        raise NotFoundError("missing")
    return found


def _revisions_array(found: Sequence[AnsweredRevision | Rev]) -> bytes:
    return b"".join((b"[", b",".join(map(_array_item, found)), b"]\n"))


def _array_item(found: AnsweredRevision | Rev) -> bytes:
    return _missing_json(found) if isinstance(found, Rev) else b"".join((b'{"ok":', found.text, b"}"))


def _missing_json(rev: Rev) -> bytes:
    return b'{"missing":%b}' % to_json(str(rev))


async def _mixed_pieces(
    store: Store, mixed: MultipartMixed, found: Sequence[AnsweredRevision | Rev]
) -> AsyncGenerator[bytes, None]:
    for item in found:
        if isinstance(item, Rev):
            yield mixed.part_head(MISSING_PART_TYPE) + _missing_json(item)
            continue
        bundle = bundle_document(store, item)
        yield mixed.part_head(bundle.content_type)
        async for piece in bundle.pieces:
            yield piece
    yield mixed.tail


# --- with attachments behind it


class DocumentBundle(NamedTuple):
    """A document and the attachments that follow it, as a body that streams. ``length`` is in bytes."""

    content_type: str
    length: int
    pieces: AsyncGenerator[bytes, None]


def bundle_document(store: Store, opened: AnsweredRevision) -> DocumentBundle:
    """Return a document and the attachments that follow it as one body. Without attachments it is JSON."""
    if not opened.follow:
        return DocumentBundle(JSON_TYPE, len(opened.text), _single_piece(opened.text))
    related = MultipartRelated(opened.text, [_part_of(attachment) for attachment in opened.follow])
    contents = (stored_chunks(store, content) for content in opened.contents)
    return DocumentBundle(related.content_type, related.length, related.body(contents))


async def _single_piece(text: bytes) -> AsyncGenerator[bytes, None]:
    yield text


def _part_of(attachment: Attachment) -> AttachmentPart:
    """Return the head of an attachment's part.

    A content type that is malformed would break the part's headers, so it stands in the document only.
    """
    kind = attachment.content_type
    announced = kind if is_media_type(kind) else DEFAULT_TYPE
    return AttachmentPart(attachment.name, announced, attachment.encoded_length, attachment.encoding)
