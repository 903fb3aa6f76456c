"""Attachments as fields of a model."""

from collections.abc import AsyncIterator
from typing import Any, Protocol

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticOmit, core_schema

from couchmodel._model.schema import state
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.fields import AttachmentField
from couchmodel._wire.messages import Request, decode, document_path, encode
from couchmodel.engine._io.downloads import read_attachment
from couchmodel.engine._io.session import Session
from couchmodel.engine._io.uploads import Content, guess_type, iter_pieces
from couchmodel.engine.attachment import attachment_path, delete_attachment, write_attachment
from couchmodel.errors import ConfigurationError, ConflictError, NotFoundError
from couchmodel.types import JSONObject, WriteAnswer

__all__ = ["Attachment", "Content"]


class AttachmentPlace(Protocol):
    """The part of a repository that an attachment uses."""

    @property
    def session(self) -> Session: ...
    @property
    def path(self) -> tuple[str, ...]: ...
    async def conflict(self, error: ConflictError, document: Any) -> ConflictError: ...


class Attachment:
    """An attachment of one document, declared by a field of its model.

    ``content_type``, ``length`` and ``digest`` are those of the revision that was loaded. Bytes are streamed both ways.
    """

    __declared_by__ = AttachmentField

    def __init__(self, document: DocumentModel, field: AttachmentField, place: AttachmentPlace) -> None:
        self._document = document
        self._place = place
        self._field = field
        self._session = place.session
        self._path = attachment_path(document_path(place.path, document.id), field.name)

    def __repr__(self) -> str:
        return f"<Attachment {'/'.join(self._path)}>"

    @property
    def content_type(self) -> str | None:
        """The media type; None if there is no attachment."""
        return self._stub.get("content_type")

    @property
    def length(self) -> int | None:
        """The number of bytes; None if there is no attachment."""
        return self._stub.get("length")

    @property
    def digest(self) -> str | None:
        """CouchDB's digest, such as ``"md5-…"``; None if there is no attachment, or if it was saved since the load."""
        return self._stub.get("digest")

    @property
    def _stub(self) -> JSONObject:
        return self._document.__dict__.get(self._field.field_name) or {}

    async def exists(self) -> bool:
        """Return True if the attachment is stored now."""
        try:
            await self._session.send(Request("HEAD", self._path))
        except NotFoundError:
            return False
        return True

    async def fetch(self) -> bytes:
        """Return all bytes. Raises NotFoundError; ProtocolError if they did not arrive as they are stored."""
        return b"".join([piece async for piece in self.stream()])

    def stream(self) -> AsyncIterator[bytes]:
        """Yield the bytes in pieces as they arrive. Raises the errors of :meth:`fetch`, some only at the end."""
        return read_attachment(self._session, self._path)

    async def save(self, data: Content, content_type: str | None = None) -> None:
        """Store the attachment, which makes a new revision of its document. Unsaved changes of that stay unsaved.

        ``data`` is bytes, an open binary file, the path of a file, or an async iterator of bytes. If ``content_type``
        is not given, it is guessed from the name of the file. Raises AttachmentError, and stores nothing, if the field
        does not allow the media type or the size; ConflictError if another revision of the document is stored by now;
        ConfigurationError if the document is not stored.
        """
        rev = self._stored_rev("save")
        kind = content_type or guess_type(data)
        self._field.check_type(kind)
        content = _CheckedContent(data, self._field)
        try:
            answer = await write_attachment(self._session, self._path, rev, content.body(), kind)
        except ConflictError as error:
            raise await self._place.conflict(error, self._document) from None
        self._note_write(answer, {"content_type": kind, "length": content.size, "stub": True})

    async def delete(self) -> None:
        """Delete the attachment, which makes a new revision of its document. Raises NotFoundError, ConflictError."""
        try:
            answer = await delete_attachment(self._session, self._path, self._stored_rev("delete"))
        except ConflictError as error:
            raise await self._place.conflict(error, self._document) from None
        self._note_write(answer, None)

    def _stored_rev(self, verb: str) -> str:
        if self._document.rev is None:
            name = self._field.field_name
            raise ConfigurationError(
                f"{self._document.id!r} is not stored: save it before you {verb} its attachment {name!r}"
            )
        return self._document.rev

    def _note_write(self, answer: WriteAnswer, stub: JSONObject | None) -> None:
        state.set_rev(self._document, answer["rev"])
        vars(self._document)[self._field.field_name] = stub
        base = state.stored_body(self._document)
        if base is None:
            return
        document = decode(base)
        document["_rev"] = answer["rev"]
        stubs = document.setdefault("_attachments", {})
        stubs.pop(self._field.name, None)
        if stub is not None:
            stubs[self._field.name] = stub
        state.set_stored_body(self._document, encode(document))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.any_schema()

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        raise PydanticOmit


class _CheckedContent:
    """A content that is being sent. Its bytes are counted and checked against the limit of the field."""

    def __init__(self, data: Content, field: AttachmentField) -> None:
        self.size = 0
        self._data = data
        self._field = field

    def body(self) -> bytes | AsyncIterator[bytes]:
        """Return bytes as they are, and other contents in pieces. Raises AttachmentError for too many bytes."""
        if isinstance(self._data, (bytes, bytearray, memoryview)):
            self._count(self._data)
            return bytes(self._data)
        return self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        async for piece in iter_pieces(self._data):
            self._count(piece)
            yield piece

    def _count(self, piece: bytes | bytearray | memoryview) -> None:
        self.size += len(piece)
        self._field.check_size(self.size)
