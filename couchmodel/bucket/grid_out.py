"""A stored file that is read."""

import inspect
import io
import os
from collections.abc import AsyncIterator
from datetime import datetime
from types import TracebackType
from typing import Any, Generic, NoReturn, Self

from couchmodel.bucket.content_reader import ContentReader
from couchmodel.bucket.layout import StoredFile
from couchmodel.bucket.metadata import M, Metadata
from couchmodel.bucket.storage import Storage
from couchmodel.bucket.times import parse_utc

__all__ = ["GridOut"]


class GridOut(Generic[M]):
    """A stored file. Iterating over it gives its chunks. Its members are attributes.

    Each part is compared with its checksum when it was read from its beginning to its end. The methods that read raise
    CorruptGridFile if the content is not what was stored, or the file was deleted meanwhile.
    """

    def __init__(self, storage: Storage, file: StoredFile, metadata: Metadata[M]) -> None:
        self._file = file
        self._metadata = metadata
        self._reader = ContentReader(storage, file)
        self._position = 0

    def __repr__(self) -> str:
        return f"<GridOut {self.id!r} {self.filename!r}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self.readchunk():
            yield chunk

    def __getattr__(self, name: str) -> Any:
        # copy and pickle look up attributes before ``__init__`` has set any.
        file = self.__dict__.get("_file")
        if name.startswith("__") or file is None or name not in file.members:
            raise AttributeError(f"the file has no {name!r}")
        return file.members[name]

    # --- what is known of it

    @property
    def members(self) -> dict[str, Any]:
        """The members of the file, as they are stored: ``_id``, ``filename``, ``length`` and others."""
        return self._file.members

    @property
    def id(self) -> str:
        """The id of the file, which Motor calls ``_id``."""
        return self._file.id

    @property
    def _id(self) -> str:
        return self.id

    @property
    def filename(self) -> str:
        """The name of the file."""
        return str(self._file.members["filename"])

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.filename

    @property
    def length(self) -> int:
        """The number of bytes."""
        return self._file.length

    @property
    def chunk_size(self) -> int:
        """The bytes of a chunk."""
        return int(self._file.members["chunkSize"])

    @property
    def content_type(self) -> str | None:
        """The media type, if it was set."""
        return self._file.members.get("contentType")

    @property
    def upload_date(self) -> datetime:
        """The time at which the file was stored, in UTC."""
        return parse_utc(self._file.members["uploadDate"])

    @property
    def aliases(self) -> Any:
        """Other names, if they were set."""
        return self._file.members.get("aliases")

    @property
    def metadata(self) -> M | None:
        """The metadata; None if there are none. Raises DocumentError if they do not fit the model of the bucket."""
        return self._metadata.load(self._file.members.get("metadata"), self.id)

    @property
    def sha256(self) -> str:
        """The SHA-256 of the content, in hexadecimal digits."""
        return self._file.sha256

    # --- reading

    async def open(self) -> Self:
        """Return the file itself: it is open."""
        return self

    async def read(self, size: int = -1) -> bytes:
        """Return the next ``size`` bytes, or all that are left."""
        left = max(0, self.length - self._position)
        wanted = left if size < 0 else min(size, left)
        # A long read goes on over several parts, which are fetched ahead. A short one may be the only one.
        return await self._take(wanted, ahead=wanted >= self._file.part_bytes)

    async def readchunk(self) -> bytes:
        """Return the rest of the current chunk."""
        left = max(0, self.length - self._position)
        return await self._take(min(self.chunk_size - self._position % self.chunk_size, left), ahead=True)

    async def readline(self, size: int = -1) -> bytes:
        """Return the next line with its end, or at most ``size`` bytes of it."""
        pieces: list[bytes] = []
        left = self.length - self._position if size < 0 else min(size, self.length - self._position)
        while left > 0:
            # The reader keeps the block, so the rest of it costs no request for the next line.
            piece = await self._reader.read(self._position, min(left, self.chunk_size), ahead=False)
            taken = bytes(piece)
            end = taken.find(b"\n") + 1
            if end:
                taken, left = taken[:end], end
            pieces.append(taken)
            self._position += len(taken)
            left -= len(taken)
        return b"".join(pieces)

    async def readlines(self) -> list[bytes]:
        """Return all lines that are left, with their ends."""
        lines = []
        while line := await self.readline():
            lines.append(line)
        return lines

    async def to_list(self, length: int | None = None) -> list[bytes]:
        """Return the lines that are left, or at most ``length`` of them."""
        lines: list[bytes] = []
        while (length is None or len(lines) < length) and (line := await self.readline()):
            lines.append(line)
        return lines

    async def _take(self, wanted: int, *, ahead: bool) -> bytes:
        pieces: list[memoryview] = []
        while wanted > 0:
            piece = await self._reader.read(self._position, wanted, ahead=ahead)
            pieces.append(piece)
            self._position += len(piece)
            wanted -= len(piece)
        return b"".join(pieces)

    async def check_parts(self, start: int = 0, stop: int | None = None) -> None:
        """Raise CorruptGridFile if a part with bytes from ``start`` up to ``stop`` is missing. Nothing is read."""
        await self._reader.check_parts(start, self.length if stop is None else min(stop, self.length))

    def seek(self, pos: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position, and return it. One behind the end is allowed: nothing is read there.

        Raises TypeError for a position that is no whole number; OSError for a negative one and an unknown ``whence``.
        """
        if not isinstance(pos, int):
            raise TypeError(f"a position is a whole number of bytes, not {pos!r}")
        if whence not in (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END):
            raise OSError(22, f"Invalid value for `whence`: {whence!r}")
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.length}[whence]
        if start + pos < 0:
            raise OSError(22, f"Invalid value for `pos`: {pos} leads before the beginning")
        self._position = start + pos
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def close(self) -> None:
        """Drop what was read ahead. Closing twice is harmless."""
        self._reader.close()

    async def stream_to_handler(self, request_handler: Any) -> None:
        """Write the chunks to a handler of Tornado, or anything with ``write`` and ``flush``."""
        async for chunk in self:
            # ``flush`` returns a future in Tornado, and None elsewhere.
            for result in (request_handler.write(chunk), request_handler.flush()):
                if inspect.isawaitable(result):
                    await result

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return False."""
        return False

    def write(self, data: Any) -> NoReturn:
        """Raise UnsupportedOperation: the file is stored already."""
        raise io.UnsupportedOperation("write")
