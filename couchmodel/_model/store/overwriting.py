"""Saves that store a document in place of whatever is stored under its id."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol, Self

from couchmodel._model.codec import codec
from couchmodel._model.codec.forms import form_of
from couchmodel._model.codec.overwriting import body_over
from couchmodel._model.schema import state
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.store.hooked import prepare
from couchmodel._retry import Backoff
from couchmodel._wire.messages import EMPTY, Request, decode, document_path
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
    async def send_body(self, document: Any, body: bytes) -> Any: ...


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
        _Basis(decode(stored)["_rev"]).give_to(document)
        await prepare(document)
        return await saver.send_body(document, body_over(document, stored))
    _Basis.of(current).give_to(document)
    return await saver.save(document)


class _Basis(NamedTuple):
    """The stored revision that a document belongs to; that of a document which is not stored without arguments."""

    rev: str | None = None
    body: bytes | None = None
    stubs: Mapping[str, Any] = EMPTY

    @classmethod
    def of(cls, document: DocumentModel) -> Self:
        """Return the one of a document."""
        stubs = {name: vars(document).get(name) for name in form_of(type(document)).attachments}
        return cls(document.rev, state.stored_body(document), stubs)

    def give_to(self, document: DocumentModel) -> None:
        """Let a document belong to this revision. Its values stay."""
        state.set_rev(document, self.rev)
        state.set_stored_body(document, self.body)
        for name in form_of(type(document)).attachments:
            vars(document)[name] = self.stubs.get(name)
