"""What an attachment is made of, on its way out: bytes, files, paths and async iterators."""

import asyncio
import io
import mimetypes
import os
from collections.abc import AsyncIterable, AsyncIterator
from os import PathLike
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, TypeAlias

from couchmodel._wire.contents import Digest
from couchmodel.errors import ConfigurationError

__all__ = ["Content", "Source", "Upload", "guess_type", "pieces"]

Content: TypeAlias = bytes | bytearray | memoryview | AsyncIterable[bytes] | IO[bytes] | PathLike[str]
"""What can be saved: bytes, an open binary file, the path of a file, or an async iterator of bytes."""

_CHUNK: Final = 64 * 1024
_SHORT: Final = 1024 * 1024
_UNKNOWN: Final = "application/octet-stream"


class Upload(NamedTuple):
    """A content and what is to be known of it.

    The media type of a file is guessed from its name where it is not given; the length of bytes and files is known, and
    that of an async iterator has to be given where the server wants it beforehand.
    """

    data: Content
    content_type: str | None = None
    length: int | None = None


class Source:
    """A content as it leaves, counted and digested on the way. Iterating it reads the content, once."""

    def __init__(self, data: Content, length: int | None = None) -> None:
        """``length`` is how many bytes there must be; that of bytes and files is found out.

        Raises ConfigurationError for what is no content, or is not as long as it is said to be.
        """
        self._data = data
        known = _length(data)
        if None not in (known, length) and known != length:
            raise ConfigurationError(f"the content has {known} bytes, not {length} as it was said to have")
        self.length = known if length is None else length
        self.digest = Digest()
        self._exhausted = False

    @property
    def whole(self) -> bytes | None:
        """All of it, where it is in memory anyway and so short that it holds up nobody when it is sent at once."""
        is_short = self.length is not None and self.length <= _SHORT
        return bytes(self._data) if isinstance(self._data, (bytes, bytearray, memoryview)) and is_short else None

    @property
    def size(self) -> int:
        """How many bytes it has, once it has left."""
        return self.digest.length if self.length is None else self.length

    @property
    def is_complete(self) -> bool:
        """Whether everything has left, so that the server may have all of it."""
        return self._exhausted or (self.length is not None and self.digest.length >= self.length)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in pieces(self._data):
            if not isinstance(piece, (bytes, bytearray, memoryview)):
                kind = type(piece).__name__
                raise ConfigurationError(f"the content gives {kind} where bytes are wanted: open a file with 'rb'")
            self.digest.update(piece)
            if self.length is not None and self.digest.length > self.length:
                raise ConfigurationError(f"the content has more than the {self.length} bytes it was said to have")
            yield piece
        if self.length not in (None, self.digest.length):
            raise ConfigurationError(f"the content has {self.digest.length} bytes, not the {self.length} as said")
        self._exhausted = True


async def pieces(data: Content) -> AsyncIterator[bytes]:
    """The content in pieces. A path is opened here, and closed again. Raises ConfigurationError for what is none."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        view = memoryview(data).cast("B")
        for start in range(0, len(view), _CHUNK):
            yield bytes(view[start : start + _CHUNK])
    elif isinstance(data, AsyncIterable):
        async for piece in data:
            yield piece
    elif isinstance(data, PathLike):
        with await asyncio.to_thread(Path(data).open, "rb") as file:
            while piece := await asyncio.to_thread(file.read, _CHUNK):
                yield piece
    else:
        _check_file(data)
        while piece := await asyncio.to_thread(data.read, _CHUNK):
            yield piece


def guess_type(data: Content) -> str:
    """The media type of a file by its name; for all else CouchDB's own default."""
    name = str(data) if isinstance(data, PathLike) else getattr(data, "name", "")
    return (mimetypes.guess_type(name)[0] if isinstance(name, str) else None) or _UNKNOWN


def _length(data: Any) -> int | None:
    """How many bytes a content has; None where only reading it tells."""
    if isinstance(data, (bytes, bytearray)):
        return len(data)
    if isinstance(data, memoryview):
        return data.nbytes
    if isinstance(data, AsyncIterable):
        return None
    if isinstance(data, PathLike):
        return Path(data).stat().st_size
    _check_file(data)
    return _left(data)


def _left(file: IO[bytes]) -> int | None:
    try:
        position = file.tell()
        end = file.seek(0, os.SEEK_END)
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
