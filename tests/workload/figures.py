"""How much of the system a process uses: memory, and open handles."""

import asyncio
import sys
import threading
from pathlib import Path
from typing import NamedTuple

__all__ = ["Figures", "read_figures"]

_MIB = 1024 * 1024


class Figures(NamedTuple):
    """``memory`` in MiB, and counts of open ``handles``, ``threads`` and the event loop's ``tasks``."""

    memory: float
    handles: int
    threads: int
    tasks: int


def read_figures() -> Figures:
    """Return the figures of this process. It is called in the event loop."""
    return Figures(_memory(), _handles(), threading.active_count(), len(asyncio.all_tasks()))


def _memory() -> float:
    """Return the resident memory in MiB; outside of Linux, the most that it has ever been; 0 on Windows."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return _most_memory()
    return pages * 4096 / _MIB


def _most_memory() -> float:
    if sys.platform == "win32":
        return 0.0
    import resource  # noqa: PLC0415 - it is not there on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MIB


def _handles() -> int:
    """Return the count of open file descriptors, without the one that counts them; 0 on Windows."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        if Path(folder).is_dir():
            return sum(1 for _ in Path(folder).iterdir()) - 1
    return 0
