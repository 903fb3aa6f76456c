"""Edits: read a document, change it, and save it. What others have changed meanwhile is merged."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

from couchmodel._model.attachments.merge import merge_files
from couchmodel._model.codec import codec
from couchmodel._model.codec.changes import changed_fields
from couchmodel._model.codec.three_way import UNKNOWN, Side, merge_documents
from couchmodel._model.schema import state
from couchmodel._model.store.hooked import call_verb
from couchmodel._retry import Backoff
from couchmodel.errors import ConfigurationError, ConflictError

__all__ = ["Turn", "add_merge", "save_merged"]

_ATTEMPTS: Final = 30
"""How often a save is tried that others come before."""

_BACKOFF: Final = Backoff(0.01, longest=1.0, jitter=True)


class _Saver(Protocol):
    async def save(self, document: Any) -> None: ...


def add_merge(error: ConflictError) -> None:
    """Complete a conflict error that has its three versions: with the fields that clash, and a function that merges."""
    if error.mine is None or error.theirs is None:
        return
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
    vars(merged).update(values)
    object.__setattr__(merged, "__pydantic_extra__", extra)
    merged.__pydantic_fields_set__.update(mine.__pydantic_fields_set__ & values.keys())
    for name, file in merge_files(base, mine, theirs, prefer).files.items():
        state.set_file(merged, name, file)
    return merged


async def save_merged(saver: _Saver, document: Any) -> None:
    """Store a document. If others have stored another revision meanwhile, merge with it and try again.

    Raises ConflictError if a field clashes, or if others come before too often; DocumentError if the merged document
    does not fit its model.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            await call_verb("save", document, saver)
        except ConflictError as error:
            if error.fields or error.theirs is None or error.base is None or attempt == _ATTEMPTS:
                raise
            _rebase(document, error)
        else:
            return
        await asyncio.sleep(_BACKOFF.wait(attempt))


def _rebase(document: Any, error: ConflictError) -> None:
    """Make a document one of the stored revision, with the changes of both sides."""
    codec.adopt(document, error.merged(prefer="mine"))


class Turn:
    """The turns of the edits of one document in this process: one begins when the one before has ended.

    An edit has no turn of its own if it would wait for ever: inside another edit of the same document, and where the
    edit that it would wait for waits for one that is open around it. It merges then, as with another process.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[Any, ...], asyncio.Lock] = WeakValueDictionary()
        self._waiting: list[tuple[frozenset[Any], Any]] = []
        """The edits that wait: the documents whose turns they have, and the one whose turn they wait for."""

    @asynccontextmanager
    async def of(self, *key: Any) -> AsyncGenerator[None]:
        """A context that begins when this document has its turn."""
        held = _held.get()
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
        while added:
            reached |= added
            added = {wanted for others, wanted in self._waiting if not others.isdisjoint(reached)} - reached
        return not reached.isdisjoint(held)


_held: Final[ContextVar[frozenset[Any]]] = ContextVar("couchmodel_edits", default=frozenset())
