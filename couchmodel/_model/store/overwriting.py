"""Saves that store a document in place of whatever is stored under its id."""

import asyncio
from typing import Any, Final, Protocol, TypeVar

from couchmodel._model.attachments.stubs import set_stubs
from couchmodel._model.codec import codec
from couchmodel._model.codec.overwriting import body_over
from couchmodel._model.store.hooked import prepare, restore_all
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


class _ForcedSaver(Protocol[R_co]):
    """The part of a repository that is needed here."""

    @property
    def session(self) -> Session: ...
    @property
    def path(self) -> tuple[str, ...]: ...
    async def prepare(self, document: Any) -> Any: ...
    async def send(self, document: Any, body: bytes | None) -> R_co: ...


async def save_over(saver: _ForcedSaver[R_co], document: Any) -> R_co:
    """Store a document in place of the revision that is stored now, and return what its save returns.

    If it is refused, the document belongs to the revision that it came from. Raises ConflictError if others come before
    too often.
    """
    before = Basis.of(document)
    try:
        attempt = 0
        while True:
            attempt += 1
            misfit = await _take_basis(saver, document)
            rev, copy = document.rev, await (prepare(document) if misfit else saver.prepare(document))
            try:
                return await saver.send(document, misfit and body_over(document, misfit))
            except ConflictError:
                if attempt == _ATTEMPTS:
                    raise
                await asyncio.sleep(_BACKOFF.wait(attempt))
            except DocumentError:
                if document.rev == rev:  # nothing was stored
                    restore_all([(document, copy)])
                raise
    except BaseException:
        before.give_to(document)
        raise


async def _take_basis(saver: _ForcedSaver[Any], document: Any) -> bytes | None:
    """Make a document one of the revision that is stored now. Return the text of a revision that does not fit."""
    try:
        stored = (await saver.session.send(Request("GET", document_path(saver.path, document.id)))).body
    except NotFoundError as error:
        if error.reason != NO_DATABASE:
            Basis().give_to(document)
        return None
    try:
        current = codec.load(type(document), stored)
    except DocumentError:
        members = decode(stored)
        Basis(members["_rev"]).give_to(document)
        set_stubs(document, members.get("_attachments", {}))
        return stored
    Basis.of(current).give_to(document)
    return None
