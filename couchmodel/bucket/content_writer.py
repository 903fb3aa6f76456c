"""The writer of a content: it cuts what it is given into parts, and stores several of them at once."""

import asyncio
import base64
import hashlib
import zlib
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple
from weakref import WeakSet

from couchmodel._wire.turns import give_turn, turn_is_due
from couchmodel.bucket.layout import PART_BYTES
from couchmodel.bucket.sources import Buffer
from couchmodel.bucket.storage import PROCESS, Storage
from couchmodel.errors import ConfigurationError
from couchmodel.types import JSONObject

__all__ = ["Content", "ContentWriter", "Progress", "running_uploads"]

Progress = Callable[[int, int | None], None]
"""A function that is called with the bytes that are done, and with the number of all bytes if that is known."""

_WINDOW: Final = 2
"""The parts that are sent at once. More would take more memory, and save no time."""

_LAST_SECONDS: Final = 5.0
"""How long an upload that failed waits for the parts that are being sent."""

_INLINE_HASH: Final = 32 * 1024
"""Up to so many bytes are hashed at once. The way to a thread would take longer."""

_running: Final["WeakSet[ContentWriter]"] = WeakSet()


class Content(NamedTuple):
    """A content that was written: the member ``content`` of the document of its file, and what is not stored yet.

    ``data`` is the whole content if it is small enough to be stored with the document, and else empty.
    """

    member: JSONObject
    length: int
    data: bytes | bytearray
    digest: str


class ContentWriter:
    """The writer of the content of a file. ``upload`` is the name of the upload.

    With ``resumes``, parts that an earlier upload of this name has left are not sent again.
    """

    def __init__(
        self, storage: Storage, file_id: str, upload: str, *, resumes: bool = False, progress: Progress | None = None
    ) -> None:
        self.upload = upload
        self._storage = storage
        self._file_id = file_id
        self._resumes = resumes
        self._progress = progress
        self._buffer = bytearray()
        self._tasks: deque[asyncio.Task[None]] = deque()
        self._count = 0
        self._stored_bytes = 0
        self._checksums: list[str] = []
        self._sha256 = hashlib.sha256()
        # The hash of the whole is made part after part, in their order.
        self._turn = asyncio.Lock()
        self._known: dict[int, str] | None = None
        _running.add(self)

    @property
    def length(self) -> int:
        """The bytes that were written so far."""
        return self._count * PART_BYTES + len(self._buffer)

    async def write(self, data: Buffer) -> None:
        """Add bytes. Raises the error of a part that could not be stored."""
        # The elements of a buffer may have several bytes each.
        view = memoryview(data).cast("B")
        start = 0
        while start < len(view):
            # Only when more bytes come: a content of one part belongs into the document.
            if len(self._buffer) == PART_BYTES:
                await self._flush()
            taken = view[start : start + PART_BYTES - len(self._buffer)]
            self._buffer += taken
            start += len(taken)
        if turn_is_due():
            await give_turn()

    async def finish(self) -> Content:
        """Wait until all parts are stored, and return the content."""
        digest = ""
        length, data = self.length, self._buffer
        if self._count:
            await self._flush()
            data = bytearray()
        else:
            digest = await self._hash(data)
        while self._tasks:
            await self._wait_for_oldest()
        member = {
            "upload": self.upload,
            "part_bytes": PART_BYTES,
            "parts": self._count,
            "checksums": "".join(self._checksums),
            "sha256": self._sha256.hexdigest(),
        }
        return Content(member, length, data, digest)

    async def remove_surplus(self) -> None:
        """Remove the parts that an earlier and longer upload of this name has left behind the last one."""
        if not self._resumes:
            return
        known = await self._known_parts()
        if surplus := [number for number in known if number >= self._count]:
            await self._storage.delete_parts(self._file_id, self.upload, surplus)

    def report_end(self, length: int) -> None:
        """Tell that everything is stored."""
        if self._progress is not None:
            self._progress(length, length)

    async def stop(self) -> None:
        """Stop sending. What was stored stays."""
        _running.discard(self)
        tasks = list(self._tasks)
        self._tasks.clear()
        self._buffer = bytearray()
        if tasks:
            # A server may carry out a request that is cancelled, after everything else was removed.
            _, late = await asyncio.wait(tasks, timeout=_LAST_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def discard(self) -> None:
        """Stop sending, and delete the parts that were stored."""
        await self.stop()
        if self._count:
            await self._storage.delete_parts(self._file_id, self.upload)

    async def _flush(self) -> None:
        # The stored parts are looked up before the first one is sent, so that several parts do not ask at once.
        await self._known_parts()
        while len(self._tasks) >= _WINDOW:
            await self._wait_for_oldest()
        # The part keeps its buffer until it is stored, so the next one gets another.
        data, self._buffer = self._buffer, bytearray()
        self._tasks.append(asyncio.create_task(self._store(self._count, data)))
        self._count += 1

    async def _wait_for_oldest(self) -> None:
        # Not by awaiting the task: that would cancel it if the caller is cancelled.
        await asyncio.wait([self._tasks[0]])
        self._tasks.popleft().result()

    async def _store(self, number: int, data: bytearray) -> None:
        async with self._turn:
            digest = await self._hash(data)
        known = (await self._known_parts()).get(number)
        if known is None:
            process = "" if self._resumes else PROCESS
            await self._storage.write_part(self._file_id, self.upload, number, data, digest, process)
        elif known != digest:
            # The stored part may belong to a file that is complete by now, so it is not replaced.
            where = f"bytes {number * PART_BYTES} to {number * PART_BYTES + len(data)}"
            raise ConfigurationError(
                f"{where} of the file {self._file_id!r} are not those that were uploaded before: resume an upload with "
                "the same content, or give it another name"
            )
        self._stored_bytes += len(data)
        if self._progress is not None:
            self._progress(self._stored_bytes, None)

    async def _known_parts(self) -> dict[int, str]:
        """Return the digests of the parts that an earlier upload of this name has stored, by their numbers."""
        if self._known is None:
            self._known = await self._storage.part_digests(self._file_id, self.upload) if self._resumes else {}
        return self._known

    async def _hash(self, data: bytearray) -> str:
        """Add a part to the hashes of the whole, and return its digest."""
        digest, checksum = (
            self._make_hashes(data) if len(data) <= _INLINE_HASH else await asyncio.to_thread(self._make_hashes, data)
        )
        self._checksums.append(checksum)
        return digest

    def _make_hashes(self, data: bytearray) -> tuple[str, str]:
        self._sha256.update(data)
        # CouchDB knows MD5 only. A Python of FIPS refuses it without the remark.
        md5 = hashlib.md5(data, usedforsecurity=False)
        return "md5-" + base64.b64encode(md5.digest()).decode(), f"{zlib.crc32(data):08x}"


def running_uploads() -> set[str]:
    """Return the names of the uploads that this process has not ended."""
    return {writer.upload for writer in _running}
