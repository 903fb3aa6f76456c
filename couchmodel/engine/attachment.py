"""An attachment of a document: bytes with a media type, streamed both ways."""

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import aclosing
from typing import Final, Protocol

from couchmodel._wire.messages import JSON_TYPE, Request
from couchmodel.engine.session import Session
from couchmodel.errors import ConfigurationError, NotFoundError
from couchmodel.types import JSONObject, WriteAnswer

__all__ = ["Attachment", "attachment_path", "delete_attachment", "read_attachment", "write_attachment"]


_ANY: Final = {"accept": "*/*"}


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

    ``content_type`` is known after :meth:`exists`, :meth:`fetch` or :meth:`save`.
    """

    def __init__(self, document: Owner, id: str) -> None:
        """Raises ConfigurationError for a name that no attachment may have."""
        self.id = id
        self.content_type: str | None = None
        self._document = document
        self._path = attachment_path(document.path, id)

    def __repr__(self) -> str:
        return f"<Attachment {'/'.join(self._path)}>"

    async def exists(self) -> bool:
        """Whether the document has it now."""
        try:
            response = await self._document.session.send(Request("HEAD", self._path))
        except NotFoundError:
            return False
        self.content_type = response.headers.get("content-type")
        return True

    async def fetch(self) -> bytes:
        """The whole of it. Raises NotFoundError."""
        response = await self._document.session.send(Request("GET", self._path, headers=_ANY))
        self.content_type = response.headers.get("content-type")
        return response.body

    async def stream(self) -> AsyncIterator[bytes]:
        """It, in pieces as they arrive. Raises NotFoundError."""
        async for piece in read_attachment(self._document.session, self._path):
            yield piece

    async def save(self, data: bytes | AsyncIterable[bytes], content_type: str) -> WriteAnswer:
        """Store it, and with it a new revision of its document.

        Unsaved changes of the document stay unsaved, and can be saved after this. Raises ConflictError if the document
        is stored by now in another revision.
        """
        rev = self._document.rev
        if rev is None:
            raise ConfigurationError(f"save the document before its attachment {self.id!r}")
        answer = await write_attachment(self._document.session, self._path, rev, data, content_type)
        self.content_type = content_type
        self._document.attached(answer["rev"], self.id, {"content_type": content_type, "stub": True})
        return answer

    async def delete(self) -> WriteAnswer:
        """Take it away, which makes a new revision of its document. Raises NotFoundError, ConflictError."""
        rev = self._document.rev
        if rev is None:
            raise ConfigurationError(f"the document of attachment {self.id!r} is not stored")
        answer = await delete_attachment(self._document.session, self._path, rev)
        self._document.attached(answer["rev"], self.id, None)
        return answer


def attachment_path(document: tuple[str, ...], name: str) -> tuple[str, ...]:
    """The path of an attachment. Raises ConfigurationError for a name that would lead elsewhere or that is reserved."""
    if not isinstance(name, str) or name in ("", ".", "..") or name.startswith("_"):
        raise ConfigurationError(f"an attachment cannot be named {name!r}")
    return (*document, name)


async def read_attachment(session: Session, path: tuple[str, ...]) -> AsyncIterator[bytes]:
    """The pieces of a stored attachment."""
    response = await session.send(Request("GET", path, headers=_ANY, stream=True))
    if response.stream is None:
        yield response.body
        return
    async with aclosing(response.stream) as stream:
        async for piece in stream:
            yield piece


async def write_attachment(
    session: Session, path: tuple[str, ...], rev: str, data: bytes | AsyncIterable[bytes], content_type: str
) -> WriteAnswer:
    """Store an attachment of the document whose stored revision is ``rev``."""
    headers = {"accept": JSON_TYPE, "content-type": content_type}
    answer: WriteAnswer = await session.json(Request("PUT", path, {"rev": rev}, headers, data))
    return answer


async def delete_attachment(session: Session, path: tuple[str, ...], rev: str) -> WriteAnswer:
    """Take an attachment away from the document whose stored revision is ``rev``."""
    answer: WriteAnswer = await session.json(Request("DELETE", path, {"rev": rev}))
    return answer
