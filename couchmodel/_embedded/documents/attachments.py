"""Store and read the contents of attachments, and write the member ``_attachments`` of documents.

A content is stored in rows of 256 KiB, so that a content of any size can be streamed. Equal contents are stored once.
They are compared by SHA-256 and not by the MD5 digest that CouchDB shows, since two contents with the same MD5 are easy
to make.
"""

import base64
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from couchmodel._embedded import limits
from couchmodel._embedded.documents.attachment_encoding import AttachmentDecompressor, Content
from couchmodel._embedded.json.writer import write
from couchmodel._embedded.storage.garbage import discard_blob
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._wire.messages import decode, encode
from couchmodel.errors import ServerError

__all__ = [
    "Attachment",
    "attachment_stubs",
    "count_chunks",
    "inline_attachments",
    "pack",
    "read_chunk",
    "save_content",
    "stage_content",
    "unpack",
]


class Attachment(NamedTuple):
    """An attachment of a stored revision. ``blob`` is the number of its content.

    The order of the members is the stored format: see ``pack``.
    """

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
        """The MD5 hash of the stored content, 16 bytes."""
        return base64.b64decode(self.digest)


def pack(attachments: Sequence[Attachment]) -> bytes | None:
    """Return the attachments as JSON for the column ``attachments``, or None if there are none."""
    return write(attachments) if attachments else None


def unpack(packed: bytes | None) -> list[Attachment]:
    """Return the attachments from the column ``attachments``."""
    return [Attachment(*members) for members in decode(packed)] if packed else []


def attachment_stubs(
    attachments: Sequence[Attachment],
    *,
    encoding_info: bool = False,
    follow: Collection[Attachment] = (),
    empty: Collection[Attachment] = (),
) -> dict[str, Any]:
    """Return the member ``_attachments`` of a document.

    Attachments in ``follow`` are marked as ``follows``. Attachments in ``empty`` have an empty ``data``. All others are
    stubs.
    """
    following, whole = ({attachment.name for attachment in some} for some in (follow, empty))
    return {
        item.name: {**_description(item), "data": ""}
        if item.name in whole
        else _stub(item, encoding_info, item.name in following)
        for item in attachments
    }


def _stub(attachment: Attachment, encoding_info: bool, follows: bool) -> dict[str, Any]:
    """Return the description of an attachment without its content: a stub, or one whose content follows."""
    member = {**_description(attachment), "length": attachment.length, "follows" if follows else "stub": True}
    return member | _encoding_info(attachment) if encoding_info else member


def _description(attachment: Attachment) -> dict[str, Any]:
    return {
        "content_type": attachment.content_type,
        "revpos": attachment.revpos,
        "digest": f"md5-{attachment.digest}",
    }


def _encoding_info(attachment: Attachment) -> dict[str, Any]:
    """Return the members that ``att_encoding_info=true`` adds, if the content is stored compressed."""
    if not attachment.encoding:
        return {}
    return {"encoding": attachment.encoding, "encoded_length": attachment.encoded_length}


def inline_attachments(
    connection: Connection, attachments: Sequence[Attachment], wanted: Collection[Attachment], *, encoding_info: bool
) -> Iterator[bytes]:
    """Yield the member ``_attachments`` as JSON, in pieces.

    Attachments in ``wanted`` have their content as base64. All others are stubs.
    """
    names = {attachment.name for attachment in wanted}
    separator = b"{"
    for attachment in attachments:
        yield b"%b%b:" % (separator, encode(attachment.name))
        separator = b","
        if attachment.name not in names:
            yield encode(_stub(attachment, encoding_info, follows=False))
            continue
        yield encode(_description(attachment))[:-1] + b',"data":"'
        yield from _encode_base64(_read_decoded(connection, attachment))
        encoding = _encoding_info(attachment) if encoding_info else {}
        yield b'",%b' % encode(encoding)[1:] if encoding else b'"}'
    yield b"}"


def _encode_base64(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""  # base64 encodes groups of three bytes
    for piece in pieces:
        data = rest + piece
        end = len(data) // 3 * 3
        yield base64.b64encode(data[:end])
        rest = data[end:]
    yield base64.b64encode(rest)


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

    It is a stored blob with equal content, or a new one. Raises ServerError if the staged blob was removed as garbage
    before the content was complete.
    """
    row = connection.execute(
        "SELECT number FROM blob WHERE sha256 = ? AND encoding = ?", (content.sha256, content.encoding)
    ).fetchone()
    if row is not None:
        # What was staged of it is not needed: an equal content is stored already.
        if content.blob is not None:
            discard_blob(connection, content.blob)
        return int(row[0])
    blob = _write_chunks(connection, content.blob, content.take(everything=True))
    cursor = connection.execute(
        "UPDATE blob SET sha256 = ?, encoding = ? WHERE number = ?", (content.sha256, content.encoding, blob)
    )
    if cursor.rowcount != 1:
        raise ServerError("the attachment was given up while it arrived")
    return blob


def read_chunk(connection: Connection, blob: int, position: int) -> bytes:
    """Return one chunk of a stored content. Raises ServerError if the content was removed in the meantime."""
    row = connection.execute("SELECT data FROM chunk WHERE blob = ? AND position = ?", (blob, position)).fetchone()
    if row is None:
        raise ServerError("the attachment was removed while it was read")
    return bytes(row[0])


def _read_decoded(connection: Connection, attachment: Attachment) -> Iterator[bytes]:
    """Yield the content of an attachment in pieces, decompressed."""
    chunks = (read_chunk(connection, attachment.blob, position) for position in range(count_chunks(attachment)))
    if attachment.encoding != "gzip":
        yield from chunks
        return
    decompressor = AttachmentDecompressor()
    for chunk in chunks:
        yield from decompressor.feed(chunk)


def count_chunks(attachment: Attachment) -> int:
    """Return the number of chunks of an attachment."""
    # Rounded up: the last chunk may be short.
    return -(-attachment.encoded_length // limits.CHUNK_BYTES)
