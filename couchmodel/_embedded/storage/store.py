"""Open and close a store, run jobs on its connections, and create and drop its databases.

A store is one file, or a database in memory, with the databases of one server. The first request opens it. Until it is
closed it holds the file's lock, three connections (for writes, for long reads, and for reads in the event loop) and, in
memory, the set of the databases. It may be used from several threads and event loops.
"""

import asyncio
import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, Self, TypeAlias, TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

from couchmodel._embedded import limits
from couchmodel._embedded.budget import BusyError
from couchmodel._embedded.javascript.engine import Scripts
from couchmodel._embedded.rules.security import Security
from couchmodel._embedded.storage import files, garbage
from couchmodel._embedded.storage.lockfile import LockFile
from couchmodel._embedded.storage.readers import Reader, Readers
from couchmodel._embedded.storage.sqlite import Connection, Inline, Worker, bind, connect
from couchmodel._embedded.storage.uuids import Uuids
from couchmodel._wire.reasons import NO_DATABASE
from couchmodel._wire.turns import give_turn, turn_is_due
from couchmodel.errors import NotFoundError, PreconditionFailedError, StoreFileError

__all__ = ["Database", "Store"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

SYSTEM: Final = ("_replicator", "_users")
"""The databases that a new server has."""

CLOSED: Final = "the store is closed"

FORKED: Final = (
    "this process was forked from the one that has the store open, which alone can use it: connect after the fork, "
    "start processes by the method 'spawn', or run `couchmodel serve` and connect to that"
)


@dataclass(slots=True, eq=False, weakref_slot=True)
class Database:
    """A database of the store, with the values that requests need often.

    - ``number``: its number in the tables; ``created``: seconds since 1970.
    - ``sequence_suffix``: the end of its sequence ids, as bytes.
    - ``change_count``: the changes since the store was opened. A value read earlier is valid while the count stays.
    - ``compactions``: the compactions that are running.
    - ``validation_scripts``: the ``validate_doc_update`` functions, which writes wait for; ``scripts``: all other
      JavaScript.
    - ``on_event``: a callback for its events, None before it is in a store and after it was dropped.
    """

    number: int
    name: str
    uuid: str
    created: int
    security: Security
    shards: int
    partitioned: bool
    sequence_suffix: bytes = field(init=False)
    watches: set["Watch"] = field(default_factory=set)
    read_semaphores: "ReadSemaphores" = field(default_factory=WeakKeyDictionary)
    scripts: Scripts = field(default_factory=Scripts)
    validation_scripts: Scripts = field(default_factory=Scripts)
    change_count: int = 0
    compactions: int = 0
    on_event: "EventCallback | None" = None

    def __post_init__(self) -> None:
        self.sequence_suffix = f"-{self.uuid}".encode()

    def sequence(self, number: int) -> str:
        """Return the sequence id of a sequence number. The part behind the number is opaque to clients."""
        return f"{number}-{self.uuid}"

    def watch(self) -> "Watch":
        """Return a watch: a context manager that waits for changes of the database."""
        return Watch(self.watches, self.read_semaphores)

    def end_scripts(self) -> None:
        """End the processes that run the JavaScript of the database's design documents."""
        self.scripts.close()
        self.validation_scripts.close()

    def notify(self, _result: object = None) -> None:
        """Wake all watches after a change of the database. May be called in any thread.

        The parameter lets the method be a callback of :meth:`Store.write`.
        """
        # After a commit, on the writing thread, or in the event loop for a short write of a store in memory.
        self.change_count += 1
        if self.on_event is not None:
            self.on_event("updated", self.name)
        waiting: dict[asyncio.AbstractEventLoop, list[Watch]] = {}
        for watch in tuple(self.watches):
            waiting.setdefault(watch.loop, []).append(watch)
        for loop, watches in waiting.items():
            with suppress(RuntimeError):  # the loop is closed
                # An asyncio event may be set in its own loop only.
                loop.call_soon_threadsafe(_wake, iter(watches), loop)


EventCallback: TypeAlias = Callable[[str, str], None]
"""A callback for an event (``created``, ``updated`` or ``deleted``, as in ``/_db_updates``) and a database's name.

It is called in any thread.
"""

ReadSemaphores: TypeAlias = WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]
"""A semaphore for each event loop: see :class:`Watch`."""


class Watch:
    """A waiter for changes of a database.

    ``read_semaphore`` lets some watches of an event loop read at a time. If thousands read at once, they would get
    their results at once, and hold up all other tasks.
    """

    def __init__(self, watches: set["Watch"], read_semaphores: "ReadSemaphores") -> None:
        self._watches = watches
        self.loop = asyncio.get_running_loop()
        self.read_semaphore = read_semaphores.setdefault(self.loop, asyncio.Semaphore(limits.WATCHES_WOKEN))
        self._event = asyncio.Event()

    def __enter__(self) -> Self:
        self._watches.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._watches.discard(self)

    async def wait_for_change(self, seconds: float) -> bool:
        """Wait for a change, and return True if there was one since the last call or within ``seconds``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        # The event may have been set while the timeout struck.
        was_set = self._event.is_set()
        self._event.clear()
        return was_set

    def wake(self) -> None:
        """Report a change. Must be called in the watch's event loop."""
        self._event.set()


def _wake(watches: Iterator[Watch], loop: asyncio.AbstractEventLoop) -> None:
    """Wake some watches now and the rest in later turns of the event loop: thousands at once would hold it up."""
    some = tuple(islice(watches, limits.WATCHES_WOKEN))
    for watch in some:
        watch.wake()
    if len(some) == limits.WATCHES_WOKEN:
        loop.call_soon(_wake, watches, loop)


class Store:
    """The databases of one server, in a file, or in memory without a path."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else Path(path).resolve()
        self.databases: dict[str, Database] = {}
        self.uuid = ""
        self.uuids = Uuids()
        self.on_event: EventCallback | None = None
        self._dropped: dict[str, int] = {}
        self._open: _Connections | None = None
        self._opening = threading.Lock()
        self._closed = False
        self._reads = 0
        self._why_closed = CLOSED
        self._finalizer: weakref.finalize[..., Store] | None = None
        _STORES.add(self)

    def __repr__(self) -> str:
        return f"<Store {self.path or 'in memory'}>"

    @property
    def is_open(self) -> bool:
        """True while the store is open."""
        return self._open is not None

    async def open(self) -> None:
        """Open the store if it is not open yet. Every use of the store does so by itself.

        Raises:
            StoreFileError: the file cannot be used, or the store was closed. The message says why, and what to do.
        """
        if self._open is None:
            if self._closed:
                raise StoreFileError(self._why_closed)
            await asyncio.to_thread(self._open_now)

    async def close(self) -> None:
        """Finish the queued jobs and close the file. A second call does nothing."""
        await asyncio.to_thread(self._close_now)  # it may have to wait for a thread that is opening the store

    async def read(self, function: Callable[[Connection, *Ts], T], *arguments: *Ts) -> T:
        """Run a short read in the event loop, or on the reading thread if it takes too long, and return its result.

        The function is called with a connection, followed by the arguments. It may be called twice.
        """
        job = bind(function, *arguments)
        # A read that is answered here suspends nothing, so a task that reads in a loop would keep the event loop to
        # itself.
        self._reads += 1
        if self._reads % limits.READS_PER_LOOK == 0 and turn_is_due():
            await give_turn()
        connections = self._open or await self._open_connections()
        try:
            return connections.inline.run(job)
        except BusyError:
            return await connections.reader.run(job, writes=False)

    async def read_in_thread(self, function: Callable[[Connection, *Ts], T], *arguments: *Ts) -> T:
        """Run a long read on the reading thread, and return its result. See :meth:`read` for the arguments."""
        connections = self._open or await self._open_connections()
        return await connections.reader.run(bind(function, *arguments), writes=False)

    async def write(
        self,
        function: Callable[[Connection, *Ts], T],
        *arguments: *Ts,
        on_commit: Callable[[T], None] | None = None,
        short: bool = False,
    ) -> T:
        """Call a function that writes, in a transaction, and return its result once the write is durable.

        The function is called with a connection, followed by the arguments. ``on_commit`` is called with the result
        after the commit and before this method returns. ``short`` says that the function does little but wait for the
        disk, so that a store in memory may run it in the event loop.
        """
        job = bind(function, *arguments)
        if short and self.path is None and turn_is_due():
            await give_turn()
        connections = self._open or await self._open_connections()
        if short and self.path is None:
            with suppress(BusyError):
                return connections.writer.run_here(job, on_commit)
        return await connections.writer.run(job, writes=True, on_commit=on_commit)

    def enqueue(
        self,
        function: Callable[[Connection, *Ts], T],
        *arguments: *Ts,
        on_commit: Callable[[T], None] | None = None,
    ) -> None:
        """Queue a function that writes, without waiting for it. See :meth:`write` for the arguments.

        Raises StoreFileError if the store is not open.
        """
        if self._open is None:
            raise StoreFileError(self._why_closed)
        self._open.writer.enqueue(bind(function, *arguments), on_commit=on_commit)

    def clear_indexes(self) -> None:
        """Remove the rows of dropped indexes in the background. Indexes that have readers are left for later."""
        if self._open is not None:
            self._open.clear_indexes()

    def reader(self, signature: str) -> Reader:
        """Return a reader of the index of a signature. The rows of a dropped index stay while it has a reader.

        Raises StoreFileError if the store is not open.
        """
        if self._open is None:
            raise StoreFileError(self._why_closed)
        return self._open.readers.begin(signature)

    # --- databases

    def database(self, name: str) -> Database:
        """Return the database of a name. Raises NotFoundError if there is none."""
        database = self.databases.get(name)
        if database is None:
            raise NotFoundError(NO_DATABASE)
        return database

    async def create_database(self, name: str, *, shards: int = 2, partitioned: bool = False) -> Database:
        """Create a database and return it. Raises PreconditionFailedError if the name is taken."""
        # Clients tell a database from a dropped one of the same name by ``instance_start_time``, a whole second.
        created = max(int(time.time()), self._dropped.get(name, 0) + 1)
        return await self.write(_insert_database, name, shards, partitioned, created, on_commit=self._add_created)

    async def drop_database(self, name: str) -> Database:
        """Drop a database and return it; its rows are removed in the background. Raises NotFoundError."""
        return await self.write(_drop_database, name, on_commit=self._remove_dropped)

    def _add_created(self, database: Database) -> None:
        self._add(database)
        self._report("created", database.name)

    def _add(self, database: Database) -> None:
        database.on_event = self._report
        self.databases[database.name] = database

    def _report(self, event: str, name: str) -> None:
        if self.on_event is not None:
            self.on_event(event, name)

    def _remove_dropped(self, database: Database) -> None:
        dropped = self.databases.pop(database.name)
        dropped.on_event = None
        dropped.notify()
        dropped.end_scripts()
        self._report("deleted", database.name)
        # Only a name whose database was created in this second could get the same second again.
        now = int(time.time())
        self._dropped = {name: second for name, second in self._dropped.items() if second >= now}
        self._dropped[database.name] = database.created
        if self._open is not None:
            self._open.clear(database.number)

    # --- opening

    async def _open_connections(self) -> "_Connections":
        await self.open()
        if self._open is None:
            raise StoreFileError(self._why_closed)
        return self._open

    def _open_now(self) -> None:
        with self._opening:
            if self._closed:
                raise StoreFileError(self._why_closed)
            if self._open is None:
                # The store counts as open only at the end of this block, so no request uses the connections before.
                connections = _open_memory() if self.path is None else _open_path(self.path)
                self._load(connections.inline.connection)
                for name in SYSTEM:
                    if name not in self.databases:
                        connections.writer.run_here(bind(_insert_database, name, 2, False, int(time.time())), self._add)
                self._finalizer = weakref.finalize(self, connections.abandon)
                connections.clear_leftovers()  # before the first request: its upload would look like a leftover
                self._open = connections

    def _close_now(self) -> None:
        with self._opening:
            self._closed = True
            connections, self._open = self._open, None
        for database in tuple(self.databases.values()):
            database.notify()
            database.end_scripts()
        if connections is not None:
            connections.close()

    def leave_to_parent(self) -> None:
        """Give up the open connections in a forked process: the file and the threads belong to the parent.

        A store that was open stays closed, and says so in its errors. Another one can still be opened.
        """
        self._opening = threading.Lock()
        if self._open is not None:
            self._closed, self._why_closed = True, FORKED
            _INHERITED.append(self._open)
            self._open = None
        if self._finalizer is not None:
            self._finalizer.detach()

    def _load(self, connection: Connection) -> None:
        self.uuid = connection.execute("SELECT value FROM meta WHERE name = 'uuid'").fetchone()[0]
        rows = connection.execute(f"SELECT {_COLUMNS} FROM database WHERE name IS NOT NULL")
        for row in rows.fetchall():
            self._add(_database_from_row(row))


_STORES: Final[weakref.WeakSet[Store]] = weakref.WeakSet()

_INHERITED: Final[list["_Connections"]] = []
"""The parent's connections in a forked process. They are kept: closing an SQLite connection could write to the file."""


def _leave_all_to_parent() -> None:
    for store in tuple(_STORES):
        store.leave_to_parent()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_leave_all_to_parent)


class _Connections:
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


def _open_memory() -> _Connections:
    connection = connect(":memory:", writes=True)
    files.create_tables(connection)
    lock = threading.Lock()
    # One connection for everything: a second one to ":memory:" would be an empty database of its own.
    writer = Worker(connection, lock, name="couchmodel-memory", finish=Connection.close)
    return _Connections(writer, writer, Inline(connection, lock))


def _open_path(path: Path) -> _Connections:
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
    return _Connections(writer, reader, inline)


# --- jobs


_COLUMNS: Final = "number, name, uuid, created, security, shards, partitioned"


def _insert_database(connection: Connection, name: str, shards: int, partitioned: bool, created: int) -> Database:
    row = connection.execute(
        "INSERT INTO database (name, uuid, created, shards, partitioned) VALUES (?, ?, ?, ?, ?)"
        f" ON CONFLICT DO NOTHING RETURNING {_COLUMNS}",
        (name, uuid.uuid4().hex, created, shards, partitioned),
    ).fetchone()
    if row is None:
        reason = "The database could not be created, the file already exists."
        raise PreconditionFailedError(reason, code="file_exists")
    return _database_from_row(row)


def _drop_database(connection: Connection, name: str) -> Database:
    row = connection.execute(
        f"UPDATE database SET name = NULL WHERE name = ? RETURNING {_COLUMNS.replace('name', '?')}", (name, name)
    ).fetchone()
    if row is None:
        raise NotFoundError(NO_DATABASE)
    return _database_from_row(row)


def _database_from_row(row: tuple[Any, ...]) -> Database:
    number, name, database_uuid, created, security, shards, partitioned = row
    return Database(number, name, database_uuid, created, Security(security), shards, bool(partitioned))
