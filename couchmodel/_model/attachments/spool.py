"""Contents that can be read only once, kept so that they can be read again."""

import asyncio
import tempfile
import weakref
from collections.abc import AsyncGenerator, AsyncIterable
from typing import IO, Final

from couchmodel.engine._io.sources import CHUNK_BYTES, Source

__all__ = ["read_into_spool"]

_SHORT_BYTES: Final = 1024 * 1024
"""Up to so many bytes are kept in memory, more in a temporary file. Starlette keeps as many of an upload."""

_FLUSH_BYTES: Final = 128 * 1024
"""The bytes that are written to the file at a time."""


class Spool:
    """A content that was read, in memory or in a temporary file, which ends with this object."""

    def __init__(self, source: Source) -> None:
        self.name = source.name
        self.content_type = source.content_type
        self.length: int | None = None
        self.is_repeatable = True
        self.is_text = source.is_text
        self._bytes = bytearray()
        self._file: IO[bytes] | None = None

    async def fill(self, pieces: AsyncIterable[bytes]) -> None:
        """Read the content. If that fails, nothing of it is kept."""
        length = 0
        try:
            async for piece in pieces:
                length += len(piece)
                self._bytes += piece
                if len(self._bytes) > (_SHORT_BYTES if self._file is None else _FLUSH_BYTES):
                    await self._flush()
        except BaseException:
            self._bytes.clear()
            if self._file is not None:
                self._file.close()
            raise
        if self._file is not None:
            await self._flush()
        self.length = length

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the content in pieces."""
        if self._file is None:
            for start in range(0, len(self._bytes), CHUNK_BYTES):
                yield bytes(self._bytes[start : start + CHUNK_BYTES])
            return
        position = 0
        while piece := await asyncio.to_thread(_read_at, self._file, position):
            position += len(piece)
            yield piece

    async def _flush(self) -> None:
        if self._file is None:
            # Not in a thread: if the task were cancelled there, nobody would close the file.
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - it ends with this object
            weakref.finalize(self, self._file.close)
        # This is a copy. If the task is cancelled, the buffer is cleared while the thread still writes.
        await asyncio.to_thread(self._file.write, bytes(self._bytes))
        self._bytes.clear()


async def read_into_spool(source: Source, pieces: AsyncIterable[bytes]) -> Spool:
    """Read the content of a source, and return one that can be read several times."""
    spool = Spool(source)
    await spool.fill(pieces)
    return spool


def _read_at(file: IO[bytes], position: int) -> bytes:
    # In one step, as several may read the file at a time.
    file.seek(position)
    return file.read(CHUNK_BYTES)
