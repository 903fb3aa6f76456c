"""Copies of a store that is in use, and reads of a store that another process may have open.

A process that reads beside the process that has the store must neither write nor checkpoint: see the hazard described
in ``lockfile``. A read-only connection cannot do either, not even when it is the last one to be closed.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from couchmodel._embedded import limits
from couchmodel._embedded.storage import files
from couchmodel._embedded.storage.lockfile import LockFile
from couchmodel._embedded.storage.sqlite import Connection, FileError, connect, connect_beside, file_errors
from couchmodel.errors import StoreFileError

__all__ = ["copy", "open_for_reading", "renew"]

Progress = Callable[[int, int], None]
"""A callback for the number of pages that are copied, and the number of all pages."""


@contextmanager
def open_for_reading(path: Path) -> Generator[Connection]:
    """Run the block with a connection that sees a store as it is at this moment, even if a process has it open.

    Raises:
        StoreFileError: there is no store at ``path``, or it cannot be read.
    """
    lock = LockFile(f"{path}.lock")
    try:
        with _open_transaction(path, _choose_opening(path, lock)) as connection:
            yield connection
    finally:
        lock.release()


def copy(path: Path, target: Path, progress: Progress | None = None) -> None:
    """Copy a store as it is at this moment. The copy appears at ``target`` when it is complete.

    Raises:
        StoreFileError: there is no store at ``path``, ``target`` exists, or ``target`` cannot be written.
    """
    if target.exists():
        raise StoreFileError(f"{target} is there already: name another file, or remove it first")
    with open_for_reading(path) as connection:
        try:
            with files.draft(target) as draft, file_errors():
                _copy_pages(connection, draft, progress)
        except (OSError, FileError) as error:
            raise StoreFileError(f"{target} cannot be written: {error}") from error


def _copy_pages(connection: Connection, target: Path, progress: Progress | None) -> None:
    copied = connect(str(target), writes=True)
    try:
        connection.backup(copied, pages=limits.COPIED_PAGES, progress=_page_callback(progress))
        renew(copied)
    finally:
        copied.close()


def renew(connection: Connection) -> int:
    """Give every database of a copy a new id. Return the number of databases.

    After the copy is made, copy and store give the same sequence numbers to different changes. A sequence carries the
    database's id, so a client that followed the store begins again with the copy and misses no change.
    """
    # SQLite calls randomblob for each row, so every database gets another id.
    return connection.execute("UPDATE database SET uuid = lower(hex(randomblob(16)))").rowcount


def _page_callback(progress: Progress | None) -> Callable[[int, int, int], None] | None:
    if progress is None:
        return None
    return lambda _status, left, total: progress(total - left, total)


def _choose_opening(path: Path, lock: LockFile) -> Callable[[], Connection]:
    """Return the function that opens a store for reading. Takes the lock if no process holds it."""
    if not lock.exists():
        files.check(path, writes=False)  # before the lock leaves a file beside a file that is no store
    try:
        ours = lock.try_acquire()
    except OSError:  # the directory is not writable, so only a process of another account can have the store open
        files.check(path, writes=False)
        return partial(connect_beside, path, immutable=not files.has_log(path))
    if not ours:
        return partial(connect_beside, path)
    files.check(path, writes=False)
    return partial(connect, str(path), writes=False)


@contextmanager
def _open_transaction(path: Path, open_store: Callable[[], Connection]) -> Generator[Connection]:
    try:
        with file_errors():
            connection = open_store()
            try:
                # A transaction from the first to the last read, so that everything that is read is of one moment.
                connection.execute("BEGIN")
                files.check_header(connection, path)
                yield connection
            finally:
                connection.close()
    except FileError as error:
        raise StoreFileError(f"{path} cannot be read: {error}") from error
