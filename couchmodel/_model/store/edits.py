"""Edits: read a document, change it, and save it. What others have changed meanwhile is merged."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, Protocol, TypeVar
from weakref import WeakValueDictionary

from couchmodel._model.attachments.merge import merge_files
from couchmodel._model.codec import codec
from couchmodel._model.codec.changes import changed_fields
from couchmodel._model.codec.three_way import UNKNOWN, Side, merge_documents
from couchmodel._model.schema import state
from couchmodel._model.store.hooked import call_verb, overrides
from couchmodel._retry import Backoff
from couchmodel.errors import ConfigurationError, ConflictError, DocumentError

__all__ = ["Turn", "add_merge", "refused_merge", "save_edited", "save_merged"]

_ATTEMPTS: Final = 30
"""How often a save is tried that others come before."""

_BACKOFF: Final = Backoff(1.0, longest=32.0, jitter=True)
"""The wait before a save is tried again, as a multiple of the time that the last try has taken."""

_LONGEST_WAIT: Final = 5.0


R_co = TypeVar("R_co", covariant=True)


class _Saver(Protocol[R_co]):
    async def prepare(self, document: Any) -> Any: ...

    async def send_once(self, document: Any) -> R_co: ...

    async def complete_conflict(self, error: ConflictError, document: Any) -> ConflictError: ...


def add_merge(error: ConflictError) -> None:
    """Complete a conflict error that has its three versions: with the fields that clash, and a function that merges."""
    if error.mine is None or error.theirs is None:
        return
    # A program that does not know the version of the schema would lose members in a merge, so it does not merge.
    newer = codec.newer_version(error.theirs)
    if newer is not None and newer != codec.newer_version(error.base):
        known = type(error.mine).__declared__.version
        error.fields = changed_fields(error.mine)
        error.hint = (
            f"{error.document_id!r} was stored in version {newer} of the schema meanwhile, and this program knows"
            f" version {known}, so it cannot merge: load it again, with a newer program"
        )
        error.set_merge(partial(_refuse_merge, error.hint))
        return
    # A document that was not loaded has no base. Then each field that differs clashes.
    base = UNKNOWN if error.base is None else error.base
    clashes = merge_files(error.base, error.mine, error.theirs, "theirs").clashes
    error.fields = merge_documents(base, error.mine, error.theirs).clashes | clashes
    error.set_merge(partial(_merge, base, error.mine, error.theirs))


def _refuse_merge(reason: str, prefer: Side) -> Any:
    raise ConfigurationError(reason)


def _merge(base: Any, mine: Any, theirs: Any, prefer: Side) -> Any:
    """Return a document of the stored revision with the changes of both sides."""
    merged = theirs.model_copy()
    values, extra, _ = merge_documents(base, mine, theirs, prefer)
    # The values are set without validation: a rule of the whole model would see only a part of them. The save validates
    # them all.
    vars(merged).update(values)
    object.__setattr__(merged, "__pydantic_extra__", extra)
    merged.__pydantic_fields_set__.update(mine.__pydantic_fields_set__ & values.keys())
    for name, file in merge_files(base, mine, theirs, prefer).files.items():
        state.set_file(merged, name, file)
    return merged


async def save_edited(saver: _Saver[Any], document: Any) -> Any:
    """Store a document as :func:`save_merged` does, by the ``save`` of its class if that has its own.

    Return None in that case.
    """
    if overrides(type(document), "save"):
        return await save_merged(saver, document, lambda each: call_verb("save", each, saver))
    return await save_merged(saver, document)


async def save_merged(saver: _Saver[R_co], document: Any, save: Callable[[Any], Awaitable[R_co]] | None = None) -> R_co:
    """Store a document, by ``save`` if that is given, and return what the save returns.

    The hooks after a save do not run here, unless ``save`` runs them: their errors are none of the save.

    If others have stored another revision meanwhile, merge with it and try again.

    Raises ConflictError if a field clashes, or if others come before too often; DocumentError if the merged document
    does not fit its model.
    """
    clock = asyncio.get_running_loop().time
    attempt = 0
    while True:
        if save is None:
            await saver.prepare(document)
        attempt, begun = attempt + 1, clock()
        try:
            return await (save or saver.send_once)(document)
        except ConflictError as error:
            # The wait comes before the read, so that what is merged is not old again when it is sent.
            if attempt > 1:
                await asyncio.sleep(min(_LONGEST_WAIT, _BACKOFF.wait(attempt - 1) * (clock() - begun)))
            conflict = await saver.complete_conflict(error, document)
            if conflict.fields or conflict.theirs is None or conflict.base is None or attempt == _ATTEMPTS:
                raise conflict from None
            _rebase(document, conflict)
        except DocumentError as error:
            # Nothing was merged before the first attempt, so the error needs no remark.
            if attempt == 1:
                raise
            said = (
                f"{error}\n  it was merged with what others have stored meanwhile, and nothing is stored of the merge"
            )
            raise DocumentError(said, model=error.model, document_id=error.document_id, errors=error.errors) from error


def _rebase(document: Any, error: ConflictError) -> None:
    """Make a document one of the stored revision, with the changes of both sides."""
    # No field clashes here, so ``prefer`` decides nothing.
    codec.adopt(document, error.merged(prefer="mine"))


def refused_merge(error: DocumentError) -> DocumentError:
    """Return the error of a document that does not fit its model after a merge, which says that it was merged."""
    message = f"{error}\n  These values are your changes, merged with those that others have stored meanwhile."
    return DocumentError(message, model=error.model, document_id=error.document_id, errors=error.errors)


class Turn:
    """The turns of the edits of one document in this process: one begins when the one before has ended.

    An edit has no turn of its own if it would wait for ever: inside another edit of the same document, and where the
    edit that it would wait for waits for one that is open around it. It merges then, as with another process.
    """

    def __init__(self) -> None:
        # A lock is kept by the edits that hold it or wait for it, so documents that are not edited any more take no
        # memory.
        self._locks: WeakValueDictionary[tuple[Any, ...], asyncio.Lock] = WeakValueDictionary()
        self._waiting: list[tuple[frozenset[Any], Any]] = []
        """The edits that wait: the documents whose turns they have, and the one whose turn they wait for."""

    @asynccontextmanager
    async def of(self, *key: Any) -> AsyncGenerator[None]:
        """Return a context that begins when this document has its turn."""
        held = _held.get()
        # An asyncio.Lock belongs to one event loop, and a process may have several.
        key = (asyncio.get_running_loop(), *key)
        if self._would_wait_for_ever(held, key):
            yield
            return
        lock = self._locks.get(key)
        if lock is None:
            self._locks[key] = lock = asyncio.Lock()
        self._waiting.append((held, key))
        try:
            await lock.acquire()
        finally:
            self._waiting.remove((held, key))
        _held.set(held | {key})
        try:
            yield
        finally:
            _held.set(_held.get() - {key})  # not a reset, as the task that ends an edit may be another one
            lock.release()

    def _would_wait_for_ever(self, held: frozenset[Any], key: Any) -> bool:
        """Return True if a turn is held, or waits for one that is held, by the edit that asks for it."""
        reached, added = set[Any](), {key}
        # An edit that holds a reached turn may wait for another one, which is reached then, too.
        while added:
            reached |= added
            added = {wanted for others, wanted in self._waiting if not others.isdisjoint(reached)} - reached
        return not reached.isdisjoint(held)


_held: Final[ContextVar[frozenset[Any]]] = ContextVar("couchmodel_edits", default=frozenset())
