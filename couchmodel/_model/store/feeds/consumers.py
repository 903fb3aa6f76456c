"""Consumers: functions that are called with every change, and go on where they have stopped."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from time import monotonic
from typing import Any, Final

from couchmodel._model.store.feeds.changes import Change, ChangeFeed
from couchmodel._model.store.feeds.positions import Position
from couchmodel.errors import ConfigurationError, ConflictError, CouchModelError, DocumentError

__all__ = ["consume_changes"]

_BATCH: Final = 100
"""The changes after which the position is stored."""

_INTERVAL: Final = 1.0
"""The seconds after which it is stored at the latest, also while no change comes."""

_STOPPING: Final = 5.0
"""The seconds that a consumer which was stopped may take to store its position."""

_log: Final = logging.getLogger("couchmodel.changes")


async def consume_changes(
    feed: ChangeFeed[Any], position: Position, name: str, function: Callable[[Change[Any]], Awaitable[object]]
) -> None:
    """Call a function with each change of a feed, one after the other, and store the position behind them.

    If the function raises, or the task is cancelled, the position is stored behind the last change that was done.
    """
    consumer = _Consumer(feed, position, name, function)
    async with aclosing(feed):
        try:
            await consumer.run()
        # A cancelled task can still await: the cancellation is delivered once. The timeout keeps it from holding up its
        # caller.
        except (Exception, asyncio.CancelledError):
            await consumer.store_when_stopped()
            raise


class _Consumer:
    def __init__(
        self,
        feed: ChangeFeed[Any],
        position: Position,
        name: str,
        function: Callable[[Change[Any]], Awaitable[object]],
    ) -> None:
        self._feed = feed
        self._position = position
        self._name = name
        self._function = function
        self._done: str | None = None
        """The sequence of the last change that was done and whose position is not stored yet."""
        self._count = 0
        self._stored_at = monotonic()

    async def run(self) -> None:
        """Work until the feed ends."""
        # At its end the feed has the sequence of the database, behind the changes of all other documents. They need not
        # be read again.
        began = self._feed.last_seq
        while (change := await self._next_change()) is not None:
            await self._call(change)
            self._done = change.seq
            self._count += 1
            if self._count >= _BATCH or monotonic() - self._stored_at >= _INTERVAL:
                await self._store()
        if self._feed.last_seq != began:
            self._done = self._feed.last_seq
        await self._store()

    async def store_when_stopped(self) -> None:
        """Store the position because the consumer is stopped. If that fails, changes that were done come again."""
        try:
            async with asyncio.timeout(_STOPPING):
                await self._store()
        except (CouchModelError, TimeoutError) as error:
            _log.warning("the position of the consumer %r was not stored: %s", self._name, error)

    async def _store(self) -> None:
        done, self._done, self._count, self._stored_at = self._done, None, 0, monotonic()
        if done is None:
            return
        try:
            await self._position.write(done)
        except ConflictError:  # it is another consumer's now
            raise
        except BaseException:
            self._done = done
            raise

    async def _next_change(self) -> Change[Any] | None:
        """Return the next change; None at the end."""
        try:
            return await (anext(self._feed, None) if self._done is None else self._wait())
        except DocumentError as error:
            self._explain(error, "that document", 'pass on_invalid="skip"')
            raise

    async def _wait(self) -> Change[Any] | None:
        """Return the next change. Store the position if none comes for a while."""
        # asyncio.wait leaves the read running at the timeout, where wait_for would cancel it.
        waiting = asyncio.ensure_future(anext(self._feed, None))
        try:
            done, _ = await asyncio.wait({waiting}, timeout=_INTERVAL)
            if not done:
                await self._store()
            return await waiting
        finally:
            # A read that was left running would take a change that nobody gets.
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    async def _call(self, change: Change[Any]) -> None:
        try:
            await _await(self._function, change)
        except Exception as error:
            self._explain(error, f"the change of {change.id!r}", "catch the error in the function")
            raise

    def _explain(self, error: Exception, where: str, advice: str) -> None:
        said = f"The consumer {self._name!r} has stopped at {where}, and begins there the next time."
        error.add_note(f"{said} To go past it, {advice}.")


async def _await(function: Callable[[Change[Any]], Awaitable[object]], change: Change[Any]) -> None:
    result = function(change)
    if not inspect.isawaitable(result):
        said = getattr(function, "__qualname__", repr(function))
        raise ConfigurationError(f"{said}() is not asynchronous: a consumer is an async function")
    await result
