"""Files to be stored: their content, which may be readable once only, their media type and their length."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from os import PathLike
from pathlib import Path
from typing import IO, Final

from couchmodel._model.attachments.spool import read_into_spool
from couchmodel._model.schema.attachments import AttachmentLabel
from couchmodel.engine._io.media_types import DEFAULT_TYPE, HEAD_BYTES, type_of_content, type_of_name
from couchmodel.engine._io.sources import Content, Source, open_source
from couchmodel.errors import AttachmentError, ConfigurationError

__all__ = ["TEXT_TYPE", "File"]

TEXT_TYPE: Final = "text/plain; charset=utf-8"
"""The media type of a text without a name."""

_SIGNED: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "application/pdf"})
"""The types whose signatures are certain, so that they outweigh the name of a file."""


class File:
    """A file to be stored in an attachment: ``pie.photo = File("pie.jpg")``.

    ``source`` is the path of a file, bytes or another buffer, an open file (text becomes UTF-8), an upload of a web
    framework (Starlette's ``UploadFile``, a part of aiohttp), or an async iterator of bytes. It is read when the
    document is saved. A source that can be read only once is then kept in a temporary file until the document is
    stored.

    If ``content_type`` is not given, it is that of the upload, or found by the name of the file, or by the content.
    """

    def __init__(self, source: Content | IO[str] | str, content_type: str | None = None) -> None:
        """Raises AttachmentError for a source of another type."""
        self._path = Path(source) if isinstance(source, (str, PathLike)) else None
        self._given_type = content_type
        self._found_type: str | None = None
        try:
            self._source: Source = open_source(self._path or source)
        except ConfigurationError as error:
            raise AttachmentError(str(error)) from None

    def __repr__(self) -> str:
        return f"<File {self.name or ''} {self.content_type or 'of unknown type'}>"

    @property
    def name(self) -> str | None:
        """The name of the file; None if it has none."""
        return self._source.name

    @property
    def content_type(self) -> str | None:
        """The media type; None if it takes the content to know it, which has not been read."""
        return self._given_type or self._found_type or self._claimed_type()

    @property
    def length(self) -> int | None:
        """The number of bytes; None if it is not known yet."""
        return self._source.length

    async def settle(self, label: AttachmentLabel, check: Callable[[int], None]) -> None:
        """Find out the length and the media type. A content that can be read only once is copied to a temporary file.

        ``check`` is called with the number of bytes that have been read of such a content, and may raise. ``label``
        names the attachment in errors. Raises AttachmentError if the content cannot be read.
        """
        if self._path is not None:  # the file may be another one since the last look
            self._source = open_source(self._path)
        if not self._source.is_repeatable or self._source.length is None:
            self._source = await read_into_spool(self._source, self.pieces(label, check))
        await self.find_type(label)

    async def find_type(self, label: AttachmentLabel) -> None:
        """Find out the media type, by the name and the beginning of the content."""
        claimed = self._claimed_type()
        if self._given_type is not None or (claimed is not None and claimed not in _SIGNED):
            return
        found = type_of_content(await self._read_head(label))
        self._found_type = found if claimed is None or found in _SIGNED else claimed
        self._found_type = self._found_type or DEFAULT_TYPE

    async def pieces(
        self, label: AttachmentLabel, check: Callable[[int], None] | None = None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes in pieces. ``check`` is called with the number of bytes so far, and may raise.

        Raises AttachmentError, which names the attachment and the byte, if the source fails, or has another length than
        it had before.
        """
        count, length = 0, self.length
        try:
            async with aclosing(self._source.pieces()) as pieces:
                async for piece in pieces:
                    _check_piece(piece, label)
                    # ``len`` of a memoryview counts its elements, which may have several bytes each.
                    count += memoryview(piece).nbytes
                    if check is not None:
                        check(count)
                    _check_length(count, length, label)
                    # A source may fill one buffer again and again, so the piece is copied, unless it is bytes.
                    yield bytes(piece)
        except AttachmentError:
            raise
        # The source may be anything of the user's, such as an iterator, so it may raise anything.
        except Exception as error:
            raise label.error(f"could not be read after byte {count:,}: {error}") from error
        if length not in (None, count):
            raise label.error(f"ends after byte {count:,}, and had {length:,} bytes before")

    def _claimed_type(self) -> str | None:
        """Return the media type that the source claims, or that its name tells."""
        claimed = self._source.content_type
        # Browsers send application/octet-stream for files whose type they do not know, so it says nothing.
        if claimed is not None and claimed.partition(";")[0] != DEFAULT_TYPE:
            return claimed
        return type_of_name(self.name) or (TEXT_TYPE if self._source.is_text else None)

    async def _read_head(self, label: AttachmentLabel) -> bytes:
        """Return the beginning of the content."""
        if not self._source.is_repeatable:
            self._source = peeked = _PeekedSource(self._source)
            try:
                return await peeked.peek()
            except Exception as error:
                raise label.error(f"could not be read from its beginning: {error}") from error
        head = b""
        async with aclosing(self.pieces(label)) as pieces:
            async for piece in pieces:
                head += piece
                if len(head) >= HEAD_BYTES:
                    break
        return head[:HEAD_BYTES]


class _PeekedSource:
    """A source that can be read only once, whose beginning was read in advance."""

    def __init__(self, source: Source) -> None:
        self.is_repeatable = False
        self.name = source.name
        self.content_type = source.content_type
        self.length = source.length
        self.is_text = source.is_text
        self._pieces = source.pieces()
        self._head: list[bytes] = []

    async def peek(self) -> bytes:
        """Return the beginning of the content."""
        # The generator stays open behind ``break``, and ``pieces`` goes on with it.
        async for piece in self._pieces:
            self._head.append(piece)
            if sum(map(len, self._head)) >= HEAD_BYTES:
                break
        return b"".join(self._head)[:HEAD_BYTES]

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the content, from its beginning."""
        for piece in self._head:
            yield piece
        async for piece in self._pieces:
            yield piece


def _check_piece(piece: object, label: AttachmentLabel) -> None:
    if not isinstance(piece, (bytes, bytearray, memoryview)):
        raise label.error(f"its source yields {type(piece).__name__} instead of bytes", between=": ")


def _check_length(count: int, length: int | None, label: AttachmentLabel) -> None:
    if length is not None and count > length:
        raise label.error(f"has more than the {length:,} bytes that it had before")
