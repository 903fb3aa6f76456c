"""Attachments as fields of a model."""

from collections.abc import AsyncIterator
from typing import Any, Protocol

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticOmit, core_schema

from couchmodel._model.schema import state
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.fields import AttachmentField
from couchmodel._wire.messages import decode, document_path, encode
from couchmodel.engine import Attachment as EngineAttachment
from couchmodel.engine import Session
from couchmodel.engine._io.body_edits import apply_stub
from couchmodel.engine._io.uploads import Content, guess_type, iter_pieces
from couchmodel.errors import ConfigurationError, ConflictError
from couchmodel.types import JSONObject

__all__ = ["Attachment", "Content"]


class AttachmentRepository(Protocol):
    """The part of a repository that an attachment uses."""

    @property
    def session(self) -> Session: ...
    @property
    def path(self) -> tuple[str, ...]: ...
    async def complete_conflict(self, error: ConflictError, document: Any) -> ConflictError: ...


class Attachment:
    """An attachment of one document, declared by a field of its model.

    ``content_type``, ``length`` and ``digest`` are those of the revision that was loaded. Bytes are streamed both ways.
    """

    __declared_by__ = AttachmentField

    def __init__(self, document: DocumentModel, field: AttachmentField, repository: AttachmentRepository) -> None:
        self._document = document
        self._repository = repository
        self._field = field
        self._attachment = EngineAttachment(_AttachmentOwner(document, field, repository), field.name)

    def __repr__(self) -> str:
        return repr(self._attachment)

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
        return await self._attachment.exists()

    async def fetch(self) -> bytes:
        """Return all bytes. Raises NotFoundError; ProtocolError if they did not arrive as they are stored."""
        return await self._attachment.fetch()

    def stream(self) -> AsyncIterator[bytes]:
        """Yield the bytes in pieces as they arrive. Raises the errors of :meth:`fetch`, some only at the end."""
        return self._attachment.stream()

    async def save(self, data: Content, content_type: str | None = None) -> None:
        """Store the attachment, which makes a new revision of its document. Unsaved changes of that stay unsaved.

        ``data`` is bytes, an open binary file, the path of a file, or an async iterator of bytes. If ``content_type``
        is not given, it is guessed from the name of the file. Raises AttachmentError, and stores nothing, if the field
        does not allow the media type or the size; ConflictError if another revision of the document is stored by now;
        ConfigurationError if the document is not stored.
        """
        self._require_stored("save")
        kind = content_type or guess_type(data)
        self._field.check_type(kind)
        try:
            await self._attachment.save(self._limit_size(data), kind)
        except ConflictError as error:
            raise await self._repository.complete_conflict(error, self._document) from None

    async def delete(self) -> None:
        """Delete the attachment, which makes a new revision of its document. Raises NotFoundError, ConflictError."""
        self._require_stored("delete")
        try:
            await self._attachment.delete()
        except ConflictError as error:
            raise await self._repository.complete_conflict(error, self._document) from None

    def _require_stored(self, verb: str) -> None:
        if self._document.rev is None:
            name = self._field.field_name
            raise ConfigurationError(
                f"{self._document.id!r} is not stored: save it before you {verb} its attachment {name!r}"
            )

    def _limit_size(self, data: Content) -> Content:
        """Return a content that raises AttachmentError if it has more bytes than the field allows."""
        if isinstance(data, (bytes, bytearray, memoryview)):
            self._field.check_size(len(data))
            return bytes(data)
        return self._checked_pieces(data)

    async def _checked_pieces(self, data: Content) -> AsyncIterator[bytes]:
        size = 0
        async for piece in iter_pieces(data):
            size += len(piece)
            self._field.check_size(size)
            yield piece

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # Stubs come from the store, whose schema reads them, and never from input.
        return core_schema.no_info_plain_validator_function(lambda _: None)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        raise PydanticOmit


class _AttachmentOwner:
    """The document of an attachment, as the engine knows it."""

    def __init__(self, document: DocumentModel, field: AttachmentField, repository: AttachmentRepository) -> None:
        self._document = document
        self._field = field
        self.session = repository.session
        self.path = document_path(repository.path, document.id)

    @property
    def rev(self) -> str | None:
        return self._document.rev

    def note_attachment(self, rev: str, name: str, stub: JSONObject | None) -> None:
        """Record that the attachment was written as revision ``rev``; ``stub`` is None if it was deleted."""
        state.set_rev(self._document, rev)
        vars(self._document)[self._field.field_name] = stub
        body = state.stored_body(self._document)
        if body is not None:
            stored = decode(body)
            apply_stub(stored, rev, name, stub)
            state.set_stored_body(self._document, encode(stored))
