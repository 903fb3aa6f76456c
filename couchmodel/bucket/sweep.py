"""The removal of what uploads have left that did not end.

An upload stores its parts before the document of its file. So parts without such a document are those of an upload
that is running, or has failed. A sweep takes the id of the file, by a document called a claim, before it deletes the
parts. So an upload that ends in this moment gets an error, and never becomes a file that lacks parts.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final, NamedTuple
from urllib.parse import unquote

from couchmodel.bucket.content_writer import running_uploads
from couchmodel.bucket.storage import PROCESS, Storage
from couchmodel.bucket.times import now, parse_utc

__all__ = ["sweep"]

_BATCH: Final = 100


class _Upload(NamedTuple):
    """The parts of an upload. ``last`` is the id of the document of the last one."""

    file_id: str
    name: str
    last: str


async def sweep(storage: Storage, older_than: timedelta) -> int:
    """Delete the parts of uploads that have no file, and return their number. ``Bucket.sweep`` says which."""
    count = 0
    batch: list[_Upload] = []
    async for upload in _uploads(storage):
        batch.append(upload)
        if len(batch) == _BATCH:
            count += await _sweep_batch(storage, batch, older_than)
            batch.clear()
    count += await _sweep_batch(storage, batch, older_than)
    await storage.release_claims(now() - older_than)
    return count


async def _uploads(storage: Storage) -> AsyncIterator[_Upload]:
    """Yield the uploads that have stored parts."""
    start, last = "", ""
    async for id in storage.part_ids():
        # The ids are sorted, so the parts of an upload come one after the other.
        upload = id.rpartition("/")[0]
        if last and upload != start:
            yield _parse(storage, last)
        start, last = upload, id
    if last:
        yield _parse(storage, last)


def _parse(storage: Storage, part_id: str) -> _Upload:
    file_id, upload, _ = part_id.removeprefix(storage.layout.parts).split("/")
    return _Upload(unquote(file_id), upload, part_id)


async def _sweep_batch(storage: Storage, batch: list[_Upload], older_than: timedelta) -> int:
    count = 0
    completed = await storage.uploads_of([upload.file_id for upload in batch])
    for upload in batch:
        if upload.name in completed or not await _is_given_up(storage, upload, older_than):
            continue
        claim = await storage.claim(upload.file_id, upload.name)
        if claim is not None:
            count += await storage.delete_parts(upload.file_id, upload.name)
            await claim.release()
    return count


async def _is_given_up(storage: Storage, upload: _Upload, older_than: timedelta) -> bool:
    # The parts are stored in their order, two at a time, so the last one tells when the upload has moved.
    part = await storage.part_info(upload.last)
    if part is None:  # the upload was aborted, or another sweep was first
        return False
    if part["process"] == PROCESS:
        return upload.name not in running_uploads()
    return now() - parse_utc(part["stored_at"]) >= older_than
