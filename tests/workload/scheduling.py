"""How long the threads of this process have run, and how long they have waited for a processor (Linux)."""

import os
import threading
from pathlib import Path
from typing import NamedTuple

__all__ = ["Scheduled", "Scheduling", "waits_for_disk"]

_TASKS = Path("/proc/self/task")


class Scheduled(NamedTuple):
    """Seconds that a thread has ``run``, and that it was ready to run but had ``waited`` for a processor."""

    run: float
    waited: float


class Scheduling:
    """Reads what the system knows of threads. Where it tells nothing, no thread has ever waited."""

    def __init__(self) -> None:
        self._files: dict[int, int] = {}

    def read(self, thread: int) -> Scheduled | None:
        """Return the times of a thread by its native id; None where it is gone, or the system does not tell."""
        try:
            file = self._files.get(thread)
            if file is None:
                file = self._files[thread] = os.open(_TASKS / str(thread) / "schedstat", os.O_RDONLY)
            run, waited, _ = os.pread(file, 64, 0).split()
        except (OSError, ValueError):
            self._forget(thread)
            return None
        return Scheduled(int(run) / 1e9, int(waited) / 1e9)

    def read_all(self) -> dict[int, Scheduled]:
        """Return the times of all of Python's threads."""
        threads = {thread.native_id for thread in threading.enumerate() if thread.native_id is not None}
        for ended in self._files.keys() - threads:
            self._forget(ended)
        return {thread: times for thread in threads if (times := self.read(thread)) is not None}

    def close(self) -> None:
        """Close what was opened."""
        for thread in [*self._files]:
            self._forget(thread)

    def _forget(self, thread: int) -> None:
        file = self._files.pop(thread, None)
        if file is not None:
            os.close(file)


def waits_for_disk(thread: int) -> bool:
    """Return True if the system has a thread in a wait that nothing interrupts, which is one for a disk."""
    try:
        stat = (_TASKS / str(thread) / "stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[:1] == [b"D"]
