"""The store: one file, or a piece of memory, with the databases of one server.

It is opened by the first request. Until it is closed it holds the file's lock, a connection for each of three uses
(writing, long reads, reads in the event loop) and, in memory, the set of the databases. It may be used from several
threads and event loops.
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
from typing import Any, Final, Self, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from couchmodel._embedded.javascript.engine import Scripts
from couchmodel._embedded.limits.turns import BusyError
from couchmodel._embedded.rules.security import Security
from couchmodel._embedded.storage import files
from couchmodel._embedded.storage import garbage as clearing
from couchmodel._embedded.storage.lockfile import LockFile
from couchmodel._embedded.storage.readers import Reader, Readers
from couchmodel._embedded.storage.sqlite import Connection, Inline, Job, Worker, connect
from couchmodel._embedded.storage.uuids import Uuids
from couchmodel._wire.turns import give_turn, turn_is_due
from couchmodel.errors import NotFoundError, PreconditionFailedError, StoreFileError

__all__ = ["Database", "Store"]

T = TypeVar("T")

WAKEN: Final = 20
"""How many of those who wait for a change hear of it in one turn of their event loop."""

FEW: Final = 16
"""Reads of one request between two looks at the clock, by which the event loop is given its turns."""

SYSTEM: Final = ("_replicator", "_users")
"""Databases that a server has from its start."""


CLOSED: Final = "the store is closed"

FORKED: Final = (
    "this process was forked from the one that has the store open, which alone can use it: connect after the fork, "
    "start processes by the method 'spawn', or run `couchmodel serve` and connect to that"
)


@dataclass(slots=True, eq=False, weakref_slot=True)
class Database:
    """A database of the store: its number in the tables, and what is asked of it often.

    ``changes`` counts those since it was opened: what was read of it is good for as long as it stands still.
    ``compactions`` counts those under way. ``checks`` are the functions that writes wait for, ``scripts`` all others.
    """

    number: int
    name: str
    uuid: str
    created: int
    security: Security
    shards: int
    partitioned: bool
    opaque: bytes = field(init=False)
    watches: set["Watch"] = field(default_factory=set)
    turns: "Turns" = field(default_factory=WeakKeyDictionary)
    scripts: Scripts = field(default_factory=Scripts)
    checks: Scripts = field(default_factory=Scripts)
    changes: int = 0
    compactions: int = 0
    heard: "Heard | None" = None

    def __post_init__(self) -> None:
        self.opaque = f"-{self.uuid}".encode()

    def sequence(self, number: int) -> str:
        """A sequence id. What follows its number is nobody's business but this database's."""
        return f"{number}-{self.uuid}"

    def watch(self) -> "Watch":
        """A context in which changes are noticed."""
        return Watch(self.watches, self.turns)

    def end_scripts(self) -> None:
        """End the processes of the database's functions."""
        self.scripts.close()
        self.checks.close()

    def notify(self, _result: object = None) -> None:
        """The database has changed. From any thread."""
        self.changes += 1
        if self.heard is not None:
            self.heard("updated", self.name)
        waiting: dict[asyncio.AbstractEventLoop, list[Watch]] = {}
        for watch in tuple(self.watches):
            waiting.setdefault(watch.loop, []).append(watch)
        for loop, watches in waiting.items():
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(_wake, iter(watches), loop)


Heard: TypeAlias = Callable[[str, str], None]
"""Is told what has become of a database, in CouchDB's word for it, and its name. From any thread."""

Turns: TypeAlias = WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]


class Watch:
    """Whoever waits for a database to change.

    ``turn`` is a context that few of an event loop's are in at a time: the others wait in it until it is theirs to
    read. Thousands that read at once would have their results at once, and hold up everybody else.
    """

    def __init__(self, watches: set["Watch"], turns: "Turns") -> None:
        self._watches = watches
        self.loop = asyncio.get_running_loop()
        self.turn = turns.setdefault(self.loop, asyncio.Semaphore(WAKEN))
        self._event = asyncio.Event()

    def __enter__(self) -> Self:
        self._watches.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._watches.discard(self)

    async def changed(self, seconds: float) -> bool:
        """Whether there was a change since the last call, or is one within the time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        was_set = self._event.is_set()
        self._event.clear()
        return was_set

    def wake(self) -> None:
        """There was a change. From the watch's event loop."""
        self._event.set()


def _wake(watches: Iterator[Watch], loop: asyncio.AbstractEventLoop) -> None:
    """Wake some, and the others when those have had their turn: thousands at once would hold up everybody else."""
    some = tuple(islice(watches, WAKEN))
    for watch in some:
        watch.wake()
    if len(some) == WAKEN:
        loop.call_soon(_wake, watches, loop)


class Store:
    """The databases of one server, in a file, or in memory where there is no path."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else Path(path).resolve()
        self.databases: dict[str, Database] = {}
        self.uuid = ""
        self.uuids = Uuids()
        self.heard: Heard | None = None
        self._dropped: dict[str, int] = {}
        self._open: _Open | None = None
        self._opening = threading.Lock()
        self._closed = False
        self._reads = 0
        self._why_closed = CLOSED
        self._forget: weakref.finalize[..., Store] | None = None
        _STORES.add(self)

    def __repr__(self) -> str:
        return f"<Store {self.path or 'in memory'}>"

    @property
    def is_open(self) -> bool:
        """Whether the store is open."""
        return self._open is not None

    async def open(self) -> None:
        """Open the store if it is not open yet, as the first use does.

        Raises:
            StoreFileError: the file cannot be used; the message says why, and what to do.
        """
        if self._open is None:
            if self._closed:
                raise StoreFileError(self._why_closed)
            await asyncio.to_thread(self._open_now)

    async def close(self) -> None:
        """Finish what is queued, and let go of the file. Closing twice is harmless."""
        await asyncio.to_thread(self._close_now)  # another thread may be opening it at the moment, which takes a while

    async def read(self, job: Job[T]) -> T:
        """What a short read gives: here and now, or on a thread if it takes longer than it should."""
        self._reads += 1
        if self._reads % FEW == 0 and turn_is_due():
            await give_turn()
        connections = self._open or await self._opened()
        try:
            return connections.inline.run(job)
        except BusyError:
            return await connections.reader.run(job, writes=False)

    async def scan(self, job: Job[T]) -> T:
        """What a long read gives, on a thread."""
        connections = self._open or await self._opened()
        return await connections.reader.run(job, writes=False)

    async def write(self, job: Job[T], *, committed: Callable[[T], None] | None = None, short: bool = False) -> T:
        """What a job gives that writes, in a transaction of its own and durable by then.

        ``committed`` is called with it before anybody hears of it. ``short`` says that the job is done in no time but
        for the disk, so that in memory it may be done here and now.
        """
        if short and self.path is None and turn_is_due():
            await give_turn()
        connections = self._open or await self._opened()
        if short and self.path is None:
            with suppress(BusyError):
                return connections.writer.run_here(job, committed)
        return await connections.writer.run(job, writes=True, committed=committed)

    def enqueue(self, job: Job[Any], *, committed: Callable[[Any], None] | None = None) -> None:
        """Have a write done that nobody waits for. The store must be open."""
        if self._open is None:
            raise StoreFileError(self._why_closed)
        self._open.writer.enqueue(job, committed=committed)

    def clear_indexes(self) -> None:
        """Have what dropped indexes have left cleared away, some time, and not before nobody reads it any more."""
        if self._open is not None:
            self._open.clear_indexes()

    def reader(self, signature: str) -> Reader:
        """Return a reader of the index of a signature, which is there while the reader lasts, even if it is dropped.

        The store must be open.
        """
        if self._open is None:
            raise StoreFileError(self._why_closed)
        return self._open.readers.begin(signature)

    # --- databases

    def database(self, name: str) -> Database:
        """The database of that name. Raises NotFoundError."""
        database = self.databases.get(name)
        if database is None:
            raise NotFoundError("Database does not exist.")
        return database

    async def create_database(self, name: str, *, shards: int = 2, partitioned: bool = False) -> Database:
        """A new database. Raises PreconditionFailedError where there is one of that name."""
        # By its second a database is told from others that had its name.
        created = max(int(time.time()), self._dropped.get(name, 0) + 1)
        return await self.write(partial(_insert_database, name, shards, partitioned, created), committed=self._created)

    async def drop_database(self, name: str) -> Database:
        """Drop a database; what was in it is cleared away in time. Raises NotFoundError."""
        return await self.write(partial(_drop_database, name), committed=self._remove)

    def _created(self, database: Database) -> None:
        self._add(database)
        self._hear("created", database.name)

    def _add(self, database: Database) -> None:
        database.heard = self._hear
        self.databases[database.name] = database

    def _hear(self, event: str, name: str) -> None:
        if self.heard is not None:
            self.heard(event, name)

    def _remove(self, database: Database) -> None:
        dropped = self.databases.pop(database.name)
        dropped.heard = None
        dropped.notify()
        dropped.end_scripts()
        self._hear("deleted", database.name)
        now = int(time.time())
        self._dropped = {name: second for name, second in self._dropped.items() if second >= now}
        self._dropped[database.name] = database.created
        if self._open is not None:
            self._open.clear(database.number)

    # --- opening

    async def _opened(self) -> "_Open":
        await self.open()
        if self._open is None:
            raise StoreFileError(self._why_closed)
        return self._open

    def _open_now(self) -> None:
        with self._opening:
            if self._closed:
                raise StoreFileError(self._why_closed)
            if self._open is None:
                connections = _open_memory() if self.path is None else _open_path(self.path)
                self._load(connections.inline.connection)
                for name in SYSTEM:
                    if name not in self.databases:
                        connections.writer.run_here(
                            partial(_insert_database, name, 2, False, int(time.time())), self._add
                        )
                self._forget = weakref.finalize(self, connections.abandon)
                connections.clear_leftovers()  # before anybody can begin with what would look like that
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
        """Give up what was open when this process was forked: its threads are the parent's, and so is its file."""
        self._opening = threading.Lock()
        if self._open is not None:
            self._closed, self._why_closed = True, FORKED
            _INHERITED.append(self._open)
            self._open = None
        if self._forget is not None:
            self._forget.detach()

    def _load(self, connection: Connection) -> None:
        self.uuid = connection.execute("SELECT value FROM meta WHERE name = 'uuid'").fetchone()[0]
        rows = connection.execute(f"SELECT {_COLUMNS} FROM database WHERE name IS NOT NULL")
        for row in rows.fetchall():
            self._add(_database(row))


_STORES: Final[weakref.WeakSet[Store]] = weakref.WeakSet()

_INHERITED: Final[list["_Open"]] = []
"""What the parent of this process has open. It is kept: to close a connection of SQLite's would write to the file."""


def _leave_all_to_parent() -> None:
    for store in tuple(_STORES):
        store.leave_to_parent()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_leave_all_to_parent)


class _Open:
    """The connections of an open store. It knows nothing of the store, so that a forgotten store can be collected."""

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
        """Clear away what a dropped database has left, a piece at a time, so that other writes come in between."""

        def again(more: bool) -> None:
            if more:
                self.clear(number)
            else:
                self.clear_indexes()

        # A store that is being closed goes on with it when it is opened again.
        with suppress(StoreFileError):
            self.writer.enqueue(partial(clearing.clear_database, number), committed=again)

    def clear_indexes(self) -> None:
        """Clear away the dropped indexes that nobody reads, likewise."""

        def begin(dropped: list[tuple[int, str]]) -> None:
            # That they are dropped is written by now: who does not read them yet will not find them.
            for index, signature in dropped:
                if index not in self.clearing and not self.readers.leave(index, signature):
                    self.clearing.add(index)
                    self._clear_index(index)

        with suppress(StoreFileError):
            self.writer.enqueue(clearing.dropped_indexes, committed=begin)

    def _clear_index(self, index: int) -> None:
        def again(more: bool) -> None:
            if more:
                self._clear_index(index)
            else:
                self.clearing.discard(index)

        with suppress(StoreFileError):
            self.writer.enqueue(partial(clearing.clear_index, index), committed=again)

    def clear_leftovers(self) -> None:
        """Clear away what the last process could not."""

        def begin(dropped: list[int]) -> None:
            for number in dropped:
                self.clear(number)
            self.clear_indexes()

        self.writer.enqueue(clearing.clear_leftovers, committed=begin)

    def abandon(self) -> None:
        """Let everything end when it has finished, and wait for nothing."""
        self.reader.stop()
        self.writer.stop()

    def close(self) -> None:
        """Let everything end, the writer last: closing, it moves the log into the file."""
        self.reader.stop()
        self.reader.join()
        self.writer.stop()
        self.writer.join()


def _open_memory() -> _Open:
    connection = connect(":memory:", writes=True)
    files.create_tables(connection)
    lock = threading.Lock()
    writer = Worker(connection, lock, name="couchmodel-memory", finish=Connection.close)
    return _Open(writer, writer, Inline(connection, lock))


def _open_path(path: Path) -> _Open:
    lock = LockFile(f"{path}.lock")
    if not lock.exists():
        files.check(path)  # before the lock, which leaves a file beside the other
    lock.acquire()
    try:
        files.check(path)
        files.prepare(path)
        writing = files.open_file(path)
        reading = connect(str(path), writes=False)
        inline = Inline(connect(str(path), writes=False, patience=0), threading.Lock())
    except BaseException:
        lock.release()
        raise

    def finish(connection: Connection) -> None:
        with inline.lock:
            inline.connection.close()
        connection.close()
        lock.release()

    there = files.Presence(path)
    writer = Worker(writing, threading.Lock(), name="couchmodel-writer", finish=finish, before_writing=there.check)
    reader = Worker(reading, threading.Lock(), name="couchmodel-reader", finish=Connection.close)
    return _Open(writer, reader, inline)


# --- jobs


_COLUMNS: Final = "number, name, uuid, created, security, shards, partitioned"


def _insert_database(name: str, shards: int, partitioned: bool, created: int, connection: Connection) -> Database:
    row = connection.execute(
        "INSERT INTO database (name, uuid, created, shards, partitioned) VALUES (?, ?, ?, ?, ?)"
        f" ON CONFLICT DO NOTHING RETURNING {_COLUMNS}",
        (name, uuid.uuid4().hex, created, shards, partitioned),
    ).fetchone()
    if row is None:
        reason = "The database could not be created, the file already exists."
        raise PreconditionFailedError(reason, code="file_exists")
    return _database(row)


def _drop_database(name: str, connection: Connection) -> Database:
    row = connection.execute(
        f"UPDATE database SET name = NULL WHERE name = ? RETURNING {_COLUMNS.replace('name', '?')}", (name, name)
    ).fetchone()
    if row is None:
        raise NotFoundError("Database does not exist.")
    return _database(row)


def _database(row: tuple[Any, ...]) -> Database:
    number, name, opaque, created, security, shards, partitioned = row
    return Database(number, name, opaque, created, Security(security), shards, bool(partitioned))
