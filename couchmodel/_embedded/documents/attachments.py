"""Attachments: their contents, shared where they are equal, and what a document's row says about them.

A content lies in rows of 256 KiB, so that any size streams in and out. Equal contents are stored once: SHA-256 tells
them, and not the MD5 digest that CouchDB shows, for which anybody can make two contents.
"""

import base64
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from couchmodel._embedded.documents.attachment_encoding import CHUNK, Content, Decompressor
from couchmodel._embedded.json.writer import encode_array
from couchmodel._embedded.storage.garbage import discard_blob
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._wire.messages import decode, encode
from couchmodel.errors import ServerError

__all__ = ["Attachment", "count", "inlined", "pack", "read_chunk", "save", "shown", "stage", "unpack"]


class Attachment(NamedTuple):
    """An attachment of one revision of a document, its content stored."""

    name: str
    content_type: str
    revpos: int
    blob: int
    digest: str
    length: int
    encoding: str
    encoded_length: int

    @property
    def md5(self) -> bytes:
        """The MD5 hash of the stored content."""
        return base64.b64decode(self.digest)


def pack(attachments: Sequence[Attachment]) -> bytes | None:
    """The attachments for a document's row."""
    return encode_array(attachments) if attachments else None


def unpack(packed: bytes | None) -> list[Attachment]:
    """The attachments that a document's row lists."""
    return [Attachment(*members) for members in decode(packed)] if packed else []


def shown(
    attachments: Sequence[Attachment],
    *,
    encoding_info: bool = False,
    follow: Collection[Attachment] = (),
    empty: Collection[Attachment] = (),
) -> dict[str, Any]:
    """The member ``_attachments`` of a document: as stubs, but for those that ``follow`` behind it.

    Those that are ``empty`` have their content, which is none.
    """
    following, whole = ({attachment.name for attachment in some} for some in (follow, empty))
    return {
        item.name: {**_named(item), "data": ""}
        if item.name in whole
        else _shown(item, encoding_info, item.name in following)
        for item in attachments
    }


def _shown(attachment: Attachment, encoding_info: bool, follows: bool) -> dict[str, Any]:
    member = {**_named(attachment), "length": attachment.length, "follows" if follows else "stub": True}
    return member | _encoding(attachment) if encoding_info else member


def _named(attachment: Attachment) -> dict[str, Any]:
    return {
        "content_type": attachment.content_type,
        "revpos": attachment.revpos,
        "digest": f"md5-{attachment.digest}",
    }


def _encoding(attachment: Attachment) -> dict[str, Any]:
    if not attachment.encoding:
        return {}
    return {"encoding": attachment.encoding, "encoded_length": attachment.encoded_length}


def inlined(
    connection: Connection, attachments: Sequence[Attachment], wanted: Collection[Attachment], *, encoding_info: bool
) -> Iterator[bytes]:
    """The same member as JSON, in pieces: with the contents of those that are ``wanted``."""
    names = {attachment.name for attachment in wanted}
    separator = b"{"
    for attachment in attachments:
        yield b"%b%b:" % (separator, encode(attachment.name))
        separator = b","
        if attachment.name not in names:
            yield encode(_shown(attachment, encoding_info, follows=False))
            continue
        yield encode(_named(attachment))[:-1] + b',"data":"'
        yield from _in_base64(_decoded(connection, attachment))
        encoding = _encoding(attachment) if encoding_info else {}
        yield b'",%b' % encode(encoding)[1:] if encoding else b'"}'
    yield b"}"


def _in_base64(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        data = rest + piece
        end = len(data) // 3 * 3
        yield base64.b64encode(data[:end])
        rest = data[end:]
    yield base64.b64encode(rest)


def stage(content: Content, connection: Connection) -> int:
    """Write what has arrived of a content, where no document can see it yet. The blob that it is to be.

    It is the content's once it is committed: after a transaction that fails, another content may get its number.
    """
    return _write_chunks(connection, content.blob, content.take())


def _write_chunks(connection: Connection, staged: int | None, chunks: Iterable[tuple[int, bytes]]) -> int:
    blob = connection.execute("INSERT INTO blob DEFAULT VALUES").lastrowid or 0 if staged is None else staged
    connection.executemany("INSERT INTO chunk VALUES (?, ?, ?)", ((blob, *chunk) for chunk in chunks))
    return blob


def save(connection: Connection, content: Content) -> int:
    """The blob with a content that has arrived: one that is there already, or a new one."""
    row = connection.execute(
        "SELECT number FROM blob WHERE sha256 = ? AND encoding = ?", (content.sha256, content.encoding)
    ).fetchone()
    if row is not None:
        if content.blob is not None:
            discard_blob(content.blob, connection)
        return int(row[0])
    blob = _write_chunks(connection, content.blob, content.take(everything=True))
    cursor = connection.execute(
        "UPDATE blob SET sha256 = ?, encoding = ? WHERE number = ?", (content.sha256, content.encoding, blob)
    )
    if cursor.rowcount != 1:
        raise ServerError("the attachment was given up while it arrived")
    return blob


def read_chunk(blob: int, position: int, connection: Connection) -> bytes:
    """One chunk of a stored content."""
    row = connection.execute("SELECT data FROM chunk WHERE blob = ? AND position = ?", (blob, position)).fetchone()
    if row is None:
        raise ServerError("the attachment was removed while it was read")
    return bytes(row[0])


def _decoded(connection: Connection, attachment: Attachment) -> Iterator[bytes]:
    chunks = (read_chunk(attachment.blob, position, connection) for position in range(count(attachment)))
    if attachment.encoding != "gzip":
        yield from chunks
        return
    decompressor = Decompressor()
    for chunk in chunks:
        yield from decompressor.feed(chunk)


def count(attachment: Attachment) -> int:
    """The number of an attachment's chunks."""
    return -(-attachment.encoded_length // CHUNK)
