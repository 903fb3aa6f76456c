"""Where requests wait for functions: on threads, and no more of them for each database than it has processes."""

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
    """What a call gives that asks functions of a database, on a thread, when it is its turn."""
    loop = asyncio.get_running_loop()
    turn = _turns.setdefault(scripts, WeakKeyDictionary()).setdefault(loop, asyncio.Semaphore(LIMITS.each))
    await turn.acquire()

    def done(_: object) -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(turn.release)

    running = _THREADS.submit(call)
    running.add_done_callback(done)  # a call goes on that nobody waits for any more, and its turn with it
    return await asyncio.wrap_future(running)
