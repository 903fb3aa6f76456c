"""Documents with their attachments in one request and one revision, each way, in pieces."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, Final, NamedTuple

from couchmodel._wire.contents import Arrival
from couchmodel._wire.messages import JSON_TYPE, NOTHING, Request, decode, encode
from couchmodel._wire.multipart import MIXED, RELATED, Event, Part, PartHead, Reader, Related
from couchmodel.engine._io.session import Session
from couchmodel.engine._io.uploads import Source, Upload, guess_type
from couchmodel.engine.attachment import attachment_path, explain
from couchmodel.errors import ConfigurationError, ConnectError, NotFoundError, ProtocolError, TransportError
from couchmodel.types import JSONObject, WriteAnswer

__all__ = ["IncomingAttachment", "IncomingDocument", "read_documents", "write_document"]

_STUB: Final = ("content_type", "digest", "length", "revpos")
"""What a document says of an attachment that it has."""


# --- to the server


class _Outgoing(NamedTuple):
    """An attachment that is sent along."""

    part: Part
    source: Source

    def stub(self) -> JSONObject:
        """What the document says of it. CouchDB compares the digest of what it receives with one that is given."""
        stub = {"content_type": self.part.content_type, "length": self.part.length}
        if (whole := self.source.whole) is not None:
            self.source.digest.update(whole)
            stub["digest"] = str(self.source.digest)
        return stub


async def write_document(
    session: Session, path: tuple[str, ...], document: JSONObject, uploads: Mapping[str, Upload | tuple[Any, ...]]
) -> tuple[WriteAnswer, JSONObject]:
    """Store a document with these attachments beside those it has; CouchDB's answer, and ``_attachments`` after it.

    Raises ConfigurationError for a content whose length is not known; ConflictError; where no answer came,
    TransportError, which says what is stored.
    """
    outgoing = [_outgoing(path, name, _upload(name, upload)) for name, upload in uploads.items()]
    kept = {name: stub for name, stub in document.get("_attachments", {}).items() if name not in uploads}
    stubs = {each.part.name: each.stub() for each in outgoing}
    follow = {name: {**stub, "follows": True} for name, stub in stubs.items()}
    body = encode({**document, "_attachments": {**kept, **follow}})
    try:
        related = Related(body, [each.part for each in outgoing])
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    answer = await _send(session, path, document.get("_rev"), related, outgoing)
    return answer, {**kept, **{name: {**stub, "stub": True} for name, stub in stubs.items()}}


def _upload(name: str, given: Upload | tuple[Any, ...]) -> Upload:
    if isinstance(given, Upload):
        return given
    if not isinstance(given, tuple) or not 1 <= len(given) <= 3:
        kind = type(given).__name__
        raise ConfigurationError(f"attachment {name!r} is given as (data, content_type, length), not as {kind}")
    return Upload(*given)


def _outgoing(path: tuple[str, ...], name: str, upload: Upload) -> _Outgoing:
    attachment_path(path, name)
    source = Source(upload.data, upload.length)
    if source.length is None:
        message = f"the length of attachment {name!r} has to be known beforehand: give Upload(data, type, length)"
        raise ConfigurationError(message)
    return _Outgoing(Part(name, upload.content_type or guess_type(upload.data), source.length), source)


async def _send(
    session: Session, path: tuple[str, ...], rev: str | None, related: Related, outgoing: list[_Outgoing]
) -> WriteAnswer:
    headers = {"accept": JSON_TYPE, "content-type": related.content_type, "content-length": str(related.length)}
    body = _Body(related, outgoing)
    try:
        answer: WriteAnswer = await session.json(Request("PUT", path, headers=headers, body=body))
    except ConnectError:
        raise
    except TransportError as error:
        raise await explain(session, path, rev, error, is_complete=body.is_complete) from error
    return answer


class _Body:
    """The body of the request."""

    def __init__(self, related: Related, outgoing: list[_Outgoing]) -> None:
        self._related = related
        self._outgoing = outgoing
        self.is_complete = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._related.head
        for each in self._outgoing:
            yield self._related.frame(each.part)
            if (whole := each.source.whole) is not None:
                yield whole
                continue
            async for piece in each.source:
                yield piece
        self.is_complete = True
        yield self._related.tail


# --- from the server


class IncomingAttachment:
    """An attachment as it arrives with its document. Iterate it once, before the next one is asked for.

    ``digest`` is CouchDB's, ``length`` that of the plain bytes. Raises ProtocolError where it did not arrive as stored.
    """

    def __init__(self, name: str, stub: JSONObject, encoding: str, events: "_Events") -> None:
        self.name = name
        self.content_type: str = stub["content_type"]
        self.length: int = stub["length"]
        self.digest: str = stub["digest"]
        self._events = events
        # The digest is that of the stored bytes, which are what comes here, packed or not.
        self._arrival = Arrival(encoding, self.digest, is_plain=False)
        # CouchDB says the packed length of what was packed by whoever sent it.
        self._is_length_plain = stub.get("encoded_length") != self.length

    def __repr__(self) -> str:
        return f"<IncomingAttachment {self.name}>"

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for data in self._events.content():
                for piece in self._arrival.feed(data):
                    yield piece
            self._arrival.finish(self.length if self._is_length_plain else None)
        except ValueError as error:
            raise ProtocolError(f"attachment {self.name!r} did not arrive as it is stored: {error}") from None

    async def fetch(self) -> bytes:
        """The whole of it."""
        return b"".join([piece async for piece in self])

    async def skip(self) -> None:
        """Let pass what has not been read of it."""
        await self._events.skip()


class IncomingDocument:
    """A document as it arrives, with its attachments after it.

    ``body`` is its JSON text; ``missing`` names a revision that was asked for and is not there, and the body is empty.
    """

    def __init__(self, body: bytes, missing: str | None = None, events: "_Events | None" = None) -> None:
        self.body = body
        self.missing = missing
        self._events = events

    def __repr__(self) -> str:
        return f"<IncomingDocument {'missing ' + self.missing if self.missing else self.body[:80]!r}>"

    @property
    def data(self) -> JSONObject:
        """Its members, with stubs of its attachments. Raises NotFoundError where it is missing."""
        document = self._decoded()
        stubs = document.get("_attachments", {})
        for name, stub in stubs.items():
            if stub.get("follows"):
                stubs[name] = {key: value for key, value in stub.items() if key in _STUB} | {"stub": True}
        return document

    async def attachments(self) -> AsyncGenerator[IncomingAttachment, None]:
        """Its attachments, in the order in which it names them. What is not read of one is skipped."""
        if self._events is None:
            return
        for name, stub in self._decoded().get("_attachments", {}).items():
            if not stub.get("follows"):
                continue
            headers = await self._events.head()
            if headers is None:
                raise ProtocolError(f"attachment {name!r} was announced and did not come")
            attachment = IncomingAttachment(name, stub, headers.get("content-encoding", ""), self._events)
            yield attachment
            await attachment.skip()

    def _decoded(self) -> JSONObject:
        if self.missing is not None:
            raise NotFoundError(f"revision {self.missing} is missing")
        document: JSONObject = decode(self.body)
        return document


async def read_documents(
    session: Session, path: tuple[str, ...], query: Mapping[str, str] = NOTHING
) -> AsyncGenerator[IncomingDocument, None]:
    """A document with its attachments; or, with ``open_revs`` in the query, its revisions one after the other.

    What is not read of one is skipped. Raises NotFoundError; ProtocolError where the answer is cut off.
    """
    accept = MIXED if "open_revs" in query else RELATED
    headers = {"accept": f"{accept}, {JSON_TYPE};q=0.5"}
    response = await session.send(Request("GET", path, {**query, "attachments": "true"}, headers, stream=True))
    kind = response.headers.get("content-type", "")
    if response.stream is None or not kind.startswith("multipart/"):
        await response.collect()
        for document in _from_json(response.body):
            yield document
        return
    async with aclosing(response.stream) as stream:
        events = _Events(aiter(stream), kind)
        documents = _from_mixed(events) if kind.startswith(MIXED) else _from_related(events)
        async with aclosing(documents):
            async for document in documents:
                yield document


def _from_json(body: bytes) -> Iterator[IncomingDocument]:
    """The documents of an answer without parts, as CouchDB gives it where there are no attachments."""
    answer = decode(body)
    if not isinstance(answer, list):
        yield IncomingDocument(body)
        return
    for row in answer:
        yield IncomingDocument(encode(row["ok"])) if "ok" in row else IncomingDocument(b"", row["missing"])


async def _from_mixed(events: "_Events") -> AsyncGenerator[IncomingDocument, None]:
    while (headers := await events.head()) is not None:
        kind = headers.get("content-type", "")
        if kind.startswith(RELATED):
            async for document in _from_related(_Events(events.content(), kind)):
                yield document
        else:
            body = await events.whole()
            yield IncomingDocument(b"", decode(body)["missing"]) if "error=" in kind else IncomingDocument(body)
        await events.skip()


async def _from_related(events: "_Events") -> AsyncGenerator[IncomingDocument, None]:
    await events.head()
    yield IncomingDocument(await events.whole(), events=events)
    await events.skip_all()


class _Events:
    """The parts of a multipart body, pulled by whoever reads them."""

    def __init__(self, pieces: AsyncIterator[bytes], content_type: str) -> None:
        """Raises ProtocolError for a content type that names no boundary."""
        self._pieces = pieces
        self._events: Iterable[Event] = ()
        self._is_inside = False
        try:
            self._reader = Reader(content_type)
        except ValueError as error:
            raise ProtocolError(f"the answer cannot be read: {error}") from None

    async def head(self) -> Mapping[str, str] | None:
        """The headers of the next part; None where there is none. Raises ProtocolError."""
        await self.skip()
        event = await self._next()
        self._is_inside = event is not None
        return event.headers if isinstance(event, PartHead) else None

    async def content(self) -> AsyncGenerator[bytes, None]:
        """What is left of the content of this part. Raises ProtocolError."""
        while self._is_inside:
            event = await self._next()
            if isinstance(event, bytes):
                yield event
            else:
                self._is_inside = False

    async def whole(self) -> bytes:
        """What is left of it, at once."""
        return b"".join([piece async for piece in self.content()])

    async def skip(self) -> None:
        """Let pass what is left of it."""
        async for _ in self.content():
            pass

    async def skip_all(self) -> None:
        """Let pass what is left of all parts."""
        while await self.head() is not None:
            pass

    async def _next(self) -> Event | None:
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
