"""Saves that store a document in place of whatever is stored under its id."""

import asyncio
from typing import Any, Final, NamedTuple, Protocol, Self

from couchmodel._model.attachments.stubs import set_stubs, stored_stubs
from couchmodel._model.codec import codec
from couchmodel._model.codec.overwriting import body_over
from couchmodel._model.schema import state
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.store.hooked import prepare
from couchmodel._retry import Backoff
from couchmodel._wire.messages import Request, decode, document_path
from couchmodel._wire.reasons import NO_DATABASE
from couchmodel.engine import Session
from couchmodel.errors import ConflictError, DocumentError, NotFoundError

__all__ = ["save_over"]

_ATTEMPTS: Final = 30
"""How often a save is tried that others come before."""

_BACKOFF: Final = Backoff(0.01, longest=1.0, jitter=True)


class _Saver(Protocol):
    """The part of a repository that is needed here."""

    @property
    def session(self) -> Session: ...
    @property
    def path(self) -> tuple[str, ...]: ...
    async def save(self, document: Any) -> Any: ...
    async def send(self, document: Any, body: bytes) -> Any: ...


async def save_over(saver: _Saver, document: Any) -> Any:
    """Store a document in place of the revision that is stored now, and return what its save returns.

    If it is refused, the document belongs to the revision that it came from. Raises ConflictError if others come before
    too often.
    """
    before = _Basis.of(document)
    try:
        for attempt in range(1, _ATTEMPTS):
            try:
                return await _save_once(saver, document)
            except ConflictError:
                await asyncio.sleep(_BACKOFF.wait(attempt))
        return await _save_once(saver, document)
    except BaseException:
        before.give_to(document)
        raise


async def _save_once(saver: _Saver, document: Any) -> Any:
    try:
        stored = (await saver.session.send(Request("GET", document_path(saver.path, document.id)))).body
    except NotFoundError as error:
        if error.reason != NO_DATABASE:
            _Basis().give_to(document)
        return await saver.save(document)
    try:
        current = codec.load(type(document), stored)
    except DocumentError:
        members = decode(stored)
        _Basis(members["_rev"]).give_to(document)
        set_stubs(document, members.get("_attachments", {}))
        await prepare(document)
        return await saver.send(document, body_over(document, stored))
    _Basis.of(current).give_to(document)
    return await saver.save(document)


class _Basis(NamedTuple):
    """The stored revision that a document belongs to. Without arguments it is that of a document that is not stored."""

    rev: str | None = None
    body: bytes | None = None

    @classmethod
    def of(cls, document: DocumentModel) -> Self:
        """Return the one of a document."""
        return cls(document.rev, state.stored_body(document))

    def give_to(self, document: DocumentModel) -> None:
        """Let a document belong to this revision. Its values stay."""
        state.set_rev(document, self.rev)
        state.set_stored_body(document, self.body)
        set_stubs(document, stored_stubs(document))
