"""Store and read the contents of attachments, and compare what is read with checksums.

A content is stored in rows of 256 KiB, so that a content of any size can be streamed. Equal contents are stored once.
They are compared by SHA-256 and not by the MD5 digest that CouchDB shows, since two contents with the same MD5 are easy
to make.

Each chunk has a CRC-32, which finds what a disk has damaged. MD5 would find it too, but only at the end of a content,
and it takes seven times as long. The checksums are not in the rows of the chunks but together in the row of the blob:
so a chunk at the wrong place is found, and a reader knows from the beginning whether all bytes will be compared.
"""

import zlib
from collections.abc import Iterable
from typing import NamedTuple

from couchmodel._embedded import limits
from couchmodel._embedded.documents.attachment_encoding import CHECKSUM_BYTES, Content
from couchmodel._embedded.storage.garbage import discard_blob
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel.errors import ServerError

__all__ = [
    "StoredContent",
    "count_chunks",
    "matches_checksum",
    "open_content",
    "read_chunk",
    "save_content",
    "stage_content",
]


class StoredContent(NamedTuple):
    """A stored content. ``owner`` names its attachment and document in errors.

    ``length`` is the number of stored bytes. ``checksums`` is None if the content was stored before there were any.
    """

    owner: str
    blob: int
    length: int
    checksums: bytes | None

    @property
    def chunk_count(self) -> int:
        """The number of chunks. The last one may be short."""
        return count_chunks(self.length)


def count_chunks(length: int) -> int:
    """Return the number of chunks of a content of ``length`` stored bytes."""
    return -(-length // limits.CHUNK_BYTES)


# --- writes


def stage_content(connection: Connection, content: Content) -> int:
    """Write the chunks that have arrived to a blob that no document uses yet. Return the number of the blob.

    The caller sets ``content.blob`` only after the commit. If the transaction fails, another content may get the same
    number.
    """
    return _write_chunks(connection, content.blob, content.take())


def _write_chunks(connection: Connection, staged: int | None, chunks: Iterable[tuple[int, bytes]]) -> int:
    blob = connection.execute("INSERT INTO blob DEFAULT VALUES").lastrowid or 0 if staged is None else staged
    connection.executemany("INSERT INTO chunk VALUES (?, ?, ?)", ((blob, *chunk) for chunk in chunks))
    return blob


def save_content(connection: Connection, content: Content) -> int:
    """Return the number of the blob that holds a finished content.

    It is a stored blob with equal content, or a new one. A stored one that is damaged is repaired. Raises ServerError
    if the staged blob was removed as garbage before the content was complete.
    """
    twin = find_twin(connection, content)
    if twin is not None:
        if content.damaged_twin == twin.blob or (not content.may_be_staged and _is_damaged(connection, twin)):
            _replace_chunks(connection, twin.blob, content)
        # What was staged of it is not needed: an equal content is stored already.
        if content.blob is not None:
            discard_blob(connection, content.blob)
        connection.execute(
            "UPDATE blob SET checksums = ? WHERE number = ? AND checksums IS NOT ?",
            (twin.checksums, twin.blob, twin.checksums),
        )
        return twin.blob
    blob = _write_chunks(connection, content.blob, content.take())
    cursor = connection.execute(
        "UPDATE blob SET sha256 = ?, encoding = ?, checksums = ? WHERE number = ?",
        (content.sha256, content.encoding, bytes(content.checksums), blob),
    )
    if cursor.rowcount != 1:
        raise ServerError("the attachment was given up while it arrived")
    return blob


def find_twin(connection: Connection, content: Content) -> StoredContent | None:
    """Return the stored content that equals a finished one, with the checksums that it has to have; None if none does.

    The caller reads one that :attr:`Content.may_be_staged`, before the write, and sets ``content.damaged_twin``.
    """
    row = connection.execute(
        "SELECT number FROM blob WHERE sha256 = ? AND encoding = ?", (content.sha256, content.encoding)
    ).fetchone()
    if row is None:
        return None
    return StoredContent("the stored content", row[0], content.encoded_length, bytes(content.checksums))


def _is_damaged(connection: Connection, stored: StoredContent) -> bool:
    try:
        for position in range(stored.chunk_count):
            read_chunk(connection, stored, position)
    except ServerError:
        return True
    return False


def _replace_chunks(connection: Connection, blob: int, content: Content) -> None:
    """Put the chunks of a finished content in the place of those of a blob."""
    connection.execute("DELETE FROM chunk WHERE blob = ?", (blob,))
    connection.execute("UPDATE chunk SET blob = ? WHERE blob = ?", (blob, content.blob))
    _write_chunks(connection, blob, content.take())


# --- reads


def open_content(connection: Connection, owner: str, blob: int, length: int) -> StoredContent:
    """Return a stored content of ``length`` bytes. Raises ServerError if it was removed in the meantime."""
    row = connection.execute("SELECT checksums FROM blob WHERE number = ?", (blob,)).fetchone()
    if row is None:
        raise _removed()
    return StoredContent(owner, blob, length, row[0])


def read_chunk(connection: Connection, content: StoredContent, position: int) -> bytes:
    """Return one chunk of a stored content.

    Raises ServerError if the chunk is not the one that was written, or if the content was removed in the meantime.
    """
    blob = content.blob
    row = connection.execute("SELECT data FROM chunk WHERE blob = ? AND position = ?", (blob, position)).fetchone()
    if row is None and connection.execute("SELECT 1 FROM blob WHERE number = ?", (blob,)).fetchone() is None:
        raise _removed()
    data = b"" if row is None else bytes(row[0])
    first = position * limits.CHUNK_BYTES
    stop = min(first + limits.CHUNK_BYTES, content.length)
    if len(data) != stop - first or not matches_checksum(content.checksums, position, data):
        state = "missing" if row is None else "not those that were written"
        raise ServerError(f"{content.owner} is damaged: its stored bytes {first} to {stop - 1} are {state}")
    return data


def matches_checksum(checksums: bytes | None, position: int, data: bytes) -> bool:
    """Return True if a chunk has its checksum, or if the content has none."""
    if checksums is None:
        return True
    start = position * CHECKSUM_BYTES
    return zlib.crc32(data).to_bytes(CHECKSUM_BYTES) == checksums[start : start + CHECKSUM_BYTES]


def _removed() -> ServerError:
    return ServerError("the attachment was removed while it was read")
