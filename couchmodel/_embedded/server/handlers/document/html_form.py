"""A document from an HTML form, with the files that were chosen in it; CouchDB takes forms of its own pages only."""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from couchmodel._embedded.documents.attachment_encoding import Content
from couchmodel._embedded.documents.incoming import (
    LARGEST_DOCUMENT,
    Edit,
    Incoming,
    read_document,
    validate_attachment_name,
    validate_id,
)
from couchmodel._embedded.documents.reader import load
from couchmodel._embedded.server.handlers.document.attachment_streams import Gathering, give_up
from couchmodel._embedded.server.handlers.document.document import settle_revision, write
from couchmodel._embedded.server.handlers.document.multipart_upload import events
from couchmodel._embedded.server.request_body import parsed
from couchmodel._embedded.server.responses import JSON_HEADERS, json_answer
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Database, Store
from couchmodel._wire.messages import Request, Response
from couchmodel._wire.multipart import Event, PartHead
from couchmodel._wire.revisions import Rev
from couchmodel.errors import BadRequestError, ContentTooLargeError, UnsupportedMediaTypeError

__all__ = ["post"]

FORM: Final = "multipart/form-data"

LARGEST_TEXT: Final = 6 * LARGEST_DOCUMENT
"""Bytes of all fields that are no files: an escaped character takes six of them."""

_PARAMETER: Final = re.compile(r';\s*(\w+)="((?:[^"\\]|\\.)*)"')


async def post(store: Store, database: Database, request: Request, id: str) -> Response:
    """``POST /{db}/{id}``."""
    _check(request)
    validate_id(id)
    form = _Form(store)
    try:
        async with aclosing(events(request)) as arriving:
            await form.read(arriving)
        edit = await _edit(store, database, request, id, form)
        others = [each for each in edit.attachments if each.name not in form.files]
        edit.attachments = [*form.files.values(), *others]
        rev = await write(store, database, edit, request.user)
    finally:
        give_up(store, form.contents)
    return json_answer(201, {"ok": True, "id": id, "rev": rev}, {**JSON_HEADERS, "etag": f'"{rev}"'})


def _check(request: Request) -> None:
    """Raise BadRequestError for the page of another server, UnsupportedMediaTypeError for what is no form."""
    referer = request.headers.get("referer")
    if referer is None:
        raise BadRequestError("Referer header required.")
    if urlsplit(referer).netloc != request.headers.get("x-forwarded-host", request.headers.get("host")):
        raise BadRequestError("Referer header must match host.")
    if request.headers.get("content-type", "").partition(";")[0] != FORM:
        raise UnsupportedMediaTypeError(f"Content-Type must be {FORM}")


async def _edit(store: Store, database: Database, request: Request, id: str, form: "_Form") -> Edit:
    """The document that the form has, or the one of which it has the revision."""
    if "_doc" in form.fields:
        edit = await parsed(bytes(form.fields["_doc"]), partial(read_document, id=id))
        settle_revision(request, edit)
        return edit
    rev = Rev.parse(form.fields.get("_rev", bytearray()).decode("utf-8", "replace"))
    return await store.read(partial(_stored, database.number, id, rev))


def _stored(database: int, id: str, rev: Rev, connection: Connection) -> Edit:
    loaded = load(database, id, rev, connection)
    edit = read_document(loaded.text, id=id)
    edit.path, edit.deleted, edit.attachments = [rev], loaded.deleted, [*loaded.attachments]
    return edit


class _Form:
    """What a form has brought: fields and files by their names; contents of files are staged."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.fields: dict[str, bytearray] = {}
        self.files: dict[str, Incoming] = {}
        self.contents: list[Content] = []
        self._size = 0

    async def read(self, arriving: AsyncIterator[Event]) -> None:
        """Take in all parts. Raises BadRequestError, ContentTooLargeError."""
        async for event in arriving:
            if isinstance(event, PartHead):
                await self._part(event, arriving)

    async def _part(self, head: PartHead, arriving: AsyncIterator[Event]) -> None:
        told = dict(_PARAMETER.findall(head.headers.get("content-disposition", "")))
        name, filename = told.get("name", ""), told.get("filename")
        content = _content(arriving)
        if filename is None:
            self.fields[name] = await self._text(content)
        elif name == "_attachments":
            await self._file(filename, head.headers.get("content-type", "text/plain"), content)

    async def _file(self, name: str, content_type: str, pieces: AsyncIterator[bytes]) -> None:
        validate_attachment_name(name)
        content = Content(content_type, "")
        self.contents.append(content)
        gathering = Gathering(self._store, content)
        async for piece in pieces:
            await gathering.feed(piece)
        await gathering.finish()
        self.files[name] = Incoming(name, content_type, content)

    async def _text(self, pieces: AsyncIterator[bytes]) -> bytearray:
        text = bytearray()
        async for piece in pieces:
            text += piece
            self._size += len(piece)
            if self._size > LARGEST_TEXT:
                raise ContentTooLargeError("", code="document_too_large")
        return text


async def _content(arriving: AsyncIterator[Event]) -> AsyncGenerator[bytes, None]:
    async for event in arriving:
        if not isinstance(event, bytes):
            return
        yield event
