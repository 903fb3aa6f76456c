"""The sources of contents to upload: buffers, paths, files, uploads of web frameworks, and async iterators.

A source tells what is known of it without reading: the name of the file, the media type that it claims, and its length
in bytes. A source that is repeatable can be read several times, always from where the caller had left it.
"""

import asyncio
import inspect
import io
import os
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from os import PathLike
from pathlib import Path
from typing import IO, Any, Final, Protocol, TypeAlias

from typing_extensions import Buffer

from couchmodel.errors import ConfigurationError

__all__ = ["CHUNK_BYTES", "Content", "Source", "open_source"]


class AsyncFile(Protocol):
    """A file that is read asynchronously, such as Starlette's ``UploadFile``."""

    def read(self, size: int = ..., /) -> Awaitable[bytes]:
        """Return the next bytes, at most ``size``; none at the end."""
        ...


class FormFile(Protocol):
    """A field of a form that holds a file, such as aiohttp's ``FileField``."""

    @property
    def file(self) -> IO[bytes]:
        """The file."""
        ...


Content: TypeAlias = Buffer | AsyncIterable[bytes] | IO[bytes] | PathLike[str] | AsyncFile | FormFile
"""The content of an attachment: bytes or another buffer, an open file, the path of a file, an async iterator of bytes.

Uploads of web frameworks are contents as well: Starlette's ``UploadFile``, and the parts and file fields of aiohttp.
"""

CHUNK_BYTES: Final = 64 * 1024
"""The bytes that are read from a file at a time."""


class Source(Protocol):
    """A content that can be read."""

    name: str | None
    content_type: str | None
    length: int | None
    is_repeatable: bool
    is_text: bool

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes in pieces. A path is opened and closed here."""
        ...


def open_source(data: Any) -> Source:
    """Return the source of a content. Reads nothing of it.

    Raises ConfigurationError if ``data`` is no content, and OSError if it is the path of no file.
    """
    if isinstance(data, (str, type(None))):
        raise _no_content_error(data)
    view = _view_of(data)
    if view is not None:
        return _BufferSource(view)
    if isinstance(data, PathLike):
        return _PathSource(Path(data))
    name, kind = _claims(data)
    inner = getattr(data, "file", None)
    if hasattr(inner, "read"):  # Starlette's UploadFile and aiohttp's FileField hold a file
        return _FileSource(inner, name, kind)
    for reading in ("read_chunk", "read"):  # a part of aiohttp has both, and its `read` returns the whole
        if inspect.iscoroutinefunction(read := getattr(data, reading, None)):
            return _StreamSource(_read_pieces(read), name, kind)
    if isinstance(data, AsyncIterable):
        return _StreamSource(data, name, kind)
    if not callable(getattr(data, "read", None)):
        raise _no_content_error(data)
    return _FileSource(data, name, kind)


class _BufferSource:
    def __init__(self, view: memoryview) -> None:
        self.name: str | None = None
        self.content_type: str | None = None
        self.length: int | None = view.nbytes
        self.is_repeatable = True
        self.is_text = False
        self._view = view

    def __reduce__(self) -> tuple[Any, ...]:
        return open_source, (bytes(self._view),)

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        for start in range(0, len(self._view), CHUNK_BYTES):
            yield bytes(self._view[start : start + CHUNK_BYTES])


class _PathSource:
    def __init__(self, path: Path) -> None:
        self.name: str | None = path.name
        self.content_type: str | None = None
        self.length: int | None = path.stat().st_size if path.is_file() else None  # that of a pipe is not known
        self.is_repeatable = True
        self.is_text = False
        self._path = path

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        with await _open_file(self._path) as file:
            while piece := await asyncio.to_thread(file.read, CHUNK_BYTES):
                yield piece


class _FileSource:
    def __init__(self, file: Any, name: str | None, content_type: str | None) -> None:
        self.name = name
        self.content_type = content_type
        self.is_text = isinstance(file, io.TextIOBase)
        self._file = file
        # A position in a text is no number of bytes.
        self._start, self.length = (None, None) if self.is_text else _position_and_rest(file)
        self.is_repeatable = self._start is not None

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        if self._start is not None:
            await asyncio.to_thread(self._file.seek, self._start)
        while piece := await asyncio.to_thread(self._file.read, CHUNK_BYTES):
            yield piece.encode() if self.is_text else piece


class _StreamSource:
    def __init__(self, pieces: AsyncIterable[bytes], name: str | None, content_type: str | None) -> None:
        self.name = name
        self.content_type = content_type
        self.length: int | None = None
        self.is_repeatable = False
        self.is_text = False
        self._pieces = pieces

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        async for piece in self._pieces:
            yield piece


async def _read_pieces(read: Callable[[int], Any]) -> AsyncGenerator[bytes, None]:
    while piece := await read(CHUNK_BYTES):
        yield piece.encode() if isinstance(piece, str) else piece


async def _open_file(path: Path) -> IO[bytes]:
    """Open a file in a thread. It is closed if the task is cancelled meanwhile."""
    opening = asyncio.ensure_future(asyncio.to_thread(_open, path))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_close_opened)
        raise


def _open(path: Path) -> IO[bytes]:
    return path.open("rb")


def _close_opened(opening: asyncio.Future[IO[bytes]]) -> None:
    if opening.exception() is None:
        opening.result().close()


def _view_of(data: Any) -> memoryview | None:
    """Return the bytes of a buffer, whatever its items are; None if it is no buffer."""
    try:
        view = memoryview(data)
    except TypeError:
        return None
    return view.cast("B") if view.c_contiguous else memoryview(view.tobytes())


def _claims(data: Any) -> tuple[str | None, str | None]:
    """Return the name and the media type that a file or an upload has, as far as it has them."""
    name = getattr(data, "filename", None) or getattr(data, "name", None)
    kind = getattr(data, "content_type", None)
    headers: Any = getattr(data, "headers", None)
    if kind is None and hasattr(headers, "get"):
        kind = headers.get("content-type")
    # The name of a file that was opened by its descriptor is a number.
    return name if isinstance(name, str) else None, kind if isinstance(kind, str) else None


def _position_and_rest(file: Any) -> tuple[int | None, int | None]:
    """Return the position of a file and the number of bytes behind it; None if it cannot seek, as a pipe."""
    try:
        position = file.tell()
        end = file.seek(0, os.SEEK_END)
        # Back to where the caller had left it: the rest is the content.
        file.seek(position)
    except (OSError, ValueError, AttributeError):
        return None, None
    return position, max(0, end - position)


def _no_content_error(data: object) -> ConfigurationError:
    hint = ": write Path(…) for the path of a file, or .encode() for a text" if isinstance(data, str) else ""
    return ConfigurationError(
        f"an attachment is made of bytes, a file, a path or an async iterator, not of {type(data).__name__}{hint}"
    )
