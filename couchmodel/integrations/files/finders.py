"""The finders of attachments and of files of buckets."""

import mimetypes
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any, Final

from couchmodel.bucket import Bucket, GridOut, NoFile
from couchmodel.engine import Attachment, CouchDB, Database, Document
from couchmodel.errors import BadRequestError, ConfigurationError, NotFoundError
from couchmodel.integrations.files.served import Finder, ServedFile

__all__ = ["attachment_file", "attachments_of", "bucket_file", "files_of"]

_DEFAULT_TYPE: Final = "application/octet-stream"

_LEAST_BYTES: Final = 64 * 1024
"""The bytes of a piece, where chunks are smaller."""


def files_of(bucket: Bucket[Any], *, by_name: bool = False) -> Finder:
    """Return the finder of the files of a bucket: by their ids, or with ``by_name`` the newest of a name."""

    async def find(path: Sequence[str]) -> ServedFile | None:
        # Ids and names of files may have slashes.
        key = "/".join(path)
        opening = bucket.open_download_stream_by_name(key) if by_name else bucket.open_download_stream(key)
        try:
            return bucket_file(await opening)
        except (NoFile, BadRequestError):
            return None

    return find


def attachments_of(place: Database | CouchDB, *databases: str) -> Finder:
    """Return the finder of all attachments of a database, by the path ``/document/name``.

    With a server in place of the database, the path is ``/database/document/name``, as in the ``url`` of an attachment
    that a model is dumped with. ``databases`` are the ones that are served. Raises ConfigurationError without any.
    """
    if not isinstance(place, Database) and not databases:
        raise ConfigurationError("name the databases whose attachments are served: attachments_of(couch, 'recipes')")

    async def find(path: Sequence[str]) -> ServedFile | None:
        database, inside = (place, path) if isinstance(place, Database) else (None, path[1:])
        if database is None and path[0] in databases and isinstance(place, CouchDB):
            database = Database(place, path[0])
        # Documents of CouchDB's own, such as design documents, are not for everybody.
        if database is None or len(inside) < 2 or inside[0].startswith("_"):
            return None
        try:
            return await attachment_file(Document(database, inside[0]).attachment("/".join(inside[1:])))
        except (BadRequestError, ConfigurationError):  # an id or a name that cannot exist
            return None

    return find


def bucket_file(file: GridOut[Any]) -> ServedFile:
    """Return a file of a bucket as it is served. Its media type is guessed from its name if none was set."""

    async def read(start: int, stop: int) -> AsyncIterator[bytes]:
        await file.check_parts(start, stop)
        file.seek(start)
        async with file:
            while piece := await file.read(min(size, stop - file.tell())):
                yield piece

    size = max(file.chunk_size, _LEAST_BYTES)
    kind = file.content_type or _type_of(file.filename)
    return ServedFile(file.filename, kind, file.length, file.sha256, read, file.upload_date)


def _type_of(name: str) -> str:
    """Return the media type that the name of a file suggests. Bytes that are compressed are served as they are."""
    kind, compression = mimetypes.guess_type(name)
    if compression is not None:
        return "application/gzip" if compression == "gzip" else _DEFAULT_TYPE
    return kind or _DEFAULT_TYPE


async def attachment_file(attachment: Attachment) -> ServedFile | None:
    """Return an attachment of the engine as it is served; None if it does not exist."""
    try:
        if not await attachment.exists():
            return None
    except NotFoundError:
        return None

    async def read(start: int, stop: int) -> AsyncIterator[bytes]:
        # Without a range, the content is compared with its digest.
        is_whole = start == 0 and stop == (attachment.length or 0)
        async with aclosing(attachment.stream(start, None if is_whole else stop)) as pieces:
            async for piece in pieces:
                yield piece

    name = attachment.id.rpartition("/")[2]
    kind = attachment.content_type or _DEFAULT_TYPE
    tag = (attachment.digest or "").removeprefix("md5-")
    return ServedFile(name, kind, attachment.length, tag, read)
