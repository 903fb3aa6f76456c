"""The bucket: files of any number and size in a database."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from hashlib import blake2b
from typing import Any, Final, Generic, TypeVar, get_args

from typing_extensions import get_original_bases

from couchmodel._wire.messages import decode
from couchmodel.bucket.content_writer import ContentWriter, Progress
from couchmodel.bucket.cursor import GridOutCursor
from couchmodel.bucket.filters import make_selector
from couchmodel.bucket.grid_in import GridIn
from couchmodel.bucket.grid_out import GridOut
from couchmodel.bucket.layout import StoredFile
from couchmodel.bucket.metadata import M, Metadata
from couchmodel.bucket.sources import read_source, write_piece
from couchmodel.bucket.storage import Storage
from couchmodel.bucket.sweep import sweep
from couchmodel.engine import Database
from couchmodel.errors import NoFile
from couchmodel.types import JSONObject

__all__ = ["DEFAULT_CHUNK_SIZE", "Bucket"]

DEFAULT_CHUNK_SIZE: Final = 255 * 1024
"""The bytes of a chunk: GridFS's default."""

_SWEPT_AFTER: Final = timedelta(hours=1)


class Bucket(Generic[M]):
    """A bucket of files. Creating the object sends nothing.

    Its methods are those of Motor's ``AsyncIOMotorGridFSBucket``. ``Bucket[PhotoMeta](database)`` has metadata of a
    pydantic model.
    """

    def __init__(self, database: Database, bucket_name: str = "fs", chunk_size_bytes: int = DEFAULT_CHUNK_SIZE) -> None:
        """Raises TypeError if ``database`` is none; ValueError if a chunk would have no bytes."""
        if not isinstance(database, Database):
            raise TypeError(f"a bucket is in a Database, not in {type(database).__name__}")
        if not isinstance(bucket_name, str):
            raise TypeError(f"the name of a bucket is a str, not {type(bucket_name).__name__}")
        self._storage = Storage(database, bucket_name)
        self._chunk_size = _check_chunk_size(chunk_size_bytes)
        self._metadata_kind: Metadata[M] | None = None

    def __repr__(self) -> str:
        return f"<Bucket {self._storage.name!r} in {self._storage.database.id}>"

    # --- uploads

    def open_upload_stream(
        self,
        filename: str,
        chunk_size_bytes: int | None = None,
        metadata: M | Mapping[str, Any] | None = None,
        *,
        progress: Progress | None = None,
        resume: str | None = None,
    ) -> GridIn[M]:
        """Return a file to write to. Nothing is sent yet.

        ``progress`` is called with the bytes that are stored. ``resume`` is a name of this upload: if it breaks off,
        what was stored is kept, and an upload of the same name and content does not send it again. The id of the file
        is then made of this name, unless it is given.
        """
        # An id has 12 bytes in hexadecimal digits, as MongoDB's ObjectId has.
        file_id = secrets.token_hex(12) if resume is None else _short_hash(resume)
        return self.open_upload_stream_with_id(
            file_id, filename, chunk_size_bytes, metadata, progress=progress, resume=resume
        )

    def open_upload_stream_with_id(
        self,
        file_id: str,
        filename: str,
        chunk_size_bytes: int | None = None,
        metadata: M | Mapping[str, Any] | None = None,
        *,
        progress: Progress | None = None,
        resume: str | None = None,
    ) -> GridIn[M]:
        """Return a file of this id to write to, as :meth:`open_upload_stream` does."""
        _check_text("file_id", file_id)
        _check_text("filename", filename)
        chunk_size = self._chunk_size if chunk_size_bytes is None else _check_chunk_size(chunk_size_bytes)
        members: JSONObject = {"_id": file_id, "filename": filename, "chunkSize": chunk_size}
        if metadata is not None:
            members["metadata"] = self._metadata.dump(metadata)
        upload = secrets.token_hex(12) if resume is None else _short_hash(resume)
        writer = ContentWriter(self._storage, file_id, upload, resumes=resume is not None, progress=progress)
        return GridIn(self._storage, members, writer, self._metadata, keeps=resume is not None)

    async def upload_from_stream(
        self,
        filename: str,
        source: Any,
        chunk_size_bytes: int | None = None,
        metadata: M | Mapping[str, Any] | None = None,
        *,
        progress: Progress | None = None,
        resume: str | None = None,
    ) -> str:
        """Store a file, and return its id.

        ``source`` is bytes, a path, an asynchronous iterator of bytes, or an object with a method ``read``, which may
        be asynchronous. It is read from its position on, in pieces, and left open. If it fails, nothing is stored. For
        ``progress`` and ``resume`` see :meth:`open_upload_stream`.
        """
        file = self.open_upload_stream(filename, chunk_size_bytes, metadata, progress=progress, resume=resume)
        await _fill(file, source)
        return file.id

    async def upload_from_stream_with_id(
        self,
        file_id: str,
        filename: str,
        source: Any,
        chunk_size_bytes: int | None = None,
        metadata: M | Mapping[str, Any] | None = None,
        *,
        progress: Progress | None = None,
        resume: str | None = None,
    ) -> None:
        """Store a file of this id, as :meth:`upload_from_stream` does. Raises FileExists."""
        file = self.open_upload_stream_with_id(
            file_id, filename, chunk_size_bytes, metadata, progress=progress, resume=resume
        )
        await _fill(file, source)

    # --- downloads

    async def open_download_stream(self, file_id: str) -> GridOut[M]:
        """Return a file to read from. Raises NoFile."""
        return self._open(await self._storage.load(_check_text("file_id", file_id)))

    async def open_download_stream_by_name(self, filename: str, revision: int = -1) -> GridOut[M]:
        """Return a revision of a name to read from: 0 is the first, -1 the newest. Raises NoFile."""
        files = await self._find_by_name(filename)
        if not -len(files) <= revision < len(files):
            raise NoFile(f"{filename!r} has {len(files)} revisions in {self._storage.name!r}, and no {revision}")
        return self._open(files[revision])

    async def download_to_stream(
        self, file_id: str, destination: Any, *, start: int = 0, progress: Progress | None = None
    ) -> None:
        """Write a file to an object with a method ``write``, which may be asynchronous, chunk by chunk.

        ``start`` is the first byte, to go on where an earlier download broke off. ``progress`` is called with the bytes
        that are written. Raises NoFile; CorruptGridFile.
        """
        await _pour(await self.open_download_stream(file_id), destination, start, progress)

    async def download_to_stream_by_name(
        self,
        filename: str,
        destination: Any,
        revision: int = -1,
        *,
        start: int = 0,
        progress: Progress | None = None,
    ) -> None:
        """Write a revision of a name, as :meth:`download_to_stream` does."""
        await _pour(await self.open_download_stream_by_name(filename, revision), destination, start, progress)

    def find(
        self,
        filter: Mapping[str, Any] | None = None,
        skip: int = 0,
        limit: int = 0,
        no_cursor_timeout: bool = False,
        sort: str | Sequence[tuple[str, int]] | None = None,
        batch_size: int = 0,
    ) -> GridOutCursor[M]:
        """Return a cursor over the files that match a filter. Nothing is sent yet.

        The names of a filter are those of GridFS: ``_id``, ``filename``, ``length``, ``chunkSize``, ``uploadDate``,
        ``metadata.artist`` and others. Its operators are CouchDB's, such as ``$gt``, ``$in``, ``$regex`` and ``$or``.
        """
        if not isinstance(no_cursor_timeout, bool):
            raise TypeError("find() takes no projection: a file has all of its members")
        cursor = GridOutCursor(self._storage, self._metadata, filter, skip, limit).batch_size(batch_size)
        return cursor if sort is None else cursor.sort(sort)

    # --- changes

    async def delete(self, file_id: str) -> None:
        """Delete a file. Raises NoFile."""
        await self._storage.delete(_check_text("file_id", file_id))

    async def delete_by_name(self, filename: str) -> None:
        """Delete all revisions of a name. Raises NoFile if there are none."""
        for file in await self._require_by_name(filename):
            await self._storage.delete(file.id)

    async def rename(self, file_id: str, new_filename: str) -> None:
        """Give a file another name. Its upload date stays. Raises NoFile."""
        await self._storage.change(_check_text("file_id", file_id), {"filename": _check_text("filename", new_filename)})

    async def rename_by_name(self, filename: str, new_filename: str) -> None:
        """Give all revisions of a name another name. Raises NoFile if there are none."""
        _check_text("filename", new_filename)
        for file in await self._require_by_name(filename):
            await self._storage.change(file.id, {"filename": new_filename})

    async def sweep(self, older_than: timedelta = _SWEPT_AFTER) -> int:
        """Delete the parts of uploads that were not completed, and return their number.

        Uploads that other processes have worked on within the time ``older_than`` are left alone, as they may be
        running. What this process has given up is deleted at once.
        """
        return await sweep(self._storage, older_than)

    @property
    def _metadata(self) -> Metadata[M]:
        if self._metadata_kind is None:
            # ``Bucket[PhotoMeta](…)`` sets it after ``__init__``. A subclass has it as its base.
            kinds = getattr(self, "__orig_class__", None), *get_original_bases(type(self))
            models = (each for kind in kinds for each in get_args(kind) if not isinstance(each, TypeVar))
            self._metadata_kind = Metadata(next(models, None))
        return self._metadata_kind

    def _open(self, file: StoredFile) -> GridOut[M]:
        return GridOut(self._storage, file, self._metadata)

    async def _find_by_name(self, filename: str) -> list[StoredFile]:
        """Return all revisions of a name, in the order of their uploads."""
        selector = make_selector({"filename": _check_text("filename", filename)})
        files = [StoredFile(decode(row)) async for row in self._storage.find(selector)]
        # CouchDB sorts only by an index, which the user may not be allowed to make.
        return sorted(files, key=lambda file: str(file.members["uploadDate"]))

    async def _require_by_name(self, filename: str) -> list[StoredFile]:
        if files := await self._find_by_name(filename):
            return files
        raise NoFile(f"the bucket {self._storage.name!r} has no file {filename!r}")


async def _fill(file: GridIn[Any], source: Any) -> None:
    async with file:
        # If the source fails, the file ends its upload as it leaves the context.
        async for piece in read_source(source, file.chunk_size):
            await file.write(piece)


async def _pour(file: GridOut[Any], destination: Any, start: int, progress: Progress | None) -> None:
    file.seek(start)
    async with file:
        async for chunk in file:
            await write_piece(destination, chunk)
            if progress is not None:
                progress(file.tell(), file.length)


def _short_hash(text: str) -> str:
    # A name of any length and characters becomes one of the length of an id, because it is part of the ids of parts.
    return blake2b(_check_text("resume", text).encode(), digest_size=12).hexdigest()


def _check_text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is a str, not {type(value).__name__}")
    return value


def _check_chunk_size(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"the size of a chunk is a whole number of bytes, not {value!r}")
    if value < 1:
        raise ValueError(f"a chunk has 1 byte or more, not {value}")
    return value
