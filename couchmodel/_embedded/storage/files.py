"""The file of a store: made whole or not at all, and never anything else's file.

What is not a store is told from its first bytes, before SQLite opens it, so that a foreign database is not touched.
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

__all__ = ["Presence", "check", "check_header", "create_tables", "draft", "has_log", "open_file", "prepare"]

_HEADER_SIZE: Final = 100
_MAGIC: Final = b"SQLite format 3\0"


def check(path: Path, *, writes: bool = True) -> None:
    """Touch nothing, and raise StoreFileError where there can be no store at ``path``.

    What is there may be no store, or one of a newer version; its folder may be missing, or not writable. Who does not
    write needs a store that is there.
    """
    check_version()
    if writes:
        _check_place(path)
    if not _is_there(path) and not writes:
        raise StoreFileError(f"there is no store at {path}")


def check_header(path: Path, connection: Connection) -> None:
    """The same for a file that is open, and may not be opened by its name again: closing it would end SQLite's locks.

    Raises:
        StoreFileError: it is no store, or one of a newer version.
    """
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise _foreign(path)
    _check_version(path, connection.execute("PRAGMA user_version").fetchone()[0])


def prepare(path: Path) -> None:
    """See to it that there is a store at ``path``: the one that is there, or a new one. Raises StoreFileError."""
    if not _is_there(path):
        _create(path)


def open_file(path: Path) -> Connection:
    """The connection that writes to the store at ``path``, whose tables are brought up to date."""
    try:
        with file_errors():
            connection = connect(str(path), writes=True)
    except FileError as error:
        raise StoreFileError(f"{path} cannot be opened: {error}") from error
    try:
        _make_ready(path, connection)
    except StoreFileError:
        connection.close()
        raise
    return connection


def _make_ready(path: Path, connection: Connection) -> None:
    try:
        with file_errors():
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
    except FileError as error:
        raise StoreFileError(f"{path} cannot be opened: {error}") from error
    if mode != "wal":
        raise StoreFileError(f"{path} lies where SQLite cannot share memory, such as on a network: move it to a disk")
    _check_version(path, version)
    if version < VERSION:
        _migrate(path, connection, version)


def create_tables(connection: Connection) -> None:
    """Make an empty database a store."""
    _take_steps(connection, 0)
    connection.execute("INSERT INTO meta VALUES ('uuid', ?)", (uuid.uuid4().hex,))


def _take_steps(connection: Connection, version: int) -> None:
    """Bring tables of that version up to date, all or nothing."""
    steps = "".join(STEPS[version:])
    marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
    connection.executescript(f"BEGIN IMMEDIATE; {steps} {marks} COMMIT;")


def _migrate(path: Path, connection: Connection, version: int) -> None:
    try:
        with file_errors():
            _take_steps(connection, version)
    except FileError as error:
        reason = f"{path} cannot be brought from version {version} to {VERSION}, and was left as it is: {error}"
        raise StoreFileError(reason) from error


def has_log(path: Path) -> bool:
    """Whether there is a log beside a store, with what was written last."""
    return _beside(path, "-wal").exists()


class Presence:
    """Remembers a file, to notice when it is taken away or replaced while it is open.

    A system that lets a file be removed that somebody has open lets him write to it, too, and it all is lost.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._identity = self._look()

    def check(self) -> None:
        """Raise ServerError where the file is not there any more."""
        if self._look() != self._identity:
            reason = f"{self._path} was removed or replaced while it was open: nothing was written; close the store"
            raise ServerError(reason, code="storage_error")

    def _look(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path)  # noqa: PTH116 - it is on the way of every write
        except OSError:
            return None
        return found.st_dev, found.st_ino


def _check_place(path: Path) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise StoreFileError(f"{path} cannot be created: there is no folder {folder}, make it first")
    if path.is_dir():
        raise StoreFileError(f"{path} is a folder: name a file in it")
    if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.R_OK | os.W_OK)):
        raise StoreFileError(f"{path} cannot be written: check the permissions of the file and of its folder")


def _is_there(path: Path) -> bool:
    """Whether there is a store already. An empty file, such as one of ``tempfile``'s, is none."""
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
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise _foreign(path)
    _check_version(path, int.from_bytes(header[60:64], "big"))
    return True


def _foreign(path: Path) -> StoreFileError:
    return StoreFileError(f"{path} is the SQLite file of another application: name another file")


def _check_version(path: Path, version: int) -> None:
    if version > VERSION:
        raise StoreFileError(
            f"{path} was written by a newer version of couchmodel (store version {version}, this one reads {VERSION}):"
            " upgrade couchmodel"
        )


def _create(path: Path) -> None:
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
    """A place beside ``path`` to build a store; it is moved there when it is whole, so a crash leaves no half one.

    Raises:
        OSError: it cannot be moved.
    """
    place = _beside(path, ".new")
    try:
        # The log of a store that was deleted would be played back into the new one.
        _remove(place, *(_beside(path, suffix) for suffix in (*_DRAFT_LOGS, "-wal", "-shm")))
        yield place
        place.replace(path)
        _sync_folder(path.parent)
    finally:
        _remove(place, *(_beside(path, suffix) for suffix in _DRAFT_LOGS))


_DRAFT_LOGS: Final = (".new-journal", ".new-wal", ".new-shm")


def _remove(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
