"""Open SQLite connections, and turn SQLite's errors into ours.

A *job* is a function that takes a connection. ``inline`` and ``worker`` run jobs, in the transactions of
``transactions``. No other module imports ``sqlite3``, so no other can open a file past the lock, or without the
settings that every connection needs.
"""

import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection
from typing import Final, TypeAlias, TypeVar, TypeVarTuple

from couchmodel._embedded import limits
from couchmodel.errors import ServerError, StorageFullError, StoreFileError

__all__ = [
    "Connection",
    "FileError",
    "Job",
    "SQLiteError",
    "bind",
    "check_version",
    "connect",
    "connect_beside",
    "file_errors",
    "may_be_repeated",
    "server_error",
    "was_interrupted",
]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Job = Callable[[Connection], T]

SQLiteError: TypeAlias = sqlite3.Error

MINIMUM_SQLITE: Final = (3, 38, 0)
"""The oldest version of SQLite that a store runs on."""

ROUTINE: Final = "CREATE TEMP TABLE routine (database INTEGER PRIMARY KEY)"
"""A temporary table of the databases that this process has written documents to: see ``documents.writer``."""


def bind(function: Callable[[Connection, *Ts], T], *arguments: *Ts) -> Job[T]:
    """Return the job that calls a function with its connection, followed by the arguments."""
    return lambda connection: function(connection, *arguments)


class FileError(Exception):
    """SQLite cannot open or create a file. The message is SQLite's."""


def check_version() -> None:
    """Raise StoreFileError if Python's SQLite is too old."""
    if sqlite3.sqlite_version_info < MINIMUM_SQLITE:
        needed = ".".join(map(str, MINIMUM_SQLITE[:2]))
        raise StoreFileError(f"Python's SQLite is {sqlite3.sqlite_version}, an embedded store needs {needed} or later")


@contextmanager
def file_errors() -> Generator[None]:
    """Run the block, and raise SQLite's errors as FileError."""
    try:
        yield
    except sqlite3.Error as error:
        raise FileError(str(error)) from error


# FULL syncs the log at each commit, so a commit survives a power failure. In WAL mode NORMAL would not promise that.
_WRITER_SETUP: Final = ("PRAGMA synchronous = FULL", ROUTINE)
_READER_SETUP: Final = ("PRAGMA query_only = ON", "PRAGMA wal_autocheckpoint = 0")


def connect(target: str, *, writes: bool, timeout: float = limits.LOCK_SECONDS) -> Connection:
    """Return a connection in autocommit mode: transactions are begun and ended by SQL statements.

    It waits up to ``timeout`` seconds while another program has the file locked. Only the connection that writes moves
    the log into the file (a checkpoint): two that do so could corrupt the file, see ``lockfile``.
    """
    connection = sqlite3.connect(
        target,
        # None keeps Python from beginning transactions by itself, in front of the statements that it takes for writes.
        isolation_level=None,
        check_same_thread=False,
        cached_statements=limits.CACHED_STATEMENTS,
        timeout=timeout,
    )
    try:
        # A negative size is in KiB: 16 MiB for each connection.
        connection.execute("PRAGMA cache_size = -16384")
        # Else SQLite would put temporary tables and large sorts into files, on a disk that may be full.
        connection.execute("PRAGMA temp_store = MEMORY")
        for statement in _WRITER_SETUP if writes else _READER_SETUP:
            connection.execute(statement)
    except sqlite3.Error:
        connection.close()  # SQLite reads a damaged file only at the first statement
        raise
    return connection


def connect_beside(path: Path, *, immutable: bool = False) -> Connection:
    """Return a read-only connection to a file that another connection or process may write to.

    A read-only connection does not checkpoint, not even when it is the last to be closed. ``immutable`` says that no
    process can write to the file, so that SQLite needs no log or shared memory beside it.
    """
    mode = "mode=ro&immutable=1" if immutable else "mode=ro"
    return sqlite3.connect(f"{path.as_uri()}?{mode}", uri=True, isolation_level=None, check_same_thread=False)


def server_error(error: sqlite3.Error) -> ServerError:
    """Return the error for clients: for a full disk, for a damaged file, or for any other error of SQLite."""
    number = _primary_code(error)
    answer: ServerError
    if number == sqlite3.SQLITE_FULL:
        answer = StorageFullError("the disk is full: nothing was written")
    elif number in _DAMAGE_CODES:
        reason = f"the store's file is damaged ({error}): run `couchmodel check`, or go back to a copy of it"
        answer = ServerError(reason, code="storage_error")
    else:
        answer = ServerError(f"the store's file cannot be used: {error}", code="storage_error")
    answer.__cause__ = error
    return answer


def was_interrupted(error: sqlite3.Error) -> bool:
    """Return True if a statement was interrupted: by a deadline, or because of a cursor that was left open."""
    return _primary_code(error) == sqlite3.SQLITE_INTERRUPT


def may_be_repeated(error: sqlite3.Error) -> bool:
    """Return True if an error says nothing about the statement, so that a worker or a new connection may succeed."""
    return _primary_code(error) in _RETRY_CODES


_DAMAGE_CODES: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_RETRY_CODES: Final = (sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code: the low byte of the extended one."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
