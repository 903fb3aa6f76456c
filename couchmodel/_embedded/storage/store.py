"""Open and close a store, run jobs on its connections, and create and drop its databases.

A store is one file, or a database in memory, with the databases of one server. The first request opens it. Until it is
closed it holds the file's lock, three connections (for writes, for long reads, and for reads in the event loop) and, in
memory, the set of the databases. It may be used from several threads and event loops.
"""

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

from couchmodel._embedded import limits
from couchmodel._embedded.budget import BusyError
from couchmodel._embedded.storage.connections import Connections, open_file, open_memory
from couchmodel._embedded.storage.database import Database, EventCallback
from couchmodel._embedded.storage.database_row import drop_database, insert_database, read_databases
from couchmodel._embedded.storage.readers import Reader
from couchmodel._embedded.storage.sqlite import Connection, bind
from couchmodel._embedded.storage.uuids import Uuids
from couchmodel._wire.reasons import NO_DATABASE
from couchmodel._wire.turns import give_turn, turn_is_due
from couchmodel.errors import NotFoundError, StoreFileError

__all__ = ["Store"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

SYSTEM: Final = ("_replicator", "_users")
"""The databases that a new server has."""

CLOSED: Final = "the store is closed"

FORKED: Final = (
    "this process was forked from the one that has the store open, which alone can use it: connect after the fork, "
    "start processes by the method 'spawn', or run `couchmodel serve` and connect to that"
)


class Store:
    """The databases of one server, in a file, or in memory without a path."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else Path(path).resolve()
        self.databases: dict[str, Database] = {}
        self.uuid = ""
        self.uuids = Uuids()
        self.on_event: EventCallback | None = None
        self._dropped: dict[str, int] = {}
        self._open: Connections | None = None
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
        return await self.write(insert_database, name, shards, partitioned, created, on_commit=self._add_created)

    async def drop_database(self, name: str) -> Database:
        """Drop a database and return it; its rows are removed in the background. Raises NotFoundError."""
        return await self.write(drop_database, name, on_commit=self._remove_dropped)

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

    async def _open_connections(self) -> Connections:
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
                connections = open_memory() if self.path is None else open_file(self.path)
                self._load(connections.inline.connection)
                for name in SYSTEM:
                    if name not in self.databases:
                        connections.writer.run_here(bind(insert_database, name, 2, False, int(time.time())), self._add)
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
        for database in read_databases(connection):
            self._add(database)


_STORES: Final[weakref.WeakSet[Store]] = weakref.WeakSet()

_INHERITED: Final[list[Connections]] = []
"""The parent's connections in a forked process. They are kept: closing an SQLite connection could write to the file."""


def _leave_all_to_parent() -> None:
    for store in tuple(_STORES):
        store.leave_to_parent()


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_leave_all_to_parent)
