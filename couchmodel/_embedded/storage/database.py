"""A database of the store, as requests see it, and the watches that wait for its changes."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Self, TypeAlias
from weakref import WeakKeyDictionary

from couchmodel._embedded import limits
from couchmodel._embedded.javascript.engine import Scripts
from couchmodel._embedded.rules.security import Security

__all__ = ["Database", "EventCallback", "Watch"]


@dataclass(slots=True, eq=False, weakref_slot=True)
class Database:
    """A database of the store, with the values that requests need often.

    - ``number``: its number in the tables; ``created``: seconds since 1970.
    - ``sequence_suffix``: the end of its sequence ids, as bytes.
    - ``change_count``: the changes since the store was opened. A value read earlier is valid while the count stays.
    - ``compactions``: the compactions that are running.
    - ``validation_scripts``: the ``validate_doc_update`` functions, which writes wait for; ``scripts``: all other
      JavaScript.
    - ``on_event``: a callback for its events, None before it is in a store and after it was dropped.
    """

    number: int
    name: str
    uuid: str
    created: int
    security: Security
    shards: int
    partitioned: bool
    sequence_suffix: bytes = field(init=False)
    watches: set["Watch"] = field(default_factory=set)
    read_semaphores: "ReadSemaphores" = field(default_factory=WeakKeyDictionary)
    scripts: Scripts = field(default_factory=Scripts)
    validation_scripts: Scripts = field(default_factory=Scripts)
    change_count: int = 0
    compactions: int = 0
    on_event: "EventCallback | None" = None

    def __post_init__(self) -> None:
        self.sequence_suffix = f"-{self.uuid}".encode()

    def sequence(self, number: int) -> str:
        """Return the sequence id of a sequence number. The part behind the number is opaque to clients."""
        return f"{number}-{self.uuid}"

    def watch(self) -> "Watch":
        """Return a watch: a context manager that waits for changes of the database."""
        return Watch(self.watches, self.read_semaphores)

    def end_scripts(self) -> None:
        """End the processes that run the JavaScript of the database's design documents."""
        self.scripts.close()
        self.validation_scripts.close()

    def notify(self, _result: object = None) -> None:
        """Wake all watches after a change of the database. May be called in any thread.

        The parameter lets the method be a callback of :meth:`Store.write`.
        """
        # After a commit, on the writing thread, or in the event loop for a short write of a store in memory.
        self.change_count += 1
        if self.on_event is not None:
            self.on_event("updated", self.name)
        waiting: dict[asyncio.AbstractEventLoop, list[Watch]] = {}
        for watch in tuple(self.watches):
            waiting.setdefault(watch.loop, []).append(watch)
        for loop, watches in waiting.items():
            with suppress(RuntimeError):  # the loop is closed
                # An asyncio event may be set in its own loop only.
                loop.call_soon_threadsafe(_wake, iter(watches), loop)


EventCallback: TypeAlias = Callable[[str, str], None]
"""A callback for an event (``created``, ``updated`` or ``deleted``, as in ``/_db_updates``) and a database's name.

It is called in any thread.
"""

ReadSemaphores: TypeAlias = WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]
"""A semaphore for each event loop: see :class:`Watch`."""


class Watch:
    """A waiter for changes of a database.

    ``read_semaphore`` lets some watches of an event loop read at a time. If thousands read at once, they would get
    their results at once, and hold up all other tasks.
    """

    def __init__(self, watches: set["Watch"], read_semaphores: "ReadSemaphores") -> None:
        self._watches = watches
        self.loop = asyncio.get_running_loop()
        self.read_semaphore = read_semaphores.setdefault(self.loop, asyncio.Semaphore(limits.WATCHES_WOKEN))
        self._event = asyncio.Event()

    def __enter__(self) -> Self:
        self._watches.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._watches.discard(self)

    async def wait_for_change(self, seconds: float) -> bool:
        """Wait for a change, and return True if there was one since the last call or within ``seconds``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        # The event may have been set while the timeout struck.
        was_set = self._event.is_set()
        self._event.clear()
        return was_set

    def wake(self) -> None:
        """Report a change. Must be called in the watch's event loop."""
        self._event.set()


def _wake(watches: Iterator[Watch], loop: asyncio.AbstractEventLoop) -> None:
    """Wake some watches now and the rest in later turns of the event loop: thousands at once would hold it up."""
    some = tuple(islice(watches, limits.WATCHES_WOKEN))
    for watch in some:
        watch.wake()
    if len(some) == limits.WATCHES_WOKEN:
        loop.call_soon(_wake, watches, loop)
