"""A watchdog that notices when an event loop is held, and where."""

import asyncio
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path

LIMIT = 1.0
"""Seconds."""

PAUSE = 0.1

DEPTH = 12
"""Frames of the stack that are shown: those below are the test runner's."""


class Watchdog(threading.Thread):
    """A thread that asks an event loop for a sign of life, ten times a second.

    Time in which threads of this process were ready to run, and the machine ran something else, is not held against it.
    """

    def __init__(self) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._asked: tuple[float, float] | None = None
        self._findings: list[str] = []
        self._lock = threading.Lock()

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch the loop that this thread runs."""
        with self._lock:
            self._loop, self._thread, self._asked, self._findings = loop, threading.get_ident(), None, []

    def release(self) -> list[str]:
        """Watch no more. Return a text for each time that the loop was held: how long, and where."""
        with self._lock:
            self._look()
            self._loop = None
            return self._findings

    def run(self) -> None:
        while True:
            time.sleep(PAUSE)
            with self._lock:
                self._look()

    def _look(self) -> None:
        if self._loop is None:
            return
        if self._asked is None:
            self._asked = time.monotonic(), waited_for_processor()
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._answer)
            return
        asked, waited = self._asked
        held = time.monotonic() - asked - (waited_for_processor() - waited)
        if held > LIMIT:
            frame = sys._current_frames().get(self._thread)
            where = "".join(traceback.format_stack(frame)[-DEPTH:])
            self._findings.append(f"held for {held:.1f} s:\n{where}")
            self._asked = None

    def _answer(self) -> None:
        self._asked = None


def waited_for_processor() -> float:
    """Return the seconds that this process's threads were ready and did not run, where the system counts them."""
    total = 0
    for tasks in Path("/proc/self/task").glob("*/schedstat"):
        with suppress(OSError, IndexError):  # the thread has ended
            total += int(tasks.read_text().split()[1])
    return total / 1e9
