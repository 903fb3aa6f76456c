"""Time contenders: they take turns, and the best round of each counts."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple


class Row(NamedTuple):
    """A row of the table: microseconds per call of the floor and of couchmodel, and the largest allowed ratio."""

    name: str
    floor: str
    floor_us: float
    ours_us: float
    bar: float | None = None

    @property
    def ratio(self) -> float:
        return self.ours_us / self.floor_us


def best_of(*contenders: Callable[[], object], rounds: int = 60, calls: int = 400) -> list[float]:
    """Return the microseconds per call of each contender, in the best of its rounds."""
    best = [float("inf")] * len(contenders)
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for n, contender in enumerate(contenders):
                start = time.perf_counter_ns()
                for _ in range(calls):
                    contender()
                best[n] = min(best[n], (time.perf_counter_ns() - start) / calls / 1000)
    finally:
        gc.enable()
    return best


async def best_of_async(
    *contenders: Callable[[], Awaitable[object]],
    rounds: int = 40,
    calls: int = 100,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> list[float]:
    """Time coroutines as :func:`best_of` times functions. ``clock`` returns nanoseconds of wall time or CPU time."""
    best = [float("inf")] * len(contenders)
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for n, contender in enumerate(contenders):
                start = clock()
                for _ in range(calls):
                    await contender()
                best[n] = min(best[n], (clock() - start) / calls / 1000)
            await asyncio.sleep(0)
    finally:
        gc.enable()
    return best
