"""Saves that store a document in place of whatever is stored under its id."""

import asyncio
from typing import Any, Final, Protocol, TypeVar

from couchmodel._model.attachments.stubs import set_stubs
from couchmodel._model.codec import codec
from couchmodel._model.codec.overwriting import body_over
from couchmodel._model.store.hooked import prepare
from couchmodel._model.store.revisions.basis import Basis
from couchmodel._retry import Backoff
from couchmodel._wire.messages import Request, decode, document_path
from couchmodel._wire.reasons import NO_DATABASE
from couchmodel.engine import Session
from couchmodel.errors import ConflictError, DocumentError, NotFoundError

__all__ = ["save_over"]

_ATTEMPTS: Final = 30
"""How often a save is tried that others come before."""

_BACKOFF: Final = Backoff(0.01, longest=1.0, jitter=True)


R_co = TypeVar("R_co", covariant=True)


class _Saver(Protocol[R_co]):
    """The part of a repository that is needed here."""

    @property
    def session(self) -> Session: ...
    @property
    def path(self) -> tuple[str, ...]: ...
    async def save(self, document: Any) -> R_co: ...
    async def send(self, document: Any, body: bytes) -> R_co: ...


async def save_over(saver: _Saver[R_co], document: Any) -> R_co:
    """Store a document in place of the revision that is stored now, and return what its save returns.

    If it is refused, the document belongs to the revision that it came from. Raises ConflictError if others come before
    too often.
    """
    before = Basis.of(document)
    try:
        for attempt in range(1, _ATTEMPTS):
            try:
                return await _save_once(saver, document)
            except ConflictError:
                await asyncio.sleep(_BACKOFF.wait(attempt))
        # The last attempt is outside of the loop, so that its conflict is raised.
        return await _save_once(saver, document)
    except BaseException:
        before.give_to(document)
        raise


async def _save_once(saver: _Saver[R_co], document: Any) -> R_co:
    try:
        stored = (await saver.session.send(Request("GET", document_path(saver.path, document.id)))).body
    except NotFoundError as error:
        # If the database is missing, the save raises that, with the advice to create it.
        if error.reason != NO_DATABASE:
            Basis().give_to(document)
        return await saver.save(document)
    try:
        # The codec loads it without hooks, because nobody gets to see this revision.
        current = codec.load(type(document), stored)
    except DocumentError:
        # The save would compare the document with a revision that its model cannot read, so the text is put together
        # here.
        members = decode(stored)
        Basis(members["_rev"]).give_to(document)
        set_stubs(document, members.get("_attachments", {}))
        await prepare(document)
        return await saver.send(document, body_over(document, stored))
    Basis.of(current).give_to(document)
    return await saver.save(document)
