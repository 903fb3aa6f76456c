"""A document that comes with its attachments, as ``multipart/related``: staged as they arrive, and then one write."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from functools import partial
from typing import Self

from couchmodel._embedded.documents.attachment_encoding import Content
from couchmodel._embedded.documents.incoming import Edit, Incoming, read_document
from couchmodel._embedded.server.handlers.document.attachment_streams import Gathering, give_up, pieces
from couchmodel._embedded.server.request_body import parsed
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.contents import Digest
from couchmodel._wire.messages import JSON_TYPE, Request
from couchmodel._wire.multipart import Event, PartEnd, PartHead, Reader
from couchmodel.errors import BadRequestError, UnsupportedMediaTypeError

__all__ = ["Related", "events", "is_related"]


def is_related(request: Request) -> bool:
    """Whether the body has a document with its attachments; CouchDB wants the semicolon."""
    return request.headers.get("content-type", "").startswith("multipart/related;")


class Related:
    """A document and its attachments from the body of a request. What was staged of them is given up at the end."""

    def __init__(self, store: Store, request: Request) -> None:
        self._store = store
        self._request = request
        self._contents: list[Content] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        give_up(self._store, self._contents)

    async def read(self, id: str) -> Edit:
        """The document as a write, its attachments staged.

        Raises:
            BadRequestError: the body is not what it should be, or an attachment is not what was announced.
            UnsupportedMediaTypeError: the first part is no JSON.
            ContentTooLargeError: the document or an attachment is larger than CouchDB takes.
        """
        async with aclosing(events(self._request)) as arriving:
            text = await _document(arriving)
            edit = await parsed(text, partial(read_document, id=id, follows=True))
            waiting = [item for item in edit.attachments if isinstance(item, Incoming) and item.announced is not None]
            self._contents += [item.content for item in waiting]
            await self._receive(arriving, [_Arrival(self._store, item) for item in waiting])
        return edit

    async def _receive(self, events: AsyncIterator[Event], waiting: list["_Arrival"]) -> None:
        """Take in the contents, which come in the order in which the document names them. More are let pass."""
        place = -1
        async for event in events:
            if isinstance(event, PartHead):
                place += 1
            elif place < len(waiting):
                if isinstance(event, PartEnd):
                    await waiting[place].finish()
                else:
                    await waiting[place].feed(event)
        for arrival in waiting[place + 1 :]:
            await arrival.finish()


class _Arrival:
    """An attachment that arrives, compared with what the document says of it."""

    def __init__(self, store: Store, item: Incoming) -> None:
        self._gathering = Gathering(store, item.content)
        self._announced = item.announced or 0
        self._expected = item.digest if item.digest.startswith("md5-") else ""
        self._digest = Digest()

    async def feed(self, piece: bytes) -> None:
        self._digest.update(piece)
        if self._digest.length > self._announced:
            raise BadRequestError("attachment longer than expected")
        await self._gathering.feed(piece)

    async def finish(self) -> None:
        if self._digest.length < self._announced:
            raise BadRequestError("attachment shorter than expected")
        if self._expected not in ("", str(self._digest)):
            raise BadRequestError("Possible message corruption.", code="content_md5_mismatch")
        await self._gathering.finish()


async def _document(events: AsyncIterator[Event]) -> bytes:
    """The text of the first part."""
    text = bytearray()
    async for event in events:
        if isinstance(event, PartHead):
            if event.headers.get("content-type", "").partition(";")[0].strip() != JSON_TYPE:
                raise UnsupportedMediaTypeError("Content-Type must be application/json")
        elif isinstance(event, PartEnd):
            break
        else:
            text += event
    return bytes(text)


async def events(request: Request) -> AsyncGenerator[Event, None]:
    """What the body brings. Raises BadRequestError where it is malformed."""
    try:
        reader = Reader(request.headers["content-type"])
    except ValueError as error:
        raise BadRequestError(str(error)) from None
    async for piece in pieces(request):
        for event in _fed(reader, piece):
            yield event
    if not reader.ended:
        raise BadRequestError("the multipart body was cut off")


def _fed(reader: Reader, piece: bytes) -> Iterator[Event]:
    try:
        yield from reader.feed(piece)
    except ValueError as error:
        raise BadRequestError(str(error)) from None
