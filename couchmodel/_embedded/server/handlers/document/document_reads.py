"""One document as its reader wishes: other revisions, more about it, and its attachments with it or behind it."""

from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from couchmodel._embedded.documents.attachment_encoding import DEFAULT_TYPE
from couchmodel._embedded.documents.attachments import Attachment
from couchmodel._embedded.documents.reader import FLAGS, META, Opened, Wishes, open_revisions, open_winner
from couchmodel._embedded.json.parse import parse_json
from couchmodel._embedded.rules.params import accepts
from couchmodel._embedded.server.handlers.document.attachment_streams import chunks
from couchmodel._embedded.server.request_body import LARGE_QUERY, parsed
from couchmodel._embedded.server.responses import JSON_HEADERS, matches, unchanged, whole
from couchmodel._embedded.storage.store import Database, Store
from couchmodel._wire.messages import JSON_TYPE, Request, Response
from couchmodel._wire.multipart import MIXED, RELATED, Mixed, Part, Related, is_media_type
from couchmodel._wire.revisions import Rev
from couchmodel.errors import BadRequestError, NotFoundError

__all__ = ["ERROR_TYPE", "Bundle", "bundled", "get"]

ERROR_TYPE: Final = f'{JSON_TYPE}; error="true"'
"""The media type of a part that says what is wrong."""


async def get(store: Store, database: Database, request: Request, id: str) -> Response:
    """``GET /{db}/{id}`` with parameters."""
    query = request.query
    wishes = _parse_wishes(request)
    if "atts_since" in query:
        wishes = wishes._replace(attachments=True, atts_since=await _revisions(query["atts_since"]))
    revs = await _open_revs(query["open_revs"]) if "open_revs" in query else []
    if revs is None or revs:
        return await _get_revisions(store, database, request, id, revs, wishes)
    wishes = _with_follows(request, wishes, RELATED)
    opened = await _open(store, database, request, id, wishes)
    tag = f'"{opened.rev}"'
    if not opened.has_meta and matches(request.headers, tag):
        return unchanged(tag)
    headers = JSON_HEADERS if opened.has_meta else {**JSON_HEADERS, "etag": tag}
    if not opened.follow:
        return Response(200, headers, await whole(opened.text, b"\n"))
    bundle = bundled(store, opened)
    headers = {**headers, "content-type": bundle.content_type, "content-length": str(bundle.length)}
    return Response(200, headers, stream=bundle.pieces)


def _parse_wishes(request: Request) -> Wishes:
    """Which of the parameters that are true or not are true."""
    query = request.query
    asked: dict[str, Any] = {name: True for name in FLAGS if query.get(name) == "true"}
    if query.get("meta") == "true":
        asked |= dict.fromkeys(META, True)
    return Wishes(**asked)


async def _open(store: Store, database: Database, request: Request, id: str, wishes: Wishes) -> Opened:
    query = request.query
    rev = Rev.parse(query["rev"]) if "rev" in query else None
    # Attachments may be large, and they may be put into the document's JSON here.
    read = store.scan if wishes.attachments else store.read
    if rev is None or query.get("latest") == "true":  # CouchDB's reading of `latest`: the winner
        return await read(partial(open_winner, database.number, id, wishes))
    (found,) = await read(partial(open_revisions, database.number, id, [rev], wishes, False))
    if isinstance(found, Rev):
        raise NotFoundError("missing")
    return found


def _with_follows(request: Request, wishes: Wishes, media_type: str) -> Wishes:
    """Attachments come behind the document to whoever takes that; their encoding has to be told, then."""
    if wishes.attachments and accepts(request.headers, media_type):
        return wishes._replace(follows=True, att_encoding_info=True)
    return wishes


# --- several revisions


async def _get_revisions(
    store: Store, database: Database, request: Request, id: str, revs: Sequence[Rev] | None, wishes: Wishes
) -> Response:
    is_mixed = accepts(request.headers, MIXED)
    if is_mixed:
        wishes = wishes._replace(attachments=True, follows=True, whole_empty=True, att_encoding_info=True)
    latest = request.query.get("latest") == "true"
    read = store.scan if wishes.attachments else store.read
    open_all = partial(open_revisions, database.number, id, revs, wishes, latest)
    if not is_mixed:
        return Response(200, JSON_HEADERS, await read(lambda connection: _array(_there(open_all(connection), revs))))
    found = _there(await read(open_all), revs)
    mixed = Mixed()
    headers = {**JSON_HEADERS, "content-type": mixed.content_type}
    return Response(200, headers, stream=_mixed(store, mixed, found))


async def _open_revs(text: str) -> list[Rev] | None:
    return None if text == "all" else await _revisions(text)


async def _revisions(text: str) -> list[Rev]:
    """The revisions of an array. Raises BadRequestError."""
    return await parsed(text.encode(), _parse_revisions, LARGE_QUERY)


def _parse_revisions(text: bytes) -> list[Rev]:
    value = parse_json(text)
    if not isinstance(value, list):
        raise BadRequestError("Invalid list of revisions")
    return [Rev.parse(item) for item in value]


def _there(found: list[Opened | Rev], revs: Sequence[Rev] | None) -> list[Opened | Rev]:
    """What was found, where all there are were asked for. Raises NotFoundError."""
    if not found and revs is None:
        raise NotFoundError("missing")
    return found


def _array(found: Sequence[Opened | Rev]) -> bytes:
    return b"".join((b"[", b",".join(map(_listed, found)), b"]\n"))


def _listed(found: Opened | Rev) -> bytes:
    return _missing(found) if isinstance(found, Rev) else b"".join((b'{"ok":', found.text, b"}"))


def _missing(rev: Rev) -> bytes:
    return b'{"missing":%b}' % to_json(str(rev))


async def _mixed(store: Store, mixed: Mixed, found: Sequence[Opened | Rev]) -> AsyncGenerator[bytes, None]:
    for item in found:
        if isinstance(item, Rev):
            yield mixed.frame(ERROR_TYPE) + _missing(item)
            continue
        whole = bundled(store, item)
        yield mixed.frame(whole.content_type)
        async for piece in whole.pieces:
            yield piece
    yield mixed.tail


# --- with attachments behind it


class Bundle(NamedTuple):
    """A document with the attachments that follow it, as a body."""

    content_type: str
    length: int
    pieces: AsyncGenerator[bytes, None]


def bundled(store: Store, opened: Opened) -> Bundle:
    """A document with the attachments that follow it; JSON where none does."""
    frame = Related(opened.text, [_part(attachment) for attachment in opened.follow])
    pieces = _pieces(store, opened, frame)
    if not opened.follow:
        return Bundle(JSON_TYPE, len(opened.text), pieces)
    return Bundle(frame.content_type, frame.length, pieces)


async def _pieces(store: Store, opened: Opened, frame: Related) -> AsyncGenerator[bytes, None]:
    if not opened.follow:
        yield opened.text
        return
    yield frame.head
    for attachment in opened.follow:
        yield frame.frame(_part(attachment))
        async for chunk in chunks(store, attachment):
            yield chunk
    yield frame.tail


def _part(attachment: Attachment) -> Part:
    """How an attachment is announced. A media type that is none stands in the document only."""
    kind = attachment.content_type
    announced = kind if is_media_type(kind) else DEFAULT_TYPE
    return Part(attachment.name, announced, attachment.encoded_length, attachment.encoding)
