"""Read a document and its attachments from a ``multipart/related`` body.

The attachments are staged while they arrive. The document and they are then written together.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from functools import partial
from typing import Self

from couchmodel._embedded.documents.attachment_encoding import Content
from couchmodel._embedded.documents.incoming import Edit, IncomingAttachment, read_document
from couchmodel._embedded.server.handlers.document.attachment_streams import ContentUpload, body_pieces, discard_uploads
from couchmodel._embedded.server.request_body import parse_in_thread
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.contents import ContentDigest
from couchmodel._wire.messages import JSON_TYPE, Request
from couchmodel._wire.multipart import MultipartEvent, MultipartReader, PartEnd, PartHead
from couchmodel.errors import BadRequestError, UnsupportedMediaTypeError

__all__ = ["RelatedUpload", "is_related", "multipart_events"]


def is_related(request: Request) -> bool:
    """Return True if the body is a document with its attachments. CouchDB looks for the semicolon, too."""
    return request.headers.get("content-type", "").startswith("multipart/related;")


class RelatedUpload:
    """A document and its attachments in the body of a request.

    It is a context manager. At its end, what was staged and is not part of a document is discarded.
    """

    def __init__(self, store: Store, request: Request) -> None:
        self._store = store
        self._request = request
        self._contents: list[Content] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        discard_uploads(self._store, self._contents)

    async def read(self, id: str) -> Edit:
        """Read the body, stage the attachments, and return the edit.

        Raises:
            BadRequestError: the body is malformed, or an attachment has not the length or digest that was announced.
            UnsupportedMediaTypeError: the first part is no JSON.
            ContentTooLargeError: the document or an attachment is larger than CouchDB accepts.
        """
        async with aclosing(multipart_events(self._request)) as arriving:
            text = await _read_document_part(arriving)
            edit = await parse_in_thread(text, partial(read_document, id=id, follows=True))
            waiting = [
                item
                for item in edit.attachments
                if isinstance(item, IncomingAttachment) and item.expected_length is not None
            ]
            self._contents += [item.content for item in waiting]
            await self._receive(arriving, [_AnnouncedAttachment(self._store, item) for item in waiting])
        return edit

    async def _receive(self, events: AsyncIterator[MultipartEvent], waiting: list["_AnnouncedAttachment"]) -> None:
        """Read the contents, which arrive in the order in which the document names them. Further ones are ignored."""
        position = -1
        async for event in events:
            if isinstance(event, PartHead):
                position += 1
            elif position < len(waiting):
                if isinstance(event, PartEnd):
                    await waiting[position].finish()
                else:
                    await waiting[position].feed(event)
        # An attachment without a part is shorter than announced, and fails here unless it is empty.
        for attachment in waiting[position + 1 :]:
            await attachment.finish()


class _AnnouncedAttachment:
    """An attachment that arrives, and is checked against the length and the digest in the document."""

    def __init__(self, store: Store, item: IncomingAttachment) -> None:
        self._upload = ContentUpload(store, item.content)
        self._content = item.content
        self._length = 0
        self._expected_length = item.expected_length or 0
        self._expected = item.digest if item.digest.startswith("md5-") else ""
        # What is stored as it arrives is digested there.
        self._digest = ContentDigest() if self._expected and item.content.is_compressed_here else None

    async def feed(self, piece: bytes) -> None:
        self._length += len(piece)
        # Checked while it arrives, so that a body of any length is not stored first.
        if self._length > self._expected_length:
            raise BadRequestError("attachment longer than expected")
        if self._digest is not None:
            self._digest.update(piece)
        await self._upload.feed(piece)

    async def finish(self) -> None:
        if self._length < self._expected_length:
            raise BadRequestError("attachment shorter than expected")
        await self._upload.finish()
        digest = f"md5-{self._content.digest}" if self._digest is None else str(self._digest)
        if self._expected not in ("", digest):
            raise BadRequestError("Possible message corruption.", code="content_md5_mismatch")


async def _read_document_part(events: AsyncIterator[MultipartEvent]) -> bytes:
    """Return the text of the first part. Raises UnsupportedMediaTypeError if it is no JSON."""
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


async def multipart_events(request: Request) -> AsyncGenerator[MultipartEvent, None]:
    """Yield the events of a multipart body: heads, pieces and ends of parts. Raises BadRequestError if malformed."""
    try:
        reader = MultipartReader(request.headers["content-type"])
    except ValueError as error:
        raise BadRequestError(str(error)) from None
    async for piece in body_pieces(request):
        for event in _feed(reader, piece):
            yield event
    if not reader.is_complete:
        raise BadRequestError("the multipart body was cut off")


def _feed(reader: MultipartReader, piece: bytes) -> Iterator[MultipartEvent]:
    try:
        yield from reader.feed(piece)
    except ValueError as error:
        raise BadRequestError(str(error)) from None
