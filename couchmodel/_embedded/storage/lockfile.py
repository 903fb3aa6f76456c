"""Lock a store's file against a second process.

Before SQLite 3.51.3, two processes that write to one WAL file can corrupt it. So a store holds an exclusive lock on
``FILE.lock`` while it is open. The operating system releases the lock when the process ends, however it ends. The lock
file is never removed: a process that waits would then lock the removed file, while a third process locks a new one.
"""

import os
import sys
import time
import weakref
from typing import Final

from couchmodel._embedded import limits
from couchmodel.errors import StoreFileError

__all__ = ["LockFile"]

_PAUSE: Final = 0.02
"""Seconds between two attempts to take the lock."""

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> None:
        # Windows does not let others read a locked byte. So the locked one lies far behind the process id.
        os.lseek(descriptor, 4096, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _try_lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


class LockFile:
    """An exclusive lock on a file beside a store's file. The lock file holds the process id of its holder."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor: int | None = None
        _LOCKS.add(self)

    def exists(self) -> bool:
        """Return True if the lock file exists, so that a process may hold the lock."""
        return os.path.exists(self.path)  # noqa: PTH110 - a path as text is what the system takes

    def acquire(self) -> None:
        """Take the lock. Raises StoreFileError if another process, or another store in this process, holds it."""
        self._acquire(limits.LOCK_FILE_SECONDS)

    def try_acquire(self) -> bool:
        """Take the lock without waiting, and return True if it was free.

        Raises OSError if the lock file cannot be written.
        """
        try:
            self._acquire(0.0)
        except StoreFileError:
            return False
        return True

    def release(self) -> None:
        """Release the lock. A second call does nothing."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def _acquire(self, timeout: float) -> None:
        # A child process must not inherit the descriptor: its copy would keep the lock alive.
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        try:
            self._wait(descriptor, timeout)
            _write_pid(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _wait(self, descriptor: int, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                return _try_lock(descriptor)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise self._held_error(descriptor) from error
            time.sleep(_PAUSE)

    def _held_error(self, descriptor: int) -> StoreFileError:
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
    """Close the descriptors that a forked process has inherited: each copy keeps the parent's lock alive."""
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
