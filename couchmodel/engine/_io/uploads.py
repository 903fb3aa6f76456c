"""The contents of attachments to upload: bytes, files, paths and async iterators."""

import asyncio
import io
import mimetypes
import os
from collections.abc import AsyncIterable, AsyncIterator
from os import PathLike
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, TypeAlias

from couchmodel._wire.contents import ContentDigest
from couchmodel.errors import ConfigurationError

__all__ = ["Content", "Upload", "UploadSource", "guess_type", "iter_pieces"]

Content: TypeAlias = bytes | bytearray | memoryview | AsyncIterable[bytes] | IO[bytes] | PathLike[str]
"""The content of an attachment: bytes, an open binary file, the path of a file, or an async iterator of bytes."""

_CHUNK_BYTES: Final = 64 * 1024
"""The bytes that are read from a file at a time."""

_SHORT_BYTES: Final = 1024 * 1024
"""Up to so many bytes are sent at once instead of in pieces."""

_DEFAULT_TYPE: Final = "application/octet-stream"
"""The media type that CouchDB gives an attachment that comes without one."""


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

    def __init__(self, data: Content, length: int | None = None) -> None:
        """``length`` is the number of bytes that there must be. That of bytes and files is known without it.

        Raises ConfigurationError if ``data`` is no content, or is not ``length`` bytes long.
        """
        self._data = data
        known = _length(data)
        if None not in (known, length) and known != length:
            raise ConfigurationError(f"the content has {known} bytes, not {length} as length= says")
        self.length = known if length is None else length
        self.digest = ContentDigest()
        self._exhausted = False

    @property
    def short_body(self) -> bytes | None:
        """The whole content, if it is bytes that are short enough to be sent at once; None otherwise."""
        is_short = self.length is not None and self.length <= _SHORT_BYTES
        return bytes(self._data) if isinstance(self._data, (bytes, bytearray, memoryview)) and is_short else None

    @property
    def size(self) -> int:
        """The number of bytes, known after the content was sent."""
        return self.digest.length if self.length is None else self.length

    @property
    def is_complete(self) -> bool:
        """True if all bytes were sent, so that the server may have them all."""
        return self._exhausted or (self.length is not None and self.digest.length >= self.length)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in iter_pieces(self._data):
            if not isinstance(piece, (bytes, bytearray, memoryview)):
                kind = type(piece).__name__
                raise ConfigurationError(f"the content yields {kind} instead of bytes: open a file with mode 'rb'")
            self.digest.update(piece)
            if self.length is not None and self.digest.length > self.length:
                raise ConfigurationError(f"the content has more than {self.length} bytes, which length= says")
            yield piece
        if self.length not in (None, self.digest.length):
            raise ConfigurationError(f"the content has {self.digest.length} bytes, not {self.length} as length= says")
        self._exhausted = True


async def iter_pieces(data: Content) -> AsyncIterator[bytes]:
    """Yield a content in pieces. A path is opened and closed here. Raises ConfigurationError if it is no content."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        # As bytes: a memoryview may have items of several bytes each.
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _CHUNK_BYTES):
            yield bytes(view[start : start + _CHUNK_BYTES])
    elif isinstance(data, AsyncIterable):
        async for piece in data:
            yield piece
    elif isinstance(data, PathLike):
        with await asyncio.to_thread(Path(data).open, "rb") as file:
            while piece := await asyncio.to_thread(file.read, _CHUNK_BYTES):
                yield piece
    else:
        _check_file(data)
        while piece := await asyncio.to_thread(data.read, _CHUNK_BYTES):
            yield piece


def guess_type(data: Content) -> str:
    """Return the media type of a file, guessed from its name; CouchDB's default for all other contents."""
    name = str(data) if isinstance(data, PathLike) else getattr(data, "name", "")
    return (mimetypes.guess_type(name)[0] if isinstance(name, str) else None) or _DEFAULT_TYPE


def _length(data: Any) -> int | None:
    """Return the number of bytes of a content; None if it has to be read to know."""
    if isinstance(data, (bytes, bytearray)):
        return len(data)
    if isinstance(data, memoryview):
        return data.nbytes
    if isinstance(data, AsyncIterable):
        return None
    if isinstance(data, PathLike):
        return Path(data).stat().st_size
    _check_file(data)
    return _remaining_length(data)


def _remaining_length(file: IO[bytes]) -> int | None:
    try:  # a pipe or a socket cannot seek, and its length is not known
        position = file.tell()
        end = file.seek(0, os.SEEK_END)
        # Back to where the caller had left it: the rest is the content.
        file.seek(position)
    except (OSError, ValueError):
        return None
    return max(0, end - position)


def _check_file(data: Any) -> None:
    if not hasattr(data, "read") or isinstance(data, io.TextIOBase):
        kind = type(data).__name__
        raise ConfigurationError(
            f"an attachment is made of bytes, a binary file, a path or an async iterator, not of {kind}"
        )
