"""A file that is being uploaded."""

import asyncio
import io
from collections.abc import Coroutine, Generator, Iterable
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Generic, NoReturn, Self

from couchmodel.bucket.content_writer import Content, ContentWriter
from couchmodel.bucket.layout import CONTENT_MEMBER, FILE_MEMBER
from couchmodel.bucket.metadata import M, Metadata
from couchmodel.bucket.sources import is_buffer, read_source
from couchmodel.bucket.storage import Storage
from couchmodel.bucket.times import next_upload_date, parse_utc, utc_text
from couchmodel.errors import CorruptGridFile, NoFile
from couchmodel.types import JSONObject

__all__ = ["GridIn"]

_READ_ONLY: Final = frozenset(
    ("_id", "length", "chunk_size", "chunkSize", "upload_date", "uploadDate", "closed", "md5")
)
_STORED_NAMES: Final = {"content_type": "contentType", "name": "filename"}

_unsettled: Final[set[asyncio.Task[Any]]] = set()


class GridIn(Generic[M]):
    """A file that is being uploaded. Nobody sees it before :meth:`close`, or the end of ``async with``.

    An exception within ``async with`` ends the upload, and what was sent is deleted. Members that :meth:`set` gives the
    file are attributes.
    """

    def __init__(
        self,
        storage: Storage,
        members: JSONObject,
        writer: ContentWriter,
        metadata: Metadata[M],
        *,
        keeps: bool = False,
    ) -> None:
        """``members`` are those of the file so far. With ``keeps``, a failed upload stays to be resumed."""
        self._storage = storage
        self._members: JSONObject = members
        self._writer = writer
        self._metadata = metadata
        self._keeps = keeps
        self._closed = False
        self._is_stored = False
        self._storing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<GridIn {self.id!r} {self.filename!r}>"

    def __await__(self) -> Generator[Any, None, Self]:
        """Return the file itself: Motor's documentation awaits it."""
        # An await gives the event loop a turn, as every other one of this library.
        yield from asyncio.sleep(0).__await__()
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.close()
        else:
            await self.fail()

    def __getattr__(self, name: str) -> Any:
        # copy and pickle look up attributes before ``__init__`` has set any.
        members = self.__dict__.get("_members", {})
        if name.startswith("__") or name not in members:
            # Python asks here for a property, too, if that has raised AttributeError.
            if name in ("length", "upload_date"):
                raise AttributeError(f"{name} is known after the file was closed")
            raise AttributeError(f"the file has no {name!r}: set it with `await file.set({name!r}, …)`")
        return members[name]

    @property
    def id(self) -> str:
        """The id of the file, which Motor calls ``_id``."""
        return str(self._members["_id"])

    @property
    def _id(self) -> str:
        return self.id

    @property
    def filename(self) -> str:
        """The name of the file."""
        return str(self._members["filename"])

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.filename

    @property
    def content_type(self) -> str | None:
        """The media type, if it was set."""
        found: str | None = self._members.get("contentType")
        return found

    @property
    def metadata(self) -> M | None:
        """The metadata. Raises AttributeError if there are none."""
        if "metadata" not in self._members:
            raise AttributeError("metadata")
        return self._metadata.load(self._members["metadata"], self.id)

    @property
    def chunk_size(self) -> int:
        """The bytes of a chunk."""
        return int(self._members["chunkSize"])

    @property
    def closed(self) -> bool:
        """True after the end of the upload."""
        return self._closed

    @property
    def length(self) -> int:
        """The number of bytes. Raises AttributeError before the file is stored."""
        return int(self._after_close("length"))

    @property
    def upload_date(self) -> datetime:
        """The time at which the file was stored. Raises AttributeError before that."""
        return parse_utc(self._after_close("uploadDate"))

    async def write(self, data: Any) -> None:
        """Add bytes, or the content of a file or of a :class:`GridOut`.

        A text is encoded if ``encoding`` was set. Raises TypeError for anything else; ValueError if the file is closed;
        the error of an earlier write that could not be stored.
        """
        if self._closed:
            raise ValueError("the file is closed: nothing can be written to it")
        if isinstance(data, str):
            data = self._encode(data)
        if is_buffer(data):
            await self._writer.write(data)
        elif hasattr(data, "read"):
            async for piece in read_source(data, self.chunk_size):
                await self._writer.write(piece)
        else:
            raise TypeError(f"a file is written as bytes or from an object with read(), not from {type(data).__name__}")

    async def writelines(self, sequence: Iterable[Any]) -> None:
        """Write all of a sequence, without anything between."""
        for line in sequence:
            await self.write(line)

    async def set(self, name: str, value: Any) -> None:
        """Set a member of the file: it is stored at the end of the upload, or at once after that.

        Raises AttributeError for a member that the bucket sets itself.
        """
        if name in _READ_ONLY:
            raise AttributeError(f"{name} is set by the bucket")
        stored_name = _STORED_NAMES.get(name, name)
        stored = self._metadata.dump(value) if name == "metadata" else value
        # A document of a file can be changed at any time; its content cannot.
        if self._is_stored:
            await self._storage.change(self.id, {stored_name: stored})
        self._members[stored_name] = stored

    async def close(self) -> None:
        """End the upload: store what is left, and then the document of the file. Closing twice is harmless.

        Raises FileExists if the bucket has a file of this id; CorruptGridFile if :meth:`Bucket.sweep` has removed parts
        of the upload.
        """
        if self._closed:
            return
        self._closed = True
        try:
            content = await self._writer.finish()
            self._storing = asyncio.create_task(self._store(content))
            await _settle(self._storing)
        except BaseException:
            # ``fail`` does nothing for a file that is closed.
            self._closed = False
            await self.fail()
            raise
        self._is_stored = True
        await self._writer.stop()
        self._writer.report_end(content.length)

    async def abort(self) -> None:
        """End the upload, and delete everything that it has stored, also after :meth:`close`."""
        self._closed = True
        await _settle(self._remove())

    async def fail(self) -> None:
        """End the upload after an error: as :meth:`abort` does, but what can be resumed is kept."""
        if self._closed:
            return
        self._closed = True
        await _settle(self._writer.stop() if self._keeps else self._remove())

    def read(self, size: int = -1) -> NoReturn:
        """Raise UnsupportedOperation: the file is being written."""
        raise io.UnsupportedOperation("read")

    def readable(self) -> bool:
        """Return False."""
        return False

    def seekable(self) -> bool:
        """Return False."""
        return False

    def writeable(self) -> bool:
        """Return True. The spelling is GridFS's."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    async def _store(self, content: Content) -> None:
        members: JSONObject = {**self._members, "length": content.length, "uploadDate": utc_text(next_upload_date())}
        document = {FILE_MEMBER: members, CONTENT_MEMBER: content.member}
        # The document comes after all parts, so a file that can be found is complete.
        await self._storage.create(self.id, document, content.data, content.digest)
        await self._writer.remove_surplus()
        count = content.member["parts"]
        # A sweep may have taken a slow upload for one that was given up.
        if count and len(await self._storage.part_numbers(self.id, self._writer.upload)) != count:
            raise CorruptGridFile(f"parts of the file {self.id!r} were removed by a sweep: upload it again")
        self._members = members

    async def _remove(self) -> None:
        if self._storing is not None:
            # It may still be under way if the caller was cancelled twice.
            await asyncio.wait([self._storing])
            with suppress(NoFile):
                await self._storage.delete(self.id, self._writer.upload)
        self._is_stored = False
        await self._writer.discard()

    def _encode(self, text: str) -> bytes:
        encoding: Any = self._members.get("encoding")
        if encoding is None:
            raise TypeError("a text needs an encoding: `await file.set('encoding', 'utf-8')`")
        return text.encode(encoding)

    def _after_close(self, name: str) -> Any:
        if not self._is_stored:
            raise AttributeError(name)
        return self._members[name]


async def _settle(work: Coroutine[Any, Any, None] | asyncio.Task[None]) -> None:
    """Do something to its end, even if the caller is cancelled meanwhile, who is told so after it."""
    task = asyncio.ensure_future(work)
    _unsettled.add(task)
    task.add_done_callback(_unsettled.discard)
    try:
        # Without the shield, the cancellation of the caller would stop the work half-way.
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
