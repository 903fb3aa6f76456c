"""Create, check and open the file of a store.

A new file appears at its path only when it is complete. The first bytes of an existing file are checked before SQLite
opens it, so that the database of another application is never touched.
"""

import os
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from couchmodel._embedded.storage.schema import APPLICATION_ID, STEPS, VERSION
from couchmodel._embedded.storage.sqlite import Connection, FileError, check_version, connect, file_errors
from couchmodel.errors import ServerError, StoreFileError

__all__ = ["FileIdentity", "check", "check_header", "create_tables", "draft", "has_log", "open_file", "prepare"]

_HEADER_SIZE: Final = 100
_MAGIC: Final = b"SQLite format 3\0"


def check(path: Path, *, writes: bool = True) -> None:
    """Raise StoreFileError if no store can be opened or created at ``path``. The file is not changed.

    The reasons are: the file is not a store, or a store of a newer version; the folder is missing or not writable.
    Without ``writes`` the store has to exist already.
    """
    check_version()
    if writes:
        _check_folder(path)
    if not _store_exists(path) and not writes:
        raise StoreFileError(f"there is no store at {path}")


def check_header(connection: Connection, path: Path) -> None:
    """Check an open file as :func:`check` does, by its connection.

    The file must not be opened a second time: closing any of its descriptors would end SQLite's locks (see "How To
    Corrupt An SQLite Database File" in SQLite's manual).

    Raises:
        StoreFileError: the file is not a store, or a store of a newer version.
    """
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise _foreign_file_error(path)
    _check_version(path, connection.execute("PRAGMA user_version").fetchone()[0])


def prepare(path: Path) -> None:
    """Create a store at ``path`` if there is none yet. Raises StoreFileError."""
    if not _store_exists(path):
        _create_store(path)


def open_file(path: Path) -> Connection:
    """Open the store at ``path`` for writing, bring its tables up to date and return the connection.

    Raises StoreFileError.
    """
    try:
        with file_errors():
            connection = connect(str(path), writes=True)
    except FileError as error:
        raise StoreFileError(f"{path} cannot be opened: {error}") from error
    try:
        _prepare_connection(connection, path)
    except StoreFileError:
        connection.close()
        raise
    return connection


def _prepare_connection(connection: Connection, path: Path) -> None:
    try:
        with file_errors():
            # WAL lets reads go on during a write. It needs memory that all connections share, which a network file
            # system lacks: SQLite then keeps the old mode and says so.
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
    except FileError as error:
        raise StoreFileError(f"{path} cannot be opened: {error}") from error
    if mode != "wal":
        raise StoreFileError(f"{path} lies where SQLite cannot share memory, such as on a network: move it to a disk")
    _check_version(path, version)
    if version < VERSION:
        _migrate(connection, path, version)


def create_tables(connection: Connection) -> None:
    """Create the tables of a store in an empty SQLite database."""
    _run_migrations(connection, 0)
    connection.execute("INSERT INTO meta VALUES ('uuid', ?)", (uuid.uuid4().hex,))


def _run_migrations(connection: Connection, version: int) -> None:
    """Run the migrations after a version, in one transaction."""
    steps = "".join(STEPS[version:])
    # Both pragmas take part in the transaction: after a crash the file has the tables and marks of one version.
    marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
    connection.executescript(f"BEGIN IMMEDIATE; {steps} {marks} COMMIT;")


def _migrate(connection: Connection, path: Path, version: int) -> None:
    try:
        with file_errors():
            _run_migrations(connection, version)
    except FileError as error:
        reason = f"{path} cannot be brought from version {version} to {VERSION}, and was left as it is: {error}"
        raise StoreFileError(reason) from error


def has_log(path: Path) -> bool:
    """Return True if a write-ahead log lies beside a store, with its latest writes."""
    return _sibling(path, "-wal").exists()


class FileIdentity:
    """The identity of an open file, to notice when it is removed or replaced.

    Unix lets a program remove a file that another one has open. Writes to the removed file succeed, and are lost.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._identity = self._stat_identity()

    def check(self) -> None:
        """Raise ServerError if the file was removed or replaced."""
        if self._stat_identity() != self._identity:
            reason = f"{self._path} was removed or replaced while it was open: nothing was written; close the store"
            raise ServerError(reason, code="storage_error")

    def _stat_identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - it is on the way of every write
        except OSError:
            return None
        return found.st_dev, found.st_ino


def _check_folder(path: Path) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise StoreFileError(f"{path} cannot be created: there is no folder {folder}, make it first")
    if path.is_dir():
        raise StoreFileError(f"{path} is a folder: name a file in it")
    if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.R_OK | os.W_OK)):
        raise StoreFileError(f"{path} cannot be written: check the permissions of the file and of its folder")


def _store_exists(path: Path) -> bool:
    """Return True if there is a store already, and False for no file or an empty one, such as ``tempfile`` makes.

    Raises StoreFileError for a file that is no store.
    """
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_SIZE)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreFileError(f"{path} cannot be read: {error.strerror}") from error
    if not header:
        return False
    if len(header) < _HEADER_SIZE or not header.startswith(_MAGIC):
        raise StoreFileError(f"{path} is not a couchmodel store, and not even an SQLite file: name another file")
    # Offsets 68 and 60 of the header: application id and user version. See SQLite's "Database File Format".
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise _foreign_file_error(path)
    _check_version(path, int.from_bytes(header[60:64], "big"))
    return True


def _foreign_file_error(path: Path) -> StoreFileError:
    return StoreFileError(f"{path} is the SQLite file of another application: name another file")


def _check_version(path: Path, version: int) -> None:
    if version > VERSION:
        raise StoreFileError(
            f"{path} was written by a newer version of couchmodel (store version {version}, this one reads {VERSION}):"
            " upgrade couchmodel"
        )


def _create_store(path: Path) -> None:
    try:
        with draft(path) as place, file_errors():
            connection = connect(str(place), writes=True)
            try:
                create_tables(connection)
            finally:
                connection.close()
    except (OSError, FileError) as error:
        raise StoreFileError(f"{path} cannot be created: {error}") from error


@contextmanager
def draft(path: Path) -> Generator[Path]:
    """Yield a path beside ``path`` to build a store at, and move that file to ``path`` when the block ends.

    So a crash leaves no incomplete store.

    Raises:
        OSError: the file cannot be moved.
    """
    place = _sibling(path, ".new")
    try:
        # SQLite would play the log of a deleted store back into the new one.
        _remove(place, *(_sibling(path, suffix) for suffix in (*_DRAFT_LOGS, "-wal", "-shm")))
        yield place
        # A rename replaces the file in one step: other processes see the old file or the whole new one.
        place.replace(path)
        _sync_folder(path.parent)
    finally:
        _remove(place, *(_sibling(path, suffix) for suffix in _DRAFT_LOGS))


_DRAFT_LOGS: Final = (".new-journal", ".new-wal", ".new-shm")


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _sibling(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _sync_folder(folder: Path) -> None:
    # A rename survives a power failure only when its folder is synced, too. Only Unix can open a folder.
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
