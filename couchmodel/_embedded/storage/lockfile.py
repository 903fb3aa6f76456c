"""The lock that keeps a second process from opening a store's file.

Two processes that write one WAL file can corrupt it with any SQLite before 3.51.3, so a store holds an exclusive lock
on ``FILE.lock`` as long as it is open. The operating system lets go of it when the process ends, however it ends; the
lock file stays, for to remove it would take the lock away from whoever is waiting for it.
"""

import os
import sys
import time
import weakref
from typing import Final

from couchmodel.errors import StoreFileError

__all__ = ["LockFile"]

PATIENCE: Final = 1.0
"""Seconds to wait for a process that is just ending, such as the one before a reload."""

_PAUSE: Final = 0.02

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        # A locked byte cannot be read by others, so it is one far behind the process id.
        os.lseek(descriptor, 4096, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class LockFile:
    """An exclusive lock beside a store's file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor: int | None = None
        _LOCKS.add(self)

    def exists(self) -> bool:
        """Whether there ever was a lock, so that somebody may have it."""
        return os.path.exists(self.path)  # noqa: PTH110 - a path as text is what the system takes

    def acquire(self) -> None:
        """Take the lock. Raises StoreFileError where another process, or another store of this one, has it."""
        self._acquire(PATIENCE)

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it; whether it was taken. Raises OSError where the file cannot be written."""
        try:
            self._acquire(0.0)
        except StoreFileError:
            return False
        return True

    def release(self) -> None:
        """Let go of the lock. Releasing twice is harmless."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def _acquire(self, patience: float) -> None:
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        try:
            self._wait(descriptor, patience)
            _write_pid(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _wait(self, descriptor: int, patience: float) -> None:
        deadline = time.monotonic() + patience
        while True:
            try:
                return _lock(descriptor)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise self._refusal(descriptor) from error
            time.sleep(_PAUSE)

    def _refusal(self, descriptor: int) -> StoreFileError:
        file = self.path.removesuffix(".lock")
        holder = _read_pid(descriptor)
        owner = f"process {holder}" if holder else "another process"
        if holder == os.getpid():
            owner = "another store in this process"
        return StoreFileError(
            f"{file} is held by {owner}: close it there, or run `couchmodel serve {file}` and connect to that"
        )


_LOCKS: Final[weakref.WeakSet[LockFile]] = weakref.WeakSet()


def _release_all() -> None:
    """Let go of the locks of the parent: a process that has a copy of a descriptor keeps its lock."""
    for lock in tuple(_LOCKS):
        lock.release()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_release_all)


def _read_pid(descriptor: int) -> int | None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    text = os.read(descriptor, 20).strip()
    return int(text) if text.isdigit() else None


def _write_pid(descriptor: int) -> None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, b"%d\n" % os.getpid())
