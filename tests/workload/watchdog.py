"""A watchdog of an event loop: it tells when one callback has held the loop for too long, and where.

A busy machine makes everything late, and that is not the fault of the program. So some things are subtracted from the
time that a callback took: how long the loop's thread was ready to run and had no processor; how long any other thread
of the process was, while the loop's thread slept and may have waited for a lock of that thread; and the time of
Python's garbage collector. What is left was spent in the callback itself, or in waiting for a lock or Python's lock.

So is how long the system kept the loop's thread in a wait for the disk, which it tells of as the state "D". A write to
shared memory that has a file can wait for all that others write to the same disk. These waits are told by themselves.
"""

import asyncio
import faulthandler
import gc
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from tests.workload.scheduling import Scheduled, Scheduling, waits_for_disk

__all__ = ["FROZEN", "Watchdog"]

FROZEN = 30.0
"""Seconds after which a loop that is held counts as frozen."""

_LOOK = 0.01  # seconds between two looks at the loop
_BEAT = 0.01
_FRAMES = 14
_STACKS = 2
_PACKAGE = "couchmodel/"
_OTHER = "  thread "
_IDLE = (" _next", " _serve")  # functions in which a thread of the store waits for work

Tell = Callable[[str, str], None]


class Watchdog:
    """Watches the running event loop from a thread of its own, until it is stopped."""

    def __init__(self, limit: float, tell: Tell) -> None:
        """``limit`` is in seconds; ``tell`` takes what has happened and the stacks, in any thread."""
        self.held = 0.0
        """The longest time that a callback has held the loop, in seconds, less what is no fault of it."""
        self.disk = 0.0
        """The longest time that the loop's thread has waited for the disk in one callback, in seconds."""
        self.lags: deque[float] = deque(maxlen=100_000)
        """By how many seconds each beat came late, with nothing subtracted."""
        self.collections = Collections()
        self._limit = limit
        self._tell = tell
        self._scheduling = Scheduling()
        self._others_scheduling = Scheduling()
        self._others: deque[tuple[float, dict[int, Scheduled]]] = deque(maxlen=10)
        self._begun = 0.0
        self._start: Scheduled | None = None
        self._collected = 0.0
        self._stacks: list[str] = []
        self._disk_waits: tuple[float, float] = 0.0, 0.0  # when the callback began, and its seconds
        self._frozen = False
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin to watch the loop that runs in this thread."""
        self._ident = threading.get_ident()
        self._native = threading.get_native_id()
        self._run = asyncio.Handle._run
        _set_run(self._watched(self._run))
        gc.callbacks.append(self.collections)
        self._beating = asyncio.create_task(self._beat())
        self._thread = threading.Thread(target=self._look, name="watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End watching."""
        self._beating.cancel()
        faulthandler.cancel_dump_traceback_later()
        gc.callbacks.remove(self.collections)
        _set_run(self._run)
        self._stopped.set()
        self._thread.join()
        self._scheduling.close()

    def _watched(self, run: Callable[[asyncio.Handle], None]) -> Callable[[asyncio.Handle], None]:
        def watched(handle: asyncio.Handle) -> None:
            if threading.get_ident() != self._ident:
                run(handle)
                return
            self._collected = self.collections.seconds
            self._start = self._scheduling.read(self._native)
            begun = self._begun = time.perf_counter()
            try:
                run(handle)
            finally:
                self._begun = 0.0
                seconds = time.perf_counter() - begun
                if seconds > self._limit:
                    self._judge(begun, seconds)

        return watched

    def _judge(self, begun: float, seconds: float) -> None:
        """Tell of a callback that has taken so many seconds, if most of them are its fault."""
        collected = self.collections.seconds - self._collected
        waited, slept = 0.0, 0.0
        end = self._scheduling.read(self._native)
        if self._start is not None and end is not None:
            waited = end.waited - self._start.waited
            slept = max(0.0, seconds - waited - (end.run - self._start.run))
        at, disk = self._disk_waits
        disk = min(slept, disk) if at == begun else 0.0
        self.disk = max(self.disk, disk)
        held = seconds - waited - collected - min(slept, disk + self._others_waited(begun))
        self.held = max(self.held, held)
        if held > self._limit:
            stacks = "\n".join(self._stacks) or "no stack: Python's lock was held all the time"
            measured = f"{held * 1000:.0f} ms, of {seconds * 1000:.0f} ms in all, {slept * 1000:.0f} ms of them asleep"
            self._tell(f"the loop was held above {self._limit * 1000:.0f} ms{self._where()}", f"{measured}\n{stacks}")

    def _where(self) -> str:
        """Return the place that tells kinds of held loops apart: where the project's code stood first."""
        lines = self._stacks[0].split(_OTHER)[0].splitlines() if self._stacks else []
        ours = [line.strip() for line in lines if _PACKAGE in line]
        return f", in {ours[-1]}" if ours else ""

    def _others_waited(self, begun: float) -> float:
        """Return the longest time that another thread has waited for a processor meanwhile."""
        before = next((times for at, times in reversed(self._others) if at <= begun), None)
        if before is None:
            return 0.0
        now = self._others_scheduling.read_all()
        new = Scheduled(0.0, 0.0)  # a thread that has begun since
        waits = [times.waited - before.get(id, new).waited for id, times in now.items() if id != self._native]
        return max(waits, default=0.0)

    def _note_disk_wait(self, begun: float, seconds: float) -> None:
        at, waited = self._disk_waits
        if waits_for_disk(self._native):
            self._disk_waits = begun, min(seconds, _LOOK if at != begun else waited + _LOOK)

    def _look(self) -> None:
        while not self._stopped.wait(_LOOK):
            begun, now = self._begun, time.perf_counter()
            if begun:
                self._note_disk_wait(begun, now - begun)
            seconds = now - begun if begun else 0.0
            if seconds < self._limit / 2:
                self._others.append((now, self._others_scheduling.read_all()))
                self._stacks = []
            elif len(self._stacks) < _STACKS:
                self._stacks.append(self._stack(seconds))
            if seconds > FROZEN and not self._frozen:
                self._frozen = True
                self._tell(f"the loop is frozen{self._where()}", "\n".join(self._stacks))
                faulthandler.dump_traceback()
        self._others_scheduling.close()

    def _stack(self, seconds: float) -> str:
        """Return the stack of the loop's thread, and where the project's code is in the other threads."""
        frames = sys._current_frames()
        lines = [f"after {seconds * 1000:.0f} ms:", *_places(frames[self._ident])]
        for thread in threading.enumerate():
            frame = frames.get(thread.ident or 0)
            if frame is not None and thread.ident not in (self._ident, threading.get_ident()):
                places = [place for place in _places(frame) if _PACKAGE in place and not place.endswith(_IDLE)]
                lines += [f"{_OTHER}{thread.name}: {places[-1].strip()}"] if places else []
        return "\n".join(lines)

    async def _beat(self) -> None:
        armed = 0.0
        while True:
            before = time.perf_counter()
            if before > armed:
                # It works where a function in C never lets go of Python's lock, too.
                faulthandler.dump_traceback_later(2 * FROZEN)
                armed = before + 1
            await asyncio.sleep(_BEAT)
            self.lags.append(max(0.0, time.perf_counter() - before - _BEAT))


class Collections:
    """How long Python's garbage collector takes; it stops every thread."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.longest = 0.0
        self._begun = 0.0

    def __call__(self, phase: str, info: dict[str, Any]) -> None:
        """Take note of the beginning or the end of a round."""
        if phase == "start":
            self._begun = time.perf_counter()
        else:
            seconds = time.perf_counter() - self._begun
            self.seconds += seconds
            self.longest = max(self.longest, seconds)


def _set_run(run: Callable[[asyncio.Handle], None]) -> None:
    """Have every callback of every loop run by a function: nothing else sees where each begins and ends."""
    setattr(asyncio.Handle, "_run", run)  # noqa: B010 - no checker allows a method to be assigned


def _places(frame: FrameType) -> list[str]:
    """Return the innermost places of a stack, the last call at the end."""
    summary = traceback.StackSummary.extract(traceback.walk_stack(frame), limit=_FRAMES, lookup_lines=False)
    return [f"  {_short(place.filename)}:{place.lineno} {place.name}" for place in reversed(summary)]


def _short(filename: str) -> str:
    """Return a file's path without the folders that lead to its package."""
    parts = Path(filename).parts
    count = parts[::-1].index("couchmodel") + 1 if "couchmodel" in parts else 2
    return "/".join(parts[-count:])
