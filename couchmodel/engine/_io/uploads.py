"""The contents of attachments on their way to a server: counted, and digested."""

from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple

from couchmodel.engine._io.media_types import DEFAULT_TYPE, type_of_name
from couchmodel.engine._io.sources import Content, open_source
from couchmodel.engine._io.stream_digest import StreamDigest
from couchmodel.errors import ConfigurationError

__all__ = ["Content", "Upload", "UploadSource"]

_SHORT_BYTES: Final = 1024 * 1024
"""Up to so many bytes are sent at once instead of in pieces."""


class Upload(NamedTuple):
    """The content of an attachment, with its media type and its length in bytes.

    If the media type is not given, it is guessed from the name of the file. The length of bytes and files is known.
    That of an async iterator has to be given if the attachment is sent together with its document.
    """

    data: Content
    content_type: str | None = None
    length: int | None = None


class UploadSource:
    """A content that is being sent. Iterating over it reads the content, once, and counts and digests its bytes."""

    def __init__(self, data: Any, length: int | None = None, content_type: str | None = None) -> None:
        """``length`` is the number of bytes that there must be. That of bytes and files is known without it.

        Raises ConfigurationError if ``data`` is no content, or is not ``length`` bytes long.
        """
        self._source = open_source(data)
        if self._source.is_text:
            raise ConfigurationError("the content is a file of text instead of bytes: open it with mode 'rb'")
        known = self._source.length
        if None not in (known, length) and known != length:
            raise ConfigurationError(f"the content has {known} bytes, not {length} as length= says")
        self.length = known if length is None else length
        self.content_type = content_type or self._source.content_type or type_of_name(self._source.name) or DEFAULT_TYPE
        self.digest = StreamDigest()
        self.short_body: bytes | None = None
        """The whole content, if it was short enough to be loaded; else None."""
        self._exhausted = False

    @property
    def size(self) -> int:
        """The number of bytes, known after the content was sent."""
        return self.digest.length if self.length is None else self.length

    @property
    def is_complete(self) -> bool:
        """True if all bytes were sent, so that the server may have them all."""
        return self._exhausted or (self.length is not None and self.digest.length >= self.length)

    async def load_short(self) -> None:
        """Read the content, if it is known to be short. It is then sent at once, and can be sent again."""
        if self.short_body is None and self.length is not None and self.length <= _SHORT_BYTES:
            self.short_body = b"".join([piece async for piece in self])

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.short_body is not None:
            yield self.short_body
            return
        async for piece in self._source.pieces():
            if not isinstance(piece, (bytes, bytearray, memoryview)):
                kind = type(piece).__name__
                raise ConfigurationError(f"the content yields {kind} instead of bytes: open a file with mode 'rb'")
            if not isinstance(piece, bytes):  # the source may fill its buffer again
                piece = bytes(piece)  # noqa: PLW2901
            self.digest.update(piece)
            await self.digest.drain()
            if self.length is not None and self.digest.length > self.length:
                raise ConfigurationError(f"the content has more than {self.length} bytes, which length= says")
            yield piece
        await self.digest.complete()
        if self.length not in (None, self.digest.length):
            raise ConfigurationError(f"the content has {self.digest.length} bytes, not {self.length} as length= says")
        self._exhausted = True
