"""A copy of a store, made while it is used, and reading a store that another process may have open.

Whoever reads beside the process that has the store neither writes nor checkpoints: see the hazard that ``lockfile`` is
about. A connection that is opened for reading only cannot, not even when it is the last to be closed.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from couchmodel._embedded.storage import files
from couchmodel._embedded.storage.lockfile import LockFile
from couchmodel._embedded.storage.sqlite import Connection, FileError, connect, connect_beside, file_errors
from couchmodel.errors import StoreFileError

__all__ = ["copy", "reading", "renew"]

PAGES: Final = 1024
"""Pages that are copied between two reports of how far it is."""

Progress = Callable[[int, int], None]
"""Is told how many pages are copied, and of how many."""


@contextmanager
def reading(path: Path) -> Generator[Connection]:
    """A connection that sees a store as it is at this moment, whether a process has it open or not.

    Raises:
        StoreFileError: there is no store at ``path``, or it cannot be read.
    """
    lock = LockFile(f"{path}.lock")
    try:
        with _connected(path, _way(path, lock)) as connection:
            yield connection
    finally:
        lock.release()


def copy(path: Path, target: Path, progress: Progress | None = None) -> None:
    """Copy a store as it is at this moment. The copy appears at ``target`` when it is whole.

    Raises:
        StoreFileError: there is no store at ``path``, there is something at ``target``, or it cannot be written.
    """
    if target.exists():
        raise StoreFileError(f"{target} is there already: name another file, or remove it first")
    with reading(path) as connection:
        try:
            with files.draft(target) as draft, file_errors():
                _copy(connection, draft, progress)
        except (OSError, FileError) as error:
            raise StoreFileError(f"{target} cannot be written: {error}") from error


def _copy(connection: Connection, target: Path, progress: Progress | None) -> None:
    copied = connect(str(target), writes=True)
    try:
        connection.backup(copied, pages=PAGES, progress=_reported(progress))
        renew(copied)
    finally:
        copied.close()


def renew(connection: Connection) -> int:
    """Give every database a new id. How many there are.

    What a copy is given is stored under numbers that the store has given to other changes since the copy was made.
    Sequences carry the id, so whoever follows the store begins again and misses none of them.
    """
    return connection.execute("UPDATE database SET uuid = lower(hex(randomblob(16)))").rowcount


def _reported(progress: Progress | None) -> Callable[[int, int, int], None] | None:
    if progress is None:
        return None
    return lambda _status, left, total: progress(total - left, total)


def _way(path: Path, lock: LockFile) -> Callable[[], Connection]:
    """The way to open a store, with the lock taken if nobody has it."""
    if not lock.exists():
        files.check(path, writes=False)  # the lock would leave a file beside what is no store
    try:
        ours = lock.try_acquire()
    except OSError:  # nothing can be written there, so nobody has it open, unless with another account
        files.check(path, writes=False)
        return partial(connect_beside, path, immutable=not files.has_log(path))
    if not ours:
        return partial(connect_beside, path)
    files.check(path, writes=False)
    return partial(connect, str(path), writes=False)


@contextmanager
def _connected(path: Path, way: Callable[[], Connection]) -> Generator[Connection]:
    try:
        with file_errors():
            connection = way()
            try:
                connection.execute("BEGIN")
                files.check_header(path, connection)
                yield connection
            finally:
                connection.close()
    except FileError as error:
        raise StoreFileError(f"{path} cannot be read: {error}") from error
