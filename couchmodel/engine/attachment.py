"""Attachments of documents: bytes with a media type, streamed both ways and compared with their digest."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, Protocol

from couchmodel._wire.contents import digest_of, is_stored_plain, plain_length
from couchmodel._wire.messages import JSON_TYPE, Request, request_target
from couchmodel.engine._io.downloads import Download, open_attachment
from couchmodel.engine._io.session import Session
from couchmodel.engine._io.uploads import Content, UploadSource
from couchmodel.errors import (
    ConfigurationError,
    ConflictError,
    ConnectError,
    CouchModelError,
    NotFoundError,
    ProtocolError,
    TransportError,
)
from couchmodel.types import JSONObject, WriteAnswer

__all__ = ["Attachment", "attachment_path", "compare_stored", "explain_upload_error"]

_IDENTITY_HEADERS: Final = {"accept": "*/*", "accept-encoding": "identity"}
"""Headers of a request for the unpacked bytes: only then does CouchDB tell their length."""

_UNKNOWN_REV: Final = "unknown"
"""Stands for the stored revision if the server does not answer."""


class OwnerDocument(Protocol):
    """The part of a document that an attachment uses."""

    @property
    def session(self) -> Session: ...
    @property
    def path(self) -> tuple[str, ...]: ...
    @property
    def rev(self) -> str | None: ...
    def note_attachment(self, rev: str, name: str, stub: JSONObject | None) -> None: ...


class Attachment:
    """An attachment of a document. Creating the object sends nothing.

    ``content_type``, ``length`` (in bytes) and ``digest`` (CouchDB's, such as ``"md5-…"``) are known after
    :meth:`exists` and after the attachment was read. They are None before, and if the server does not send them.
    """

    def __init__(self, document: OwnerDocument, id: str) -> None:
        """Raises ConfigurationError if no attachment may have the name ``id``."""
        self.id = id
        self.content_type: str | None = None
        self.length: int | None = None
        self.digest: str | None = None
        self._document = document
        self._path = attachment_path(document.path, id)

    def __repr__(self) -> str:
        return f"<Attachment {'/'.join(self._path)}>"

    async def exists(self) -> bool:
        """Return True if the stored document has the attachment now."""
        try:
            response = await self._document.session.send(Request("HEAD", self._path, headers=_IDENTITY_HEADERS))
        except NotFoundError:
            return False
        self.content_type = response.headers.get("content-type")
        self.digest = digest_of(response.headers)
        self.length = plain_length(response.headers)
        return True

    async def fetch(self, start: int = 0, stop: int | None = None) -> bytes:
        """Return all bytes, or those from ``start`` up to, but not including, ``stop``.

        Raises NotFoundError; RangeNotSatisfiableError if the attachment ends before ``start``; ConfigurationError if
        ``stop`` is not after ``start``; ProtocolError if the bytes did not arrive as they are stored.
        """
        return b"".join([piece async for piece in self.stream(start, stop)])

    async def fetch_if_changed(self, digest: str | None = None) -> bytes | None:
        """Return all bytes, or None if the stored attachment still has this digest.

        Without ``digest``, the digest that is known here is compared. Raises NotFoundError; ProtocolError if the bytes
        did not arrive as they are stored.
        """
        download = await open_attachment(self._document.session, self._path, known_digest=digest or self.digest)
        return None if download is None else b"".join([piece async for piece in self._read(download)])

    async def stream(
        self, start: int = 0, stop: int | None = None, *, resume: bool = False
    ) -> AsyncGenerator[bytes, None]:
        """Yield the bytes, or a range of them, in pieces as they arrive. Raises the errors of :meth:`fetch`.

        With ``resume``, a download whose connection breaks goes on where it broke off, unless another content is stored
        by then.

        The digest can be checked only at the end, so do not rely on the pieces before the iteration has ended.
        """
        download = await open_attachment(self._document.session, self._path, start, stop, resume=resume)
        if download is not None:
            async with aclosing(self._read(download)) as pieces:
                async for piece in pieces:
                    yield piece

    async def save(self, data: Content, content_type: str | None = None, length: int | None = None) -> WriteAnswer:
        """Store the attachment, which makes a new revision of its document.

        ``data`` is bytes or another buffer, an open file, the path of a file, an upload of a web framework, or an async
        iterator of bytes, whose ``length`` may be given. All but short contents (up to 1 MiB) are streamed. The stored
        attachment is then compared with what was sent. If ``content_type`` is not given, it is that of the upload, or
        guessed from the name of the file.

        Unsaved changes of the document stay unsaved, and can be saved after this. Raises ConflictError if another
        revision of the document is stored by now; ConfigurationError if the document is not stored; ProtocolError if
        the attachment was not stored as it was sent; another TransportError if no answer came, with a message that says
        what is stored.
        """
        rev = self._document.rev
        if rev is None:
            raise ConfigurationError(f"save the document before its attachment {self.id!r}")
        source = UploadSource(data, length, content_type)
        await source.load_short()
        answer, digest = await _write_attachment(self._document.session, self._path, rev, source)
        self.content_type, self.length, self.digest = source.content_type, source.size, None
        revpos = int(answer["rev"].partition("-")[0])
        stub = {"content_type": self.content_type, "length": self.length, "revpos": revpos, "stub": True}
        if digest is not None:
            stub["digest"] = digest
        self._document.note_attachment(answer["rev"], self.id, stub)
        return answer

    async def delete(self) -> WriteAnswer:
        """Delete the attachment, which makes a new revision of its document. Raises NotFoundError, ConflictError."""
        rev = self._document.rev
        if rev is None:
            raise ConfigurationError(f"the document of attachment {self.id!r} is not stored")
        answer: WriteAnswer = await self._document.session.json(Request("DELETE", self._path, {"rev": rev}))
        self.content_type = self.length = self.digest = None
        self._document.note_attachment(answer["rev"], self.id, None)
        return answer

    async def _read(self, download: Download) -> AsyncGenerator[bytes, None]:
        self.content_type, self.length, self.digest = download.content_type, download.length, download.digest
        async with aclosing(download.pieces()) as pieces:
            async for piece in pieces:
                yield piece
        self.length = download.length


def attachment_path(document: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Return the path of an attachment.

    Raises ConfigurationError if the name would lead to another path (``.``, ``..``) or is reserved (``_…``).
    """
    if not isinstance(name, str) or name in ("", ".", "..") or name.startswith("_"):
        raise ConfigurationError(f"an attachment cannot be named {name!r}")
    return (*document, name)


async def _write_attachment(
    session: Session, path: tuple[str, ...], rev: str, source: UploadSource
) -> tuple[WriteAnswer, str | None]:
    """Store an attachment of the document whose stored revision is ``rev``. Return the digest that CouchDB gave it.

    Raises ConflictError; ProtocolError if the content was not stored as it was sent; another TransportError if no
    answer came, with a message that says what is stored.
    """
    headers = {"accept": JSON_TYPE, "content-type": source.content_type}
    if source.short_body is None and source.length is not None:
        headers["content-length"] = str(source.length)
    body = source if source.short_body is None else source.short_body
    try:
        answer: WriteAnswer = await session.json(Request("PUT", path, {"rev": rev}, headers, body))
    except ConnectError:  # nothing was sent, so nothing can be stored
        raise
    except TransportError as error:
        is_complete = source.short_body is not None or source.is_complete
        raise await explain_upload_error(session, path[:-1], rev, error, is_complete=is_complete) from error
    return answer, await _check_stored(session, path, answer["rev"], source)


async def explain_upload_error(
    session: Session, document: tuple[str, ...], rev: str | None, error: TransportError, *, is_complete: bool
) -> CouchModelError:
    """Return the error of an upload that got no answer, with a message that says what is stored.

    ``is_complete`` is True if all bytes had been sent. CouchDB makes the new revision when the last byte has arrived,
    so an incomplete upload was not stored. But CouchDB may refuse an upload before that byte and close the connection,
    so that the refusal is lost: if the document has another revision by now, the refusal was a conflict.
    """
    stored = await _stored_rev(session, document)
    if is_complete:
        return type(error)(f"{error}; {_describe_unknown_outcome(rev, stored)}")
    # The upload was incomplete, so the new revision is not its own.
    if stored not in (_UNKNOWN_REV, rev):
        return ConflictError("Document update conflict.", method="PUT", path=request_target(document))
    explained = type(error)(f"{error}; the document is unchanged")
    explained.carried_out = False
    return explained


async def _stored_rev(session: Session, document: tuple[str, ...]) -> str | None:
    try:
        tag = (await session.send(Request("HEAD", document))).headers.get("etag", _UNKNOWN_REV)
    except NotFoundError:
        return None
    except CouchModelError:
        return _UNKNOWN_REV
    return tag.removeprefix("W/").strip('"')


def _describe_unknown_outcome(rev: str | None, stored: str | None) -> str:
    """Describe the state of an upload that was sent completely. The network may still have lost a part of it."""
    if stored == _UNKNOWN_REV:
        return f"it is stored as a whole, or not at all if the document is still {rev or 'missing'}"
    if stored == rev:
        return "the document was still unchanged a moment later"
    return f"the document is {stored or 'deleted'} now: fetch it to see whether this is by you"


async def _check_stored(session: Session, path: tuple[str, ...], rev: str, source: UploadSource) -> str | None:
    """Return the digest of a stored attachment; None if it is not known.

    CouchDB ignores Content-MD5, so the comparison is made here. Raises ProtocolError if the attachment differs from
    what was sent.
    """
    try:
        headers = (await session.send(Request("HEAD", path, {"rev": rev}, _IDENTITY_HEADERS))).headers
    except NotFoundError:
        return None  # the attachment was replaced meanwhile, and this revision compacted away
    digest = digest_of(headers)
    # CouchDB packs some types, and has the digest of the packed bytes. Then only the length is compared.
    compare_stored(path[-1], rev, source, plain_length(headers), digest if is_stored_plain(headers) else None)
    return digest


def compare_stored(name: str, rev: str, source: UploadSource, length: int | None, digest: str | None) -> None:
    """Raise ProtocolError if the length or the digest of a stored attachment, as far as known, is not what was sent."""
    for there, here in ((length, source.size), (digest, str(source.digest))):
        if there not in (None, here):
            message = f"attachment {name!r} was stored in revision {rev}, but not as it was sent"
            raise ProtocolError(f"{message} ({there} is there, {here} was sent): save or delete it again")
