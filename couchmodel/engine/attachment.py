"""An attachment of a document: bytes with a media type, streamed both ways and checked."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, Protocol

from couchmodel._wire.contents import digest_of, is_stored_plain, plain_length
from couchmodel._wire.messages import JSON_TYPE, Request, target
from couchmodel.engine._io.downloads import Download, open_attachment
from couchmodel.engine._io.session import Session
from couchmodel.engine._io.uploads import Content, Source, guess_type
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

__all__ = ["Attachment", "attachment_path", "delete_attachment", "explain", "write_attachment"]

_PLAIN: Final = {"accept": "*/*", "accept-encoding": "identity"}
"""Unpacked, for then its length is told."""

_UNKNOWN: Final = "unknown"


class Owner(Protocol):
    """What an attachment needs of its document: an address, a revision, and word of a new one."""

    @property
    def session(self) -> Session: ...
    @property
    def path(self) -> tuple[str, ...]: ...
    @property
    def rev(self) -> str | None: ...
    def attached(self, rev: str, name: str, stub: JSONObject | None) -> None: ...


class Attachment:
    """An attachment by name. Making one sends nothing.

    ``content_type``, ``length`` in bytes, and ``digest``, which is CouchDB's, such as ``"md5-…"``, are known after
    :meth:`exists` and after it was read; None before, and where the server does not tell.
    """

    def __init__(self, document: Owner, id: str) -> None:
        """Raises ConfigurationError for a name that no attachment may have."""
        self.id = id
        self.content_type: str | None = None
        self.length: int | None = None
        self.digest: str | None = None
        self._document = document
        self._path = attachment_path(document.path, id)

    def __repr__(self) -> str:
        return f"<Attachment {'/'.join(self._path)}>"

    async def exists(self) -> bool:
        """Whether the document has it now."""
        try:
            response = await self._document.session.send(Request("HEAD", self._path, headers=_PLAIN))
        except NotFoundError:
            return False
        self.content_type = response.headers.get("content-type")
        self.digest = digest_of(response.headers)
        self.length = plain_length(response.headers)
        return True

    async def fetch(self, start: int = 0, stop: int | None = None) -> bytes:
        """The whole of it, or the bytes from ``start`` up to, but not including, ``stop``.

        Raises NotFoundError; RangeNotSatisfiableError where it ends before ``start``; ProtocolError where it did not
        arrive as it is stored.
        """
        return b"".join([piece async for piece in self.stream(start, stop)])

    async def fetch_if_changed(self, digest: str | None = None) -> bytes | None:
        """The whole of it, or None where it still has this digest, or else the one that is known here.

        Raises NotFoundError; ProtocolError where it did not arrive as it is stored.
        """
        download = await open_attachment(self._document.session, self._path, unless=digest or self.digest)
        return None if download is None else b"".join([piece async for piece in self._read(download)])

    async def stream(self, start: int = 0, stop: int | None = None) -> AsyncGenerator[bytes, None]:
        """It, or a range of it, in pieces as they arrive. Raises what :meth:`fetch` raises.

        That it is not as stored shows at its end only: believe in the pieces when the iteration is over.
        """
        download = await open_attachment(self._document.session, self._path, start, stop)
        if download is not None:
            async with aclosing(self._read(download)) as pieces:
                async for piece in pieces:
                    yield piece

    async def save(self, data: Content, content_type: str | None = None, length: int | None = None) -> WriteAnswer:
        """Store it, and with it a new revision of its document.

        ``data`` is bytes, an open binary file, the path of a file, or an async iterator of bytes, whose ``length`` may
        be given. All but bytes are streamed, and what was stored is compared with what was sent. The media type of a
        file is guessed from its name where it is not given.

        Unsaved changes of the document stay unsaved, and can be saved after this. Raises ConflictError if the document
        is stored by now in another revision; where no answer came, TransportError, which says what is stored.
        """
        rev = self._document.rev
        if rev is None:
            raise ConfigurationError(f"save the document before its attachment {self.id!r}")
        source = Source(data, length)
        kind = content_type or guess_type(data)
        answer = await write_attachment(self._document.session, self._path, rev, source, kind)
        self.content_type, self.length, self.digest = kind, source.size, None
        stub = {"content_type": kind, "length": source.size, "stub": True}
        self._document.attached(answer["rev"], self.id, stub)
        return answer

    async def delete(self) -> WriteAnswer:
        """Take it away, which makes a new revision of its document. Raises NotFoundError, ConflictError."""
        rev = self._document.rev
        if rev is None:
            raise ConfigurationError(f"the document of attachment {self.id!r} is not stored")
        answer = await delete_attachment(self._document.session, self._path, rev)
        self.content_type = self.length = self.digest = None
        self._document.attached(answer["rev"], self.id, None)
        return answer

    async def _read(self, download: Download) -> AsyncGenerator[bytes, None]:
        self.content_type, self.length, self.digest = download.content_type, download.length, download.digest
        async with aclosing(download.pieces()) as pieces:
            async for piece in pieces:
                yield piece
        self.length = download.length


def attachment_path(document: tuple[str, ...], name: str) -> tuple[str, ...]:
    """The path of an attachment. Raises ConfigurationError for a name that would lead elsewhere or that is reserved."""
    if not isinstance(name, str) or name in ("", ".", "..") or name.startswith("_"):
        raise ConfigurationError(f"an attachment cannot be named {name!r}")
    return (*document, name)


async def write_attachment(
    session: Session, path: tuple[str, ...], rev: str, data: Content | Source, content_type: str
) -> WriteAnswer:
    """Store an attachment of the document whose stored revision is ``rev``.

    Raises ConflictError; ProtocolError where a stream was stored otherwise than it was sent; another TransportError,
    which says what is stored, where no answer came.
    """
    source = data if isinstance(data, Source) else Source(data)
    headers = {"accept": JSON_TYPE, "content-type": content_type}
    whole = source.whole
    if whole is None and source.length is not None:
        headers["content-length"] = str(source.length)
    body = source if whole is None else whole
    try:
        answer: WriteAnswer = await session.json(Request("PUT", path, {"rev": rev}, headers, body))
    except ConnectError:
        raise
    except TransportError as error:
        is_complete = whole is not None or source.is_complete
        raise await explain(session, path[:-1], rev, error, is_complete=is_complete) from error
    if whole is None:
        await _compare(session, path, answer["rev"], source)
    return answer


async def delete_attachment(session: Session, path: tuple[str, ...], rev: str) -> WriteAnswer:
    """Take an attachment away from the document whose stored revision is ``rev``."""
    answer: WriteAnswer = await session.json(Request("DELETE", path, {"rev": rev}))
    return answer


async def explain(
    session: Session, document: tuple[str, ...], rev: str | None, error: TransportError, *, is_complete: bool
) -> CouchModelError:
    """The error of an upload that got no answer, with a word on what is stored; ``is_complete`` if all had been sent.

    CouchDB makes the new revision when the last byte is there, so what was not sent whole was not stored. But a refusal
    may come before that byte, and with it the end of the connection, so that the answer is lost: it is looked for.
    """
    stored = await _stored_rev(session, document)
    if is_complete:
        return type(error)(f"{error}; {_doubt(rev, stored)}")
    if stored not in (_UNKNOWN, rev):
        return ConflictError("Document update conflict.", method="PUT", path=target(document))
    explained = type(error)(f"{error}; the document is unchanged")
    explained.carried_out = False
    return explained


async def _stored_rev(session: Session, document: tuple[str, ...]) -> str | None:
    try:
        tag = (await session.send(Request("HEAD", document))).headers.get("etag", _UNKNOWN)
    except NotFoundError:
        return None
    except CouchModelError:
        return _UNKNOWN
    return tag.removeprefix("W/").strip('"')


def _doubt(rev: str | None, stored: str | None) -> str:
    """A word on an upload that had been sent whole: on its way it may have been cut all the same."""
    if stored == _UNKNOWN:
        return f"it is stored as a whole, or not at all if the document is still {rev or 'missing'}"
    if stored == rev:
        return "the document was still unchanged a moment later"
    return f"the document is {stored or 'deleted'} now: fetch it to see whether this is by you"


async def _compare(session: Session, path: tuple[str, ...], rev: str, source: Source) -> None:
    """Compare what was stored with what was sent, for CouchDB does not: it ignores Content-MD5."""
    try:
        headers = (await session.send(Request("HEAD", path, {"rev": rev}, _PLAIN))).headers
    except NotFoundError:
        return  # replaced by now, and compacted away
    stored = plain_length(headers), digest_of(headers) if is_stored_plain(headers) else None
    sent = source.size, str(source.digest)
    for there, here in zip(stored, sent, strict=True):
        if there not in (None, here):
            message = f"attachment {path[-1]!r} was stored in revision {rev}, but not as it was sent"
            raise ProtocolError(f"{message} ({there} is there, {here} was sent): save or delete it again")
