"""An attachment of a document, as its field returns it."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar, get_args, overload

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticOmit, core_schema

from couchmodel._model.attachments.codecs import AttachmentCodec, BytesCodec
from couchmodel._model.attachments.files import File
from couchmodel._model.attachments.info import AttachmentInfo, attachment_url, describe
from couchmodel._model.attachments.rules import label_of, settle
from couchmodel._model.attachments.stubs import note_write, stub_of
from couchmodel._model.schema import state
from couchmodel._model.schema.annotations import bare_type
from couchmodel._model.schema.attachments import AttachmentField, AttachmentLabel, is_bad_name
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.expressions.field_expressions import FieldExpression
from couchmodel._wire.messages import document_path
from couchmodel.engine import Attachment as EngineAttachment
from couchmodel.engine import Session
from couchmodel.errors import AttachmentError, ConfigurationError, NotFoundError
from couchmodel.types import JSONObject, WriteAnswer

__all__ = ["AttachmentBase", "AttachmentType", "FindRepository"]

T = TypeVar("T")

_CHUNK_BYTES = 64 * 1024
"""The most bytes of a piece of a stream, unless another number is asked for."""

_SHORT_BYTES = 64 * 1024
"""The most bytes that are decoded in the event loop."""


class AttachmentRepository(Protocol):
    """The part of a repository that an attachment uses."""

    @property
    def session(self) -> Session: ...
    @property
    def path(self) -> tuple[str, ...]: ...
    async def change_attachment(self, document: Any, write: Callable[[], Awaitable[WriteAnswer]]) -> None: ...


FindRepository = Callable[[], AttachmentRepository]


class AttachmentType:
    """The part of each type of attachment that pydantic asks."""

    __holds_several__: ClassVar[bool] = False
    __info__: ClassVar[Any] = AttachmentInfo | None

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # Stubs come from the store, whose schema reads them, and never from input.
        shown = core_schema.plain_serializer_function_ser_schema(
            describe, is_field_serializer=True, info_arg=True, return_schema=handler.generate_schema(cls.__info__)
        )
        return core_schema.no_info_plain_validator_function(_refuse_file, serialization=shown)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        # PydanticOmit leaves the field out of the schema of input, since files do not come as JSON.
        if handler.mode == "validation":
            raise PydanticOmit
        return handler(schema)


class AttachmentBase(AttachmentType, Generic[T]):
    """An attachment of one document, declared by a field of its model. It is true if there is one.

    ``content_type``, ``length``, ``digest`` and ``revpos`` are those of the revision that was loaded, or of the file
    that was assigned and is not saved yet. Bytes are streamed both ways, and compared with their length and digest.

    A subclass is another type of attachment, with the codec of its values: ``class Drawing(AttachmentBase[Scene],
    codec=SceneCodec())``.
    """

    __codec__: ClassVar[AttachmentCodec[Any]] = BytesCodec()

    def __init_subclass__(cls, *, codec: AttachmentCodec[Any] | None = None) -> None:
        super().__init_subclass__()
        if codec is not None:
            cls.__codec__ = codec

    def __init__(self, document: DocumentModel, field: AttachmentField, name: str, find: FindRepository) -> None:
        self._document = document
        self._field = field
        self._name = name
        self._find = find

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name} of {self._document.id}>"

    if TYPE_CHECKING:

        @overload
        def __get__(self, instance: None, owner: Any) -> FieldExpression[dict[str, Any]]: ...
        @overload
        def __get__(self, instance: object, owner: Any) -> Self: ...
        def __get__(self, instance: Any, owner: Any) -> Any: ...
        def __set__(self, instance: Any, value: File | None) -> None: ...

    def __bool__(self) -> bool:
        # None stands for an attachment that is to be removed, so a marker stands for no assignment.
        return bool(self._stub) if self._assigned is _NONE else self._assigned is not None

    @property
    def content_type(self) -> str | None:
        """The media type; None if there is no attachment."""
        return (
            self._stub.get("content_type") if self._assigned is _NONE else getattr(self._assigned, "content_type", None)
        )

    @property
    def length(self) -> int | None:
        """The number of bytes; None if there is no attachment, or if that of an assigned file is not known yet."""
        return self._stub.get("length") if self._assigned is _NONE else getattr(self._assigned, "length", None)

    @property
    def digest(self) -> str | None:
        """CouchDB's digest, such as ``"md5-…"``.

        None if there is no attachment, and after a save until the document is loaded again, if the file was short:
        CouchDB compresses some types, and has the digest of the compressed bytes.
        """
        return self._stub.get("digest") if self._assigned is _NONE else None

    @property
    def revpos(self) -> int | None:
        """The number of the revision in which the attachment was stored; None if it is not stored."""
        return self._stub.get("revpos") if self._assigned is _NONE else None

    def info(self) -> AttachmentInfo | None:
        """Return what a dump of the document shows of the attachment; None if there is none."""
        if not self:
            return None
        url = attachment_url(self._document, self._name)
        return AttachmentInfo(content_type=self.content_type, length=self.length, digest=self.digest, url=url)

    async def exists(self) -> bool:
        """Return True if the attachment is stored now. Asks the server."""
        return await self._attachment.exists()

    async def fetch(self) -> T:
        """Return the value: all bytes, or what the codec makes of them.

        Raises NotFoundError if there is no attachment; AttachmentError if the bytes are no such value; ProtocolError if
        they did not arrive as they are stored.
        """
        data = b"".join([piece async for piece in self.stream()])
        kind = self.content_type or self._attachment.content_type or ""
        # The way to a thread and back takes about 0.1 ms, longer than a short value takes to decode.
        if len(data) <= _SHORT_BYTES and not getattr(self.__codec__, "is_slow", False):
            return self._decode(data, kind)
        return await asyncio.to_thread(self._decode, data, kind)

    async def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from ``start`` up to, but not including, ``stop``, and ask for these bytes only.

        Raises NotFoundError; ConfigurationError if ``start`` is negative or behind ``stop``; RangeNotSatisfiableError
        if the attachment ends before ``start``.
        """
        return b"".join([piece async for piece in self.stream(start=start, stop=stop)])

    def stream(
        self, chunk_size: int = _CHUNK_BYTES, *, start: int = 0, stop: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yield the bytes as they arrive, in pieces of at most ``chunk_size`` bytes.

        ``start`` and ``stop`` are those of a range, as for :meth:`read`. A download whose connection breaks goes on
        over another one. Raises NotFoundError at once if there is no attachment, and the errors of :meth:`fetch` and
        :meth:`read`, some only at the end.
        """
        # This is no generator, whose errors would be raised at the first piece: a web framework has answered 200 by
        # then.
        if not isinstance(chunk_size, int) or chunk_size < 1:
            raise ConfigurationError(f"chunk_size is a number of bytes from 1, not {chunk_size!r}")
        if start < 0 or (stop is not None and stop < start):
            raise ConfigurationError(f"there are no bytes from {start} up to {stop}: give 0 <= start <= stop")
        self._require_known()
        return self._stream(chunk_size, start, stop)

    async def save(self, data: Any, content_type: str | None = None) -> None:
        """Store the attachment, which makes a new revision of its document. Unsaved changes of that stay unsaved.

        ``data`` is a value of the codec, such as a text, or what a :class:`File` is made of: bytes, a path, an open
        file, an upload, or an async iterator of bytes. If ``content_type`` is not given, it is found as by ``File``.

        Raises AttachmentError, and stores nothing, if the field does not allow the media type or the size, or if the
        source fails; ConflictError if another revision of the document is stored by now; ConfigurationError if the
        document is not stored.
        """
        self._require_stored("save")
        # In a thread, as a picture takes long to be written.
        file = await asyncio.to_thread(self._make_file, data, content_type)
        await file.find_type(self._label)
        kind = file.content_type or ""
        self._field.check_type(kind, self._label)
        if file.length is not None:
            self._field.check_size(file.length, self._label)
        attachment = self._attachment
        await self._find().change_attachment(
            self._document, lambda: attachment.save(self._checked_pieces(file), kind, file.length)
        )

    async def delete(self) -> None:
        """Delete the attachment, which makes a new revision of its document.

        Raises NotFoundError, ConflictError; AttachmentError if the field requires it.
        """
        self._require_stored("delete")
        if self._field.required:
            raise self._label.error("is required, and cannot be deleted")
        await self._find().change_attachment(self._document, self._attachment.delete)

    def assign(self, value: object) -> None:
        """Set what the next save of the document stores; None removes the attachment. Sends nothing.

        Raises AttachmentError for a value of another type, and for what the field does not allow.
        """
        if is_bad_name(self._name):
            raise self._label.error(
                "cannot have this name: it is a text that does not begin with an underscore, and has no step '..'"
            )
        if value is None:
            # Without a stored attachment there is nothing to remove, so an assigned file is only forgotten.
            if self._stub:
                state.set_file(self._document, self._name, None)
            else:
                files = state.assigned_files(self._document)
                state.forget_files(self._document, {self._name: files.get(self._name)})
            return
        file = value if isinstance(value, File) else self._encode(value, None)
        if file.content_type is not None:
            self._field.check_type(file.content_type, self._label)
        if file.length is not None:
            self._field.check_size(file.length, self._label)
        state.set_file(self._document, self._name, file)

    @property
    def _label(self) -> AttachmentLabel:
        return label_of(self._document, self._field, self._name)

    @property
    def _assigned(self) -> Any:
        """The file that was assigned; None if the attachment is to be removed, and _NONE if nothing was assigned."""
        return state.assigned_files(self._document).get(self._name, _NONE)

    @property
    def _stub(self) -> JSONObject:
        return stub_of(self._document, self._field.field_name, self._name)

    @property
    def _attachment(self) -> EngineAttachment:
        return EngineAttachment(_AttachmentOwner(self._document, self._find()), self._name)

    @property
    def _kind(self) -> Any:
        """The type in the brackets of the field's annotation."""
        annotation = type(self._document).__pydantic_fields__[self._field.field_name].annotation
        return next(iter(get_args(bare_type(annotation))), None)

    def _make_file(self, data: Any, content_type: str | None) -> File:
        if isinstance(data, File):
            return data
        try:
            return File(_refuse_text(data), content_type)
        except AttachmentError:
            return self._encode(data, content_type)

    def _decode(self, data: bytes, content_type: str) -> T:
        try:
            value: T = self.__codec__.decode(data, content_type, self._kind)
        # A ConfigurationError is a ValueError, too. It says that an extra is missing, and nothing about the value.
        except ConfigurationError:
            raise
        except ValueError as error:
            raise self._label.error(f"cannot be read: {error}") from error
        return value

    def _encode(self, value: Any, content_type: str | None) -> File:
        # If the field allows one type only, the value is written as that.
        declared = [each for each in self._field.content_types if "*" not in each]
        kind = content_type or (declared[0] if len(declared) == 1 else self.__codec__.default_type)
        try:
            return File(self.__codec__.encode(value, kind, self._kind), kind)
        except ConfigurationError:
            raise
        except ValueError as error:
            raise self._label.error(str(error), between=": ") from error

    def _require_known(self) -> None:
        """Raise NotFoundError if it is known that there is no attachment."""
        # A document that was built with a revision has no stubs, so only the server knows its attachments.
        is_loaded = self._document.rev is None or state.stored_body(self._document) is not None
        if not self and (is_loaded or self._assigned is None):
            raise NotFoundError(f"{self._label} does not exist")

    def _require_stored(self, verb: str) -> None:
        if self._document.rev is None:
            raise ConfigurationError(
                f"{self._document.id!r} is not stored: save it before you {verb} its attachment"
                f" {self._field.field_name!r}, or assign a File(…) and save both together"
            )

    async def _stream(self, chunk_size: int, start: int, stop: int | None) -> AsyncGenerator[bytes, None]:
        # A range of HTTP has at least one byte.
        if start == stop:
            return
        async with aclosing(self._pieces(start, stop)) as pieces:
            async for piece in pieces:
                if len(piece) <= chunk_size:
                    yield piece
                else:
                    for position in range(0, len(piece), chunk_size):
                        yield piece[position : position + chunk_size]

    async def _pieces(self, start: int, stop: int | None) -> AsyncGenerator[bytes, None]:
        if not isinstance(file := self._assigned, File):
            source = self._attachment.stream(start, stop, resume=True)
        else:
            await settle(file, self._document, self._name)
            source = _cut(file.pieces(self._label), start, stop)
        async with aclosing(source) as pieces:
            async for piece in pieces:
                yield piece

    async def _checked_pieces(self, file: File) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a file. Raises AttachmentError as soon as the field does not allow so many."""
        count = 0
        async with aclosing(file.pieces(self._label)) as pieces:
            async for piece in pieces:
                count += len(piece)
                self._field.check_size(count, self._label, is_whole=False)
                yield piece
        self._field.check_size(count, self._label)  # before the end of the request, so that nothing is stored


async def _cut(pieces: AsyncGenerator[bytes, None], start: int, stop: int | None) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a content from ``start`` up to, but not including, ``stop``."""
    position = 0
    async with aclosing(pieces):
        async for piece in pieces:
            end = None if stop is None else max(0, stop - position)  # a negative index would count from behind
            if kept := piece[max(0, start - position) : end]:
                yield kept
            position += len(piece)


class _AttachmentOwner:
    """The document of an attachment, as the engine knows it."""

    def __init__(self, document: DocumentModel, repository: AttachmentRepository) -> None:
        self._document = document
        self.session = repository.session
        self.path = document_path(repository.path, document.id)

    @property
    def rev(self) -> str | None:
        return self._document.rev

    def note_attachment(self, rev: str, name: str, stub: JSONObject | None) -> None:
        """Record that the attachment was written as revision ``rev``; ``stub`` is None if it was deleted."""
        note_write(self._document, rev, name, stub)


_NONE = object()


def _refuse_file(value: object) -> None:
    """Read nothing from input. Raises ValueError for a file, which would be lost."""
    if value is not None and not isinstance(value, dict):
        raise ValueError("an attachment is assigned to the document once it is made: document.photo = File(…)")


def _refuse_text(data: Any) -> Any:
    """Return data of which a file can be made. A text is not the path of a file here."""
    if isinstance(data, str):
        raise AttachmentError("a text is no file")
    return data
