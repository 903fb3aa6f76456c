"""Edits: read a document, change it, and save it. What others have changed meanwhile is merged."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

from couchmodel._model.codec import codec
from couchmodel._model.codec.three_way import UNKNOWN, Side, merge_documents
from couchmodel._retry import Backoff
from couchmodel.errors import ConflictError

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
    base = UNKNOWN if error.base is None else error.base
    error.fields = merge_documents(base, error.mine, error.theirs).clashes
    error.set_merge(partial(_merge, base, error.mine, error.theirs))


def _merge(base: Any, mine: Any, theirs: Any, prefer: Side) -> Any:
    """Return a document of the stored revision with the changes of both sides."""
    merged = theirs.model_copy()
    vars(merged).update(merge_documents(base, mine, theirs, prefer).values)
    return merged


async def save_merged(saver: _Saver, document: Any) -> None:
    """Store a document. If others have stored another revision meanwhile, merge with it and try again.

    Raises ConflictError if a field clashes, or if others come before too often; DocumentError if the merged document
    does not fit its model.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            await saver.save(document)
        except ConflictError as error:
            if error.fields or error.theirs is None or error.base is None or attempt == _ATTEMPTS:
                raise
            _rebase(document, error)
        else:
            return
        await asyncio.sleep(_BACKOFF.wait(attempt))


def _rebase(document: Any, error: ConflictError) -> None:
    """Make a document one of the stored revision, with the changes of both sides."""
    merged = error.merged(prefer="mine")
    vars(document).update(vars(merged))
    codec.adopt_state(document, merged)


class Turn:
    """The turns of the edits of one document in this process: one begins when the one before has ended.

    An edit inside another edit of the same document has no turn of its own, as it would wait for ever.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[Any, ...], asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, *key: Any) -> AsyncGenerator[None]:
        """A context that begins when this document has its turn."""
        held = _held.get()
        key = (asyncio.get_running_loop(), *key)
        if key in held:
            yield
            return
        lock = self._locks.get(key)
        if lock is None:
            self._locks[key] = lock = asyncio.Lock()
        async with lock:
            token = _held.set(held | {key})
            try:
                yield
            finally:
                _held.reset(token)


_held: Final[ContextVar[frozenset[Any]]] = ContextVar("couchmodel_edits", default=frozenset())
