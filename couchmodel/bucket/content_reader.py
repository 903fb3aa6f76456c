"""The reader of a stored content: it reads blocks of it ahead, and compares them with what was stored.

A block is a part or a piece of a part, and is read by one request. So no connection is open between two calls, a
broken transfer costs one block, and closing a file needs no request.
"""

import asyncio
import zlib
from typing import Final

from couchmodel._wire.messages import Request
from couchmodel.bucket.layout import StoredFile
from couchmodel.bucket.storage import Storage
from couchmodel.errors import CorruptGridFile, NotFoundError, RangeNotSatisfiableError

__all__ = ["ContentReader"]

_FIRST_BYTES: Final = 64 * 1024
"""The bytes that are read at least, by a request of its own."""

_PARTS_AHEAD: Final = 2
"""The parts that are read ahead: with one, a connection would be idle while a part is used."""


class ContentReader:
    """The reader of the content of a file. It keeps one block, and reads the next ones meanwhile."""

    def __init__(self, storage: Storage, file: StoredFile) -> None:
        self._storage = storage
        self._file = file
        self._start = 0
        self._block = b""
        # The blocks that are being read, by their positions.
        self._ahead: dict[int, asyncio.Task[bytes]] = {}
        # The CRC-32 of the bytes from the beginning of a part up to this position.
        self._checked_to = 0
        self._checksum = 0

    async def read(self, position: int, most: int, *, ahead: bool) -> memoryview:
        """Return bytes from a position on: at least one, and at most ``most``. The position is not behind the end.

        With ``ahead``, the bytes behind them are going to be read, too. Raises CorruptGridFile.
        """
        offset = position - self._start
        if not 0 <= offset < len(self._block):
            await self._load(position, most, ahead=ahead)
            offset = 0
        return memoryview(self._block)[offset : offset + most]

    async def check_parts(self, start: int, stop: int) -> None:
        """Raise CorruptGridFile if a part with bytes from ``start`` to ``stop`` is missing."""
        file = self._file
        if not file.part_count or start >= stop:
            return
        # The division is rounded up, as ``stop`` may lie inside of the last part.
        wanted = range(start // file.part_bytes, -(-stop // file.part_bytes))
        missing = set(wanted).difference(await self._storage.part_numbers(file.id, file.upload))
        if missing:
            first = min(missing) * file.part_bytes
            raise self._corrupt(first, self._part_end(first), "they are missing, or the file was deleted")

    def close(self) -> None:
        """Drop the block, and stop reading ahead."""
        self._block = b""
        self._drop_ahead()

    async def _load(self, position: int, most: int, *, ahead: bool) -> None:
        is_next = position == self._start + len(self._block) > 0
        task = self._ahead.pop(position, None)
        if task is not None:
            block = await task
        else:
            self._drop_ahead()
            stop = self._part_end(position)
            # A first look at a file may be the only one.
            if not (ahead or is_next):
                stop = min(stop, position + max(most, _FIRST_BYTES))
            block = await self._fetch(position, stop)
        self._start, self._block = position, block
        stop = position + len(block)
        self._check(position, block)
        if stop == self._file.length:
            await self._check_end()
        elif (ahead or is_next) and stop == self._part_end(position):
            self._read_ahead(stop)

    def _read_ahead(self, start: int) -> None:
        for _ in range(_PARTS_AHEAD):
            stop = self._part_end(start)
            if start < stop and start not in self._ahead:
                self._ahead[start] = task = asyncio.create_task(self._fetch(start, stop))
                task.add_done_callback(_retrieve)
            start = stop

    async def _fetch(self, start: int, stop: int) -> bytes:
        """Return the bytes from ``start`` to ``stop``, which lie in one part."""
        file = self._file
        number = start // file.part_bytes
        first = start - number * file.part_bytes
        # aiohttp asks for gzip by itself, and a range would then be one of the packed bytes.
        headers = {"accept": "*/*", "accept-encoding": "identity", "range": f"bytes={first}-{first + stop - start - 1}"}
        path = self._storage.content_path(file, number)
        try:
            response = await self._storage.session.send(Request("GET", path, headers=headers))
        except NotFoundError:
            raise self._corrupt(start, stop, "they are missing, or the file was deleted") from None
        except RangeNotSatisfiableError:
            raise self._corrupt(start, stop, "they are cut off") from None
        body = response.body
        # Content-Range has the length of the whole part behind its slash.
        stated = response.headers.get("content-range", "").rpartition("/")[2]
        there = int(stated) if stated.isdecimal() else len(body)
        # A proxy may leave out the header of the range, and answer with the whole part.
        if response.status != 206:
            body = body[first : first + stop - start]
        expected = self._part_end(start) - number * file.part_bytes
        if there != expected:
            raise self._corrupt(start, stop, f"their part has {there} bytes instead of {expected}")
        if len(body) != stop - start:
            raise self._corrupt(start, stop, f"{len(body)} bytes came")
        return body

    def _check(self, start: int, block: bytes) -> None:
        """Compare a part with its checksum, when it was read from its beginning to its end."""
        file = self._file
        if start % file.part_bytes == 0:
            self._checksum = zlib.crc32(block)
        elif start == self._checked_to:
            self._checksum = zlib.crc32(block, self._checksum)
        else:
            # Reading has jumped, so this part will not be read from its beginning to its end.
            self._checked_to = -1
            return
        self._checked_to = stop = start + len(block)
        number = start // file.part_bytes
        if stop == self._part_end(start) and self._checksum != file.checksum(number):
            raise self._corrupt(number * file.part_bytes, stop, "they are not those that were stored")

    async def _check_end(self) -> None:
        """Raise CorruptGridFile if the content has more parts than the file."""
        file = self._file
        if file.part_count and await self._storage.has_part(file.id, file.upload, file.part_count):
            raise self._corrupt(file.length, file.length, "there is a part behind the end")

    def _part_end(self, position: int) -> int:
        size = self._file.part_bytes
        return min((position // size + 1) * size, self._file.length)

    def _drop_ahead(self) -> None:
        for task in self._ahead.values():
            task.cancel()
        self._ahead.clear()

    def _corrupt(self, start: int, stop: int, why: str) -> CorruptGridFile:
        file = self._file
        name = file.members.get("filename")
        return CorruptGridFile(f"the file {file.id!r} ({name!r}) cannot be read from byte {start} to {stop}: {why}")


def _retrieve(task: asyncio.Task[bytes]) -> None:
    """Take the error of a block that nobody reads, so that asyncio does not log it."""
    if not task.cancelled():
        task.exception()
