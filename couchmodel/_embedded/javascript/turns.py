"""Run calls of JavaScript functions on threads, with no more threads for a database than it has processes."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from couchmodel._embedded.javascript.engine import LIMITS, Scripts

__all__ = ["run"]

T = TypeVar("T")

_THREADS: Final = ThreadPoolExecutor(64, thread_name_prefix="couchmodel-functions")

_Turns: TypeAlias = WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]

_turns: Final[WeakKeyDictionary[Scripts, _Turns]] = WeakKeyDictionary()


async def run(scripts: Scripts, call: Callable[[], T]) -> T:
    """Run a blocking call of a database's JavaScript on a thread, and return its result.

    At most as many calls run at once as the database may have processes. Beyond that, this coroutine waits first.
    """
    # A semaphore belongs to one event loop, and a database may be used from several.
    loop = asyncio.get_running_loop()
    turn = _turns.setdefault(scripts, WeakKeyDictionary()).setdefault(
        loop, asyncio.Semaphore(LIMITS.processes_per_owner)
    )
    await turn.acquire()

    def release(_: object) -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(turn.release)

    running = _THREADS.submit(call)
    # The turn ends with the call and not with this coroutine: the call goes on if the coroutine is cancelled.
    running.add_done_callback(release)
    return await asyncio.wrap_future(running)
