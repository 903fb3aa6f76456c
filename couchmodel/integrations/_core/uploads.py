"""Attachments up and down: limits while they stream, and ranges."""

import base64
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final

from couchmodel._model.model import CouchModel
from couchmodel._model.schema.attachments import AttachmentField, AttachmentLabel
from couchmodel.errors import AttachmentError, NotFoundError
from couchmodel.integrations._core.conditions import entity_tag, is_unchanged
from couchmodel.integrations._core.messages import Answer, Call, content_encoding
from couchmodel.integrations._core.problems import ProblemError
from couchmodel.integrations.files.ranges import ByteRange, UnsatisfiableError, requested_ranges
from couchmodel.integrations.files.served import ServedFile

__all__ = ["attachment_at", "download", "upload"]

_MD5_BYTES: Final = 16

_SAFE_HEADERS: Final = {
    "accept-ranges": "bytes",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
}
"""Headers of every download. What a user has uploaded is not to run as a page of the application.

GitHub serves the files of users by the same policy.
"""


def attachment_at(document: CouchModel, field: str, name: str | None) -> Any:
    """Return an attachment of a document: that of a field, or the one of a name in a field that has several.

    Raises ProblemError 404 for a name that no attachment may have.
    """
    found = getattr(document, field)
    if name is None:
        return found
    try:
        return found[name]
    except AttachmentError:
        raise ProblemError(404, f"{document.id!r} has no {field!r} of the name {name!r}.") from None


async def upload(call: Call, document: CouchModel, attachment: Any, field: AttachmentField) -> bool:
    """Store the body of a request as an attachment. Return True if there was none before.

    Raises ProblemError 415 for a media type that the field does not allow and for an unknown encoding, 413 for a body
    that is too large, 422 for one that is too small, and 400 for one that does not match its Content-MD5.
    """
    content_type = call.headers.get("content-type", "").strip()
    if not content_type:
        raise ProblemError(415, "The media type is missing: send it in the header Content-Type.")
    label = AttachmentLabel(f"{field.field_name!r} of {document.id!r}", field.field_name)
    try:
        field.check_type(content_type, label)
    except AttachmentError as error:
        raise ProblemError(415, f"{error}.") from None
    is_new, body = not attachment, _Body(call, field.max_size)
    if body.is_too_large:
        raise _too_large(label, field)
    try:
        await attachment.save(body.pieces(), content_type)
    except AttachmentError as error:
        if body.is_too_large:
            raise _too_large(label, field) from None
        if isinstance(error.__cause__, ProblemError):  # the body broke off, or is another one than its headers say
            raise error.__cause__ from None
        raise ProblemError(422, f"{error}.") from None
    return is_new


def _too_large(label: AttachmentLabel, field: AttachmentField) -> ProblemError:
    return ProblemError(413, f"{label} may have at most {field.max_size or 0:,} bytes.")


class _Body:
    """The body of an upload, which is found too large by its announced length or as it streams."""

    def __init__(self, call: Call, max_size: int | None) -> None:
        self._call = call
        self._max_size = max_size
        # The length that is announced is that of the packed body.
        announced = "" if content_encoding(call.headers) else call.headers.get("content-length", "")
        self._size = int(announced) if announced.isascii() and announced.isdecimal() else 0
        self._expected = _content_md5(call.headers)

    @property
    def is_too_large(self) -> bool:
        """True if the field allows fewer bytes."""
        return self._max_size is not None and self._size > self._max_size

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the bytes, up to the first too many."""
        self._size, md5 = 0, hashlib.md5(usedforsecurity=False)
        async for piece in self._call.stream():
            self._size += len(piece)
            if self._expected is not None:
                md5.update(piece)
            yield piece
            # The piece was yielded, so that the field refuses it and the request to the store breaks off.
            if self.is_too_large:
                return
        # Before the end of the body, so that nothing is stored.
        if self._expected not in (None, md5.digest()):
            raise ProblemError(400, "The body does not match its Content-MD5.")


def _content_md5(headers: Mapping[str, str]) -> bytes | None:
    """Return the digest of the header Content-MD5; None if there is none. Raises ProblemError 400 for a broken one."""
    text = headers.get("content-md5")
    if text is None:
        return None
    if content_encoding(headers):
        raise ProblemError(400, "A packed body cannot be compared with Content-MD5: leave the header out.")
    try:
        digest = base64.b64decode(text, validate=True)
    except ValueError:
        digest = b""
    if len(digest) != _MD5_BYTES:
        raise ProblemError(400, "Content-MD5 has to be 16 bytes in base64.")
    return digest


async def download(call: Call, document: CouchModel, attachment: Any, name: str) -> Answer:
    """Return an attachment, or the range of it that a request asks for. Raises ProblemError 404 if there is none."""
    if not attachment:
        raise ProblemError(404, f"{document.id!r} has no {name!r}.")
    # The digest of an attachment that was just saved is not known. The revision changes whenever the content does.
    tag = attachment.digest or f"{document.rev}-{name}"
    headers = {**_SAFE_HEADERS, "etag": entity_tag(tag)}
    if is_unchanged(call.headers, tag):
        return Answer(304, headers=headers)
    length: int = attachment.length
    found = _asked_range(call, attachment, tag)
    start, stop = found or (0, length)
    headers["content-length"] = str(stop - start)
    if found is not None:
        headers["content-range"] = f"bytes {start}-{stop - 1}/{length}"
    if call.method == "HEAD" or start == stop:
        body: Any = b""
    else:
        body = await _begun(attachment.stream(start=start, stop=None if found is None else stop))
    return Answer(200 if found is None else 206, body, headers, attachment.content_type)


def _asked_range(call: Call, attachment: Any, tag: str) -> ByteRange | None:
    """Return the range that is asked for; None for the whole, also where several are asked for.

    Raises ProblemError 416 for a range outside.
    """
    # Ranges are read as those of served files are, of which only length and tag count here.
    file = ServedFile("", attachment.content_type, attachment.length, tag, lambda start, stop: attachment.stream())
    try:
        ranges = requested_ranges(file, call.headers)
    except UnsatisfiableError:
        headers = {"content-range": f"bytes */{attachment.length}"}
        raise ProblemError(416, "The range lies outside the attachment.", headers=headers) from None
    return ranges[0] if len(ranges) == 1 else None


async def _begun(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Return a stream whose first piece has arrived, so that what is missing is no answer 200 that breaks off."""
    stream: Any = pieces
    try:
        first = await anext(stream, b"")
    except NotFoundError:
        raise ProblemError(404, "The attachment does not exist any more.") from None
    return _rest(first, stream)


async def _rest(first: bytes, stream: Any) -> AsyncGenerator[bytes, None]:
    async with aclosing(stream) as pieces:
        yield first
        async for piece in pieces:
            yield piece
