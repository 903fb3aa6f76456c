"""Write a document from an HTML form, with the files chosen in it as attachments.

Only forms on the server's own pages are accepted, as in CouchDB, so that no other site can write with a user's cookie.
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from couchmodel._embedded import limits
from couchmodel._embedded.documents.attachment_encoding import Content
from couchmodel._embedded.documents.incoming import (
    Edit,
    IncomingAttachment,
    read_document,
    validate_attachment_name,
    validate_id,
)
from couchmodel._embedded.documents.reader import load_revision
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.handlers.document.attachment_streams import ContentUpload, discard_uploads
from couchmodel._embedded.server.handlers.document.document import set_base_revision, write_revision
from couchmodel._embedded.server.handlers.document.multipart_upload import multipart_events
from couchmodel._embedded.server.request_body import parse_in_thread
from couchmodel._embedded.server.responses import JSON_HEADERS, json_answer
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request, Response
from couchmodel._wire.multipart import MultipartEvent, PartHead
from couchmodel._wire.revisions import Rev
from couchmodel.errors import BadRequestError, ContentTooLargeError, UnsupportedMediaTypeError

__all__ = ["post"]

FORM_TYPE: Final = "multipart/form-data"

_PARAMETER: Final = re.compile(r';\s*(\w+)="((?:[^"\\]|\\.)*)"')


async def post(exchange: Exchange) -> Response:
    """Answer ``POST /{db}/{id}``."""
    store, request, id = exchange.store, exchange.request, exchange.arguments["id"]
    _check_request(request)
    validate_id(id)
    form = _Form(store)
    try:
        async with aclosing(multipart_events(request)) as events:
            await form.read(events)
        edit = await _make_edit(store, exchange.database, request, id, form)
        # The files of the form replace attachments of the same names; the document keeps the others.
        others = [each for each in edit.attachments if each.name not in form.files]
        edit.attachments = [*form.files.values(), *others]
        rev = await write_revision(exchange, edit)
    finally:
        discard_uploads(store, form.contents)
    return json_answer(201, {"ok": True, "id": id, "rev": rev}, {**JSON_HEADERS, "etag": f'"{rev}"'})


def _check_request(request: Request) -> None:
    """Raise BadRequestError if the form is on another server's page, UnsupportedMediaTypeError if it is no form."""
    referer = request.headers.get("referer")
    if referer is None:
        raise BadRequestError("Referer header required.")
    # Behind a proxy, the page has the host of the proxy.
    if urlsplit(referer).netloc != request.headers.get("x-forwarded-host", request.headers.get("host")):
        raise BadRequestError("Referer header must match host.")
    if request.headers.get("content-type", "").partition(";")[0] != FORM_TYPE:
        raise UnsupportedMediaTypeError(f"Content-Type must be {FORM_TYPE}")


async def _make_edit(store: Store, database: Database, request: Request, id: str, form: "_Form") -> Edit:
    """Return the edit for the document in the field ``_doc``, or for the stored revision in the field ``_rev``."""
    if "_doc" in form.fields:
        edit = await parse_in_thread(bytes(form.fields["_doc"]), partial(read_document, id=id))
        set_base_revision(request, edit)
        return edit
    rev = Rev.parse(form.fields.get("_rev", bytearray()).decode("utf-8", "replace"))
    return await store.read(_load_stored, database.number, id, rev)


def _load_stored(connection: Connection, database_id: int, id: str, rev: Rev) -> Edit:
    loaded = load_revision(connection, database_id, id, rev)
    edit = read_document(loaded.text, id=id)
    edit.path, edit.deleted, edit.attachments = [rev], loaded.deleted, [*loaded.attachments]
    return edit


class _Form:
    """A form that is being read: its fields and files by their names. Contents of files are staged."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.fields: dict[str, bytearray] = {}
        self.files: dict[str, IncomingAttachment] = {}
        self.contents: list[Content] = []
        self._fields_size = 0

    async def read(self, events: AsyncIterator[MultipartEvent]) -> None:
        """Read all parts. Raises BadRequestError if one is malformed, ContentTooLargeError if one is too large."""
        async for event in events:
            if isinstance(event, PartHead):
                await self._read_part(event, events)

    async def _read_part(self, head: PartHead, events: AsyncIterator[MultipartEvent]) -> None:
        parameters = dict(_PARAMETER.findall(head.headers.get("content-disposition", "")))
        name, filename = parameters.get("name", ""), parameters.get("filename")
        content = _part_pieces(events)
        if filename is None:
            self.fields[name] = await self._read_text(content)
        # A file in any other field is ignored: nothing iterates over its content, and read() skips its pieces.
        elif name == "_attachments":
            await self._read_file(filename, head.headers.get("content-type", "text/plain"), content)

    async def _read_file(self, name: str, content_type: str, pieces: AsyncIterator[bytes]) -> None:
        validate_attachment_name(name)
        content = Content(content_type, "")
        self.contents.append(content)
        upload = ContentUpload(self._store, content)
        async for piece in pieces:
            await upload.feed(piece)
        await upload.finish()
        self.files[name] = IncomingAttachment(name, content_type, content)

    async def _read_text(self, pieces: AsyncIterator[bytes]) -> bytearray:
        text = bytearray()
        async for piece in pieces:
            text += piece
            self._fields_size += len(piece)
            if self._fields_size > limits.FORM_BYTES:
                raise ContentTooLargeError("", code="document_too_large")
        return text


async def _part_pieces(events: AsyncIterator[MultipartEvent]) -> AsyncGenerator[bytes, None]:
    async for event in events:
        if not isinstance(event, bytes):
            return
        yield event
