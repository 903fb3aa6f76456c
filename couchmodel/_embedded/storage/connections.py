"""The connections of an open store, and what is removed on them in the background.

A file has three: one thread writes, one does long reads, and the event loop does short ones. They are opened under the
lock of the file.
"""

import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

from couchmodel._embedded import limits
from couchmodel._embedded.storage import files, garbage
from couchmodel._embedded.storage.inline import Inline
from couchmodel._embedded.storage.lockfile import LockFile
from couchmodel._embedded.storage.readers import Readers
from couchmodel._embedded.storage.sqlite import Connection, bind, connect
from couchmodel._embedded.storage.worker import Worker
from couchmodel.errors import StoreFileError

__all__ = ["Connections", "open_file", "open_memory"]


class Connections:
    """The connections of an open store.

    They hold no reference to the store, so that a store that was not closed can be garbage collected.
    """

    __slots__ = ("clearing", "inline", "reader", "readers", "writer")

    def __init__(self, writer: Worker, reader: Worker, inline: Inline) -> None:
        self.writer = writer
        self.reader = reader
        self.inline = inline
        self.clearing: set[int] = set()
        """The indexes that are being cleared away. Only the writing thread looks at it."""
        self.readers = Readers()
        self.readers.ended = self.clear_indexes

    def clear(self, number: int) -> None:
        """Remove the rows of a dropped database in the background, in pieces, so that other writes come in between."""

        def clear_rest(more: bool) -> None:
            if more:
                self.clear(number)
            else:
                self.clear_indexes()

        # A store that is being closed goes on with it after it was opened again.
        with suppress(StoreFileError):
            self.writer.enqueue(bind(garbage.clear_database, number), on_commit=clear_rest)

    def clear_indexes(self) -> None:
        """Remove the rows of dropped indexes that have no reader, in the background, in pieces."""

        def clear_unread(dropped: list[tuple[int, str]]) -> None:
            # The drop is committed by now. So a reader that has not found the index yet will not find it.
            for index, signature in dropped:
                if index not in self.clearing and not self.readers.leave(index, signature):
                    self.clearing.add(index)
                    self._clear_index(index)

        with suppress(StoreFileError):
            self.writer.enqueue(garbage.dropped_indexes, on_commit=clear_unread)

    def _clear_index(self, index: int) -> None:
        def clear_rest(more: bool) -> None:
            if more:
                self._clear_index(index)
            else:
                self.clearing.discard(index)

        with suppress(StoreFileError):
            self.writer.enqueue(bind(garbage.clear_index, index), on_commit=clear_rest)

    def clear_leftovers(self) -> None:
        """Remove in the background what an earlier process has left to remove."""

        def clear_dropped(dropped: list[int]) -> None:
            for number in dropped:
                self.clear(number)
            self.clear_indexes()

        self.writer.enqueue(garbage.clear_leftovers, on_commit=clear_dropped)

    def abandon(self) -> None:
        """Let the threads end after their queued jobs, without waiting for them."""
        self.reader.stop()
        self.writer.stop()

    def close(self) -> None:
        """End the threads and wait for them. The writer ends last: SQLite moves the log into the file as it closes."""
        self.reader.stop()
        self.reader.join()
        self.writer.stop()
        self.writer.join()


def open_memory() -> Connections:
    """Return the connections of a new database in memory."""
    connection = connect(":memory:", writes=True)
    files.create_tables(connection)
    lock = threading.Lock()
    # One connection for everything: a second one to ":memory:" would be an empty database of its own.
    writer = Worker(connection, lock, name="couchmodel-memory", finish=Connection.close)
    return Connections(writer, writer, Inline(connection, lock))


def open_file(path: Path) -> Connections:
    """Lock a file, create it if there is none, and return its connections.

    Raises StoreFileError if another process has it, or it is no store.
    """
    lock = LockFile(f"{path}.lock")
    if not lock.exists():
        files.check(path)  # before the lock, so that a wrong path gets no lock file beside it
    lock.acquire()
    try:
        files.check(path)
        files.prepare(path)
        writing = files.open_file(path)
        identity = files.FileIdentity(path)

        def connect_again(timeout: float) -> Connection:
            identity.check()  # another file may have taken the path
            return connect(str(path), writes=False, timeout=timeout)

        reading = connect(str(path), writes=False)
        inline = Inline(
            connect(str(path), writes=False, timeout=0), threading.Lock(), connect=partial(connect_again, 0)
        )
    except BaseException:
        lock.release()
        raise

    # The connection that writes is closed last, because SQLite then moves the log into the file. Only after that may
    # another process take the lock.
    def finish(connection: Connection) -> None:
        with inline.lock:
            inline.connection.close()
        connection.close()
        lock.release()

    writer = Worker(writing, threading.Lock(), name="couchmodel-writer", finish=finish, before_writing=identity.check)
    reader = Worker(
        reading,
        threading.Lock(),
        name="couchmodel-reader",
        finish=Connection.close,
        connect=partial(connect_again, limits.LOCK_SECONDS),
    )
    return Connections(writer, reader, inline)
