"""Documents together with their attachments, in one request and one revision, streamed both ways."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple

from couchmodel._wire.contents import ContentDecoder
from couchmodel._wire.messages import EMPTY, JSON_TYPE, Request, decode, encode
from couchmodel._wire.multipart import (
    MIXED,
    RELATED,
    AttachmentPart,
    MultipartEvent,
    MultipartReader,
    MultipartRelated,
    PartHead,
)
from couchmodel.engine._io.session import Session
from couchmodel.engine._io.uploads import Upload, UploadSource
from couchmodel.engine.attachment import attachment_path, compare_stored, explain_upload_error
from couchmodel.errors import ConfigurationError, ConnectError, NotFoundError, ProtocolError, TransportError
from couchmodel.types import JSONObject, WriteAnswer

__all__ = ["IncomingAttachment", "IncomingDocument", "read_documents", "write_document"]

_STUB_MEMBERS: Final = ("content_type", "digest", "length", "revpos")
"""The members of an attachment's stub that are kept of a document that arrives."""


_SHORT_REQUEST: Final = 1024 * 1024
"""Up to so many bytes, a document is sent with its attachments at once, and can be sent again."""


# --- to the server


class _OutgoingAttachment(NamedTuple):
    """An attachment that is sent with its document."""

    part: AttachmentPart
    source: UploadSource

    def follow(self) -> JSONObject:
        """Return the stub that announces the content. CouchDB compares its digest with the bytes that it receives."""
        stub = {"content_type": self.part.content_type, "length": self.part.length, "follows": True}
        # The digest of a stream is known only after the stub was sent.
        return stub if self.source.short_body is None else {**stub, "digest": str(self.source.digest)}

    def stub(self, rev: str) -> JSONObject:
        """Return the stub of the attachment in a revision. CouchDB's digest is not known: the bytes may be packed."""
        revpos = int(rev.partition("-")[0])
        return {"content_type": self.part.content_type, "length": self.part.length, "revpos": revpos, "stub": True}


async def write_document(
    session: Session, path: tuple[str, ...], document: JSONObject, uploads: Mapping[str, Upload | tuple[Any, ...]]
) -> tuple[WriteAnswer, JSONObject]:
    """Store a document with these attachments beside those it has.

    Return CouchDB's answer, and the ``_attachments`` of the document after it. Raises ConfigurationError if the length
    of an attachment is not known; ConflictError; ProtocolError if an attachment was not stored as it was sent; another
    TransportError if no answer came, with a message that says what is stored.
    """
    outgoing = [await _prepare_attachment(path, name, _parse_upload(name, each)) for name, each in uploads.items()]
    # The stubs of the others keep them: what `_attachments` does not name is removed.
    kept = {name: stub for name, stub in document.get("_attachments", {}).items() if name not in uploads}
    body = encode({**document, "_attachments": {**kept, **{each.part.name: each.follow() for each in outgoing}}})
    try:
        related = MultipartRelated(body, [each.part for each in outgoing])
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    answer = await _send_related(session, path, document.get("_rev"), related, outgoing)
    stubs = {each.part.name: each.stub(answer["rev"]) for each in outgoing}
    streamed = [each for each in outgoing if each.source.short_body is None]
    if streamed:  # CouchDB has checked all others
        stubs |= await _check_streams(session, path, answer["rev"], streamed)
    return answer, {**kept, **stubs}


def _parse_upload(name: str, given: Upload | tuple[Any, ...]) -> Upload:
    if isinstance(given, Upload):
        return given
    if not isinstance(given, tuple) or not 1 <= len(given) <= 3:
        kind = type(given).__name__
        raise ConfigurationError(f"attachment {name!r} is given as (data, content_type, length), not as {kind}")
    return Upload(*given)


async def _prepare_attachment(path: tuple[str, ...], name: str, upload: Upload) -> _OutgoingAttachment:
    attachment_path(path, name)
    source = UploadSource(upload.data, upload.length, upload.content_type)
    if source.length is None:
        message = f"the length of attachment {name!r} must be known in advance: give Upload(data, type, length)"
        raise ConfigurationError(message)
    await source.load_short()
    return _OutgoingAttachment(AttachmentPart(name, source.content_type, source.length), source)


async def _send_related(
    session: Session,
    path: tuple[str, ...],
    rev: str | None,
    related: MultipartRelated,
    outgoing: list[_OutgoingAttachment],
) -> WriteAnswer:
    headers = {"accept": JSON_TYPE, "content-type": related.content_type, "content-length": str(related.length)}
    body = _UploadBody(related, [each.source for each in outgoing])
    whole = b"".join([piece async for piece in body]) if related.length <= _SHORT_REQUEST else None
    try:
        answer: WriteAnswer = await session.json(Request("PUT", path, headers=headers, body=whole or body))
    except ConnectError:  # nothing was sent, so nothing can be stored
        raise
    except TransportError as error:
        raise await explain_upload_error(session, path, rev, error, is_complete=body.is_complete) from error
    return answer


async def _check_streams(
    session: Session, path: tuple[str, ...], rev: str, outgoing: Iterable[_OutgoingAttachment]
) -> dict[str, JSONObject]:
    """Return the stubs of attachments that were streamed with their document, compared with what was sent.

    Raises ProtocolError if one differs.
    """
    try:
        stored = await session.get(path, {"rev": rev, "att_encoding_info": "true"})
    except NotFoundError:
        return {}  # the document was changed meanwhile, and this revision compacted away
    checked = {}
    for each in outgoing:
        name, stub = each.part.name, stored.get("_attachments", {}).get(each.part.name, {})
        # The digest of a packed content is that of the packed bytes.
        digest = None if "encoding" in stub else stub.get("digest")
        compare_stored(name, rev, each.source, stub.get("length", 0), digest)
        checked[name] = {key: value for key, value in stub.items() if key in (*_STUB_MEMBERS, "stub")}
    return checked


class _UploadBody:
    """The body of a ``multipart/related`` request, in pieces. ``is_complete`` is True once all contents were sent."""

    def __init__(self, related: MultipartRelated, sources: Sequence[UploadSource]) -> None:
        self._related = related
        self._sources = sources
        self.is_complete = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._related.body(self._sources):
            # By identity: no content is the same object.
            self.is_complete = piece is self._related.tail
            yield piece


# --- from the server


class IncomingAttachment:
    """An attachment that is arriving with its document. Iterate over its bytes once, before asking for the next one.

    ``digest`` is CouchDB's, ``length`` is the number of unpacked bytes. Iterating raises ProtocolError if the bytes did
    not arrive as they are stored.
    """

    def __init__(self, name: str, stub: JSONObject, encoding: str, parts: "_PartReader") -> None:
        self.name = name
        self.content_type: str = stub["content_type"]
        self.length: int = stub["length"]
        self.digest: str = stub["digest"]
        self._parts = parts
        # The digest is that of the stored bytes, packed or not, and in a multipart answer the stored bytes arrive.
        self._decoder = ContentDecoder(encoding, self.digest, is_plain=False)
        # If a client uploaded the content packed, CouchDB gives the packed length as `length`.
        self._is_length_plain = stub.get("encoded_length") != self.length

    def __repr__(self) -> str:
        return f"<IncomingAttachment {self.name}>"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for data in self._parts.iter_rest():
                for piece in self._decoder.feed(data):
                    yield piece
            self._decoder.finish(self.length if self._is_length_plain else None)
        except ValueError as error:
            raise ProtocolError(f"attachment {self.name!r} did not arrive as it is stored: {error}") from None

    async def fetch(self) -> bytes:
        """Return all bytes of the attachment."""
        return b"".join([piece async for piece in self])

    async def skip(self) -> None:
        """Skip the bytes that have not been read."""
        await self._parts.skip()


class IncomingDocument:
    """A document that is arriving, followed by its attachments.

    ``body`` is its JSON text. If a revision that was asked for is missing, ``missing`` names it and ``body`` is empty.
    """

    def __init__(self, body: bytes, missing: str | None = None, parts: "_PartReader | None" = None) -> None:
        self.body = body
        self.missing = missing
        self._parts = parts

    def __repr__(self) -> str:
        return f"<IncomingDocument {'missing ' + self.missing if self.missing else self.body[:80]!r}>"

    @property
    def data(self) -> JSONObject:
        """The members of the document, with stubs of its attachments. Raises NotFoundError if it is missing."""
        document = self._decode_body()
        stubs = document.get("_attachments", {})
        for name, stub in stubs.items():
            if stub.get("follows"):
                stubs[name] = {key: value for key, value in stub.items() if key in _STUB_MEMBERS} | {"stub": True}
        return document

    async def attachments(self) -> AsyncGenerator[IncomingAttachment, None]:
        """Yield the attachments, in the order of ``_attachments``. The unread rest of one is skipped.

        Raises NotFoundError if the revision is missing; ProtocolError if an attachment does not arrive.
        """
        if self._parts is None:
            return
        for name, stub in self._decode_body().get("_attachments", {}).items():
            if not stub.get("follows"):
                continue
            # By their order: the names in the heads of parts are not reliable, see ``_wire.multipart``.
            headers = await self._parts.next_head()
            if headers is None:
                raise ProtocolError(f"attachment {name!r} was announced, but did not arrive")
            attachment = IncomingAttachment(name, stub, headers.get("content-encoding", ""), self._parts)
            yield attachment
            await attachment.skip()

    def _decode_body(self) -> JSONObject:
        if self.missing is not None:
            raise NotFoundError(f"revision {self.missing} is missing")
        document: JSONObject = decode(self.body)
        return document


async def read_documents(
    session: Session, path: tuple[str, ...], query: Mapping[str, str] = EMPTY
) -> AsyncGenerator[IncomingDocument, None]:
    """Yield a document with its attachments, or its revisions one after the other if the query has ``open_revs``.

    The unread rest of a document is skipped. Raises NotFoundError; ProtocolError if the answer is cut off.
    """
    accept = MIXED if "open_revs" in query else RELATED
    # JSON too, for errors and for documents without attachments.
    headers = {"accept": f"{accept}, {JSON_TYPE};q=0.5"}
    response = await session.send(Request("GET", path, {**query, "attachments": "true"}, headers, stream=True))
    kind = response.headers.get("content-type", "")
    if response.stream is None or not kind.startswith("multipart/"):
        await response.collect()
        for document in _read_json(response.body):
            yield document
        return
    async with aclosing(response.stream) as stream:
        parts = _PartReader(aiter(stream), kind)
        documents = _read_mixed(parts) if kind.startswith(MIXED) else _read_related(parts)
        async with aclosing(documents):
            async for document in documents:
                yield document


def _read_json(body: bytes) -> Iterator[IncomingDocument]:
    """Yield the documents of an answer that is plain JSON. CouchDB sends that if there are no attachments."""
    answer = decode(body)
    if not isinstance(answer, list):
        yield IncomingDocument(body)
        return
    for row in answer:
        yield IncomingDocument(encode(row["ok"])) if "ok" in row else IncomingDocument(b"", row["missing"])


async def _read_mixed(parts: "_PartReader") -> AsyncGenerator[IncomingDocument, None]:
    while (headers := await parts.next_head()) is not None:
        kind = headers.get("content-type", "")
        if kind.startswith(RELATED):
            async for document in _read_related(_PartReader(parts.iter_rest(), kind)):
                yield document
        else:
            body = await parts.read_rest()
            yield IncomingDocument(b"", decode(body)["missing"]) if "error=" in kind else IncomingDocument(body)
        await parts.skip()


async def _read_related(parts: "_PartReader") -> AsyncGenerator[IncomingDocument, None]:
    await parts.next_head()
    yield IncomingDocument(await parts.read_rest(), parts=parts)
    await parts.skip_all()


class _PartReader:
    """A reader of the parts of a multipart body. It reads from the network only when a caller asks for more."""

    def __init__(self, pieces: AsyncIterator[bytes], content_type: str) -> None:
        """Raises ProtocolError if the content type names no boundary."""
        self._pieces = pieces
        self._events: Iterable[MultipartEvent] = ()
        self._is_inside = False
        try:
            self._reader = MultipartReader(content_type)
        except ValueError as error:
            raise ProtocolError(f"the answer cannot be read: {error}") from None

    async def next_head(self) -> Mapping[str, str] | None:
        """Skip the rest of this part and return the headers of the next, or None at the end. Raises ProtocolError."""
        await self.skip()
        event = await self._next()
        self._is_inside = event is not None
        return event.headers if isinstance(event, PartHead) else None

    async def iter_rest(self) -> AsyncGenerator[bytes, None]:
        """Yield the rest of the content of this part. Raises ProtocolError."""
        while self._is_inside:
            event = await self._next()
            if isinstance(event, bytes):
                yield event
            else:
                self._is_inside = False

    async def read_rest(self) -> bytes:
        """Return the rest of the content of this part."""
        return b"".join([piece async for piece in self.iter_rest()])

    async def skip(self) -> None:
        """Skip the rest of the content of this part."""
        async for _ in self.iter_rest():
            pass

    async def skip_all(self) -> None:
        """Skip all parts that are left."""
        while await self.next_head() is not None:
            pass

    async def _next(self) -> MultipartEvent | None:
        try:
            while True:
                for event in self._events:
                    return event
                data = await anext(self._pieces, None)
                if data is None:
                    self._reader.finish()
                    return None
                self._events = self._reader.feed(data)
        except ValueError as error:
            raise ProtocolError(f"the answer cannot be read: {error}") from None
