"""Describe the attachments of a revision, as they are stored, and in the member ``_attachments`` of its document."""

import base64
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from couchmodel._embedded.documents.attachment_encoding import AttachmentDecompressor
from couchmodel._embedded.documents.contents import StoredContent, open_content, read_chunk
from couchmodel._embedded.json.writer import write
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._wire.messages import decode, encode

__all__ = [
    "Attachment",
    "attachment_stubs",
    "inline_attachments",
    "open_attachment",
    "pack",
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
    # Most documents have none, and NULL takes no space.
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
    connection: Connection,
    document_id: str,
    attachments: Sequence[Attachment],
    wanted: Collection[Attachment],
    *,
    encoding_info: bool,
) -> Iterator[bytes]:
    """Yield the member ``_attachments`` as JSON, in pieces.

    Attachments in ``wanted`` have their content as base64. All others are stubs.
    """
    # A name is unique within a revision, and is hashed faster than all members.
    names = {attachment.name for attachment in wanted}
    # The object is written piece by piece, because contents may have many megabytes.
    separator = b"{"
    for attachment in attachments:
        yield b"%b%b:" % (separator, encode(attachment.name))
        separator = b","
        if attachment.name not in names:
            yield encode(_stub(attachment, encoding_info, follows=False))
            continue
        yield encode(_description(attachment))[:-1] + b',"data":"'
        yield from _encode_base64(_read_decoded(connection, document_id, attachment))
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


def open_attachment(connection: Connection, document_id: str, attachment: Attachment) -> StoredContent:
    """Return the stored content of an attachment. Raises ServerError if it was removed in the meantime."""
    owner = f"the attachment {attachment.name!r} of the document {document_id!r}"
    return open_content(connection, owner, attachment.blob, attachment.encoded_length)


def _read_decoded(connection: Connection, document_id: str, attachment: Attachment) -> Iterator[bytes]:
    """Yield the content of an attachment in pieces, decompressed."""
    content = open_attachment(connection, document_id, attachment)
    chunks = (read_chunk(connection, content, position) for position in range(content.chunk_count))
    if attachment.encoding != "gzip":
        yield from chunks
        return
    # In base64, CouchDB gives the plain bytes, however they are stored.
    decompressor = AttachmentDecompressor()
    for chunk in chunks:
        yield from decompressor.feed(chunk)
