"""Run jobs on SQLite connections, one user of a connection at a time.

A *job* is a function that takes a connection. There are two places to run it:

- :class:`Worker` is a thread that takes jobs from a queue. A job that writes runs in a transaction of its own. Jobs
  that wait in the queue together share one commit, since a commit costs a wait for the disk, and hardly any work.
- :class:`Inline` runs a job in the event loop, for reads so short that the way to a thread would cost ten times the
  work. A deadline interrupts a read that turns out to be long. It is then run again on a worker.

A store in memory has a single connection, which both share under one lock.

A read may run twice, so it must not change anything, not even Python objects. It sees the database as of one moment.
Only this module handles SQLite's exceptions.
"""

import asyncio
import logging
import queue
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Final, Generic, TypeVar, TypeVarTuple

from couchmodel._embedded import limits
from couchmodel._embedded.budget import BusyError
from couchmodel.errors import CouchModelError, ServerError, StorageFullError, StoreFileError

__all__ = [
    "Connection",
    "FileError",
    "Inline",
    "Job",
    "Worker",
    "bind",
    "check_version",
    "connect",
    "connect_beside",
    "file_errors",
]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

Job = Callable[[Connection], T]

MINIMUM_SQLITE: Final = (3, 38, 0)
"""The oldest version of SQLite that a store runs on."""

ROUTINE: Final = "CREATE TEMP TABLE routine (database INTEGER PRIMARY KEY)"
"""A temporary table of the databases that this process has written documents to: see ``documents.writer``."""

_NEVER: Final = 2**63
"""A deadline in nanoseconds that is never reached."""

_log = logging.getLogger("couchmodel.embedded")


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


def _do_nothing() -> None:
    pass


class Snapshots:
    """A connection for jobs that only read. A transaction keeps writes from coming between a job's statements.

    A cursor that a job leaves open keeps the transaction open, so all later jobs would read an old state. Python has no
    list of the open cursors, and an error that is kept somewhere can hold one. So the connection is interrupted after
    each job. That has no effect if no cursor is open. If one is, SQLite also interrupts the statements that follow. So
    the next ``BEGIN`` fails, and the connection is replaced.
    """

    __slots__ = ("_connect", "_execute", "connection")

    def __init__(self, connection: Connection, connect: Callable[[], Connection] | None) -> None:
        """``connect`` opens another connection. None is for a database in memory, which has only one."""
        self._connect = connect
        self._use(connection)

    def _use(self, connection: Connection) -> None:
        self.connection = connection
        self._execute = connection.cursor().execute  # to make a cursor takes half as long as to begin a transaction

    def run(self, job: Job[T], finish: Callable[[], None] = _do_nothing) -> T:
        """Run a job and return its result.

        The connection has no open transaction afterwards, even if a statement was interrupted. ``finish`` is called
        before the rollback, which must not be interrupted.
        """
        connection, execute, handled = self.connection, self._execute, sys.exception()
        try:
            if connection.in_transaction:
                execute("ROLLBACK")  # the last rollback may have been interrupted
            execute("BEGIN")
            return job(connection)
        except BaseException as error:
            _close_cursors(error, handled)
            raise
        finally:
            finish()
            if connection.in_transaction:
                execute("ROLLBACK")
            if self._connect is not None:
                connection.interrupt()

    def renew(self) -> bool:
        """Replace the connection if a job has left a cursor open. Return True if it was replaced."""
        if self._connect is None or self._is_clean():
            return False
        dirty = self.connection
        self._use(self._connect())
        dirty.close()
        _log.debug("a read left a cursor open, so its connection was replaced")
        return True

    def _is_clean(self) -> bool:
        try:
            self._execute("BEGIN")
            self._execute("ROLLBACK")
        except sqlite3.Error:
            return False
        return True


class Inline:
    """A connection for reads in the event loop.

    It never waits: not for another program that has the file locked, and not for a long read.
    """

    __slots__ = ("_deadline", "_snapshots", "lock")

    def __init__(
        self, connection: Connection, lock: threading.Lock, connect: Callable[[], Connection] | None = None
    ) -> None:
        """``connect`` opens another connection to the same file."""
        self._snapshots = Snapshots(connection, connect)
        self.lock = lock
        self._deadline = _NEVER
        self._set_handler()

    @property
    def connection(self) -> Connection:
        """The connection, which may be replaced by another one."""
        return self._snapshots.connection

    def run(self, job: Job[T]) -> T:
        """Run a job and return its result.

        Raises BusyError if the job has to run on a worker instead.
        """
        if not self.lock.acquire(blocking=False):
            raise BusyError
        try:
            # The progress handler reads it, see ``_set_handler``. The rollback must not be interrupted, so it runs
            # without.
            self._deadline = time.monotonic_ns() + limits.INLINE_NANOSECONDS
            return self._snapshots.run(job, self._clear_deadline)
        except sqlite3.Error as error:
            # Interrupted by the deadline, or locked by another program: a worker may wait for either.
            if _primary_code(error) in _RETRY_CODES:
                if self._snapshots.renew():
                    self._set_handler()
                raise BusyError from None
            raise _server_error(error) from error
        finally:
            self.lock.release()

    def _set_handler(self) -> None:
        # The handler is set once: to set it for each read would cost more than the read. It has to compare with the
        # clock, because SQLite's count of instructions carries over from one statement to the next.
        self.connection.set_progress_handler(self._is_late, limits.CLOCK_STEPS)

    def _clear_deadline(self) -> None:
        self._deadline = _NEVER

    def _is_late(self) -> bool:
        return time.monotonic_ns() > self._deadline


class _Task(Generic[T]):
    """A job in a worker's queue, and the future that waits for its result, if there is one."""

    __slots__ = ("error", "future", "job", "loop", "on_commit", "result", "writes")

    def __init__(self, job: Job[T], writes: bool, on_commit: Callable[[T], None] | None) -> None:
        self.job = job
        self.writes = writes
        self.on_commit = on_commit
        self.loop: asyncio.AbstractEventLoop | None = None
        self.future: asyncio.Future[T] | None = None
        self.result: Any = None
        self.error: BaseException | None = None

    def deliver(self) -> None:
        """Set the future's result or exception, in the future's event loop. The task keeps neither.

        An error's traceback refers to frames that refer to this task. If the task kept the error, this cycle would keep
        all of them alive until the garbage collector runs.
        """
        future, error, result = self.future, self.error, self.result
        self.future = self.error = self.result = None
        if future is None or future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


class Worker:
    """A thread that owns a connection and runs jobs on it in the order of their arrival."""

    def __init__(
        self,
        connection: Connection,
        lock: threading.Lock,
        *,
        name: str,
        finish: Callable[[Connection], None],
        before_writing: Callable[[], None] | None = None,
        connect: Callable[[], Connection] | None = None,
    ) -> None:
        """Start the thread.

        ``finish`` is called with the connection when the thread ends. ``before_writing`` is called before each
        transaction that writes, and raises an error if nothing may be written any more. ``connect`` opens another
        connection, for a worker that only reads.
        """
        self._snapshots = Snapshots(connection, connect)
        self._before_writing = before_writing
        self._lock = lock
        self._finish = finish
        self._queue: queue.SimpleQueue[_Task[Any] | None] = queue.SimpleQueue()
        # Reentrant: the garbage collector may run inside ``_put``, and a finalizer that it calls may queue a job, too.
        self._gate = threading.RLock()
        self._stopping = False
        # A daemon, so that a program that has not closed its store can end.
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    async def run(self, job: Job[T], *, writes: bool, on_commit: Callable[[T], None] | None = None) -> T:
        """Run a job and return its result. The result of a job that writes is durable by then.

        ``on_commit`` is called with the result on the worker's thread, after the commit and before this method returns.
        It is the place to update a cache, as it is called even if the caller was cancelled.
        """
        task = _Task(job, writes, on_commit)
        task.loop = asyncio.get_running_loop()
        task.future = task.loop.create_future()
        self._put(task)
        return await task.future

    def run_here(self, job: Job[T], on_commit: Callable[[T], None] | None) -> T:
        """Run a job that writes in the caller's thread, and return its result.

        It is meant for a store in memory, where no write waits for a disk.

        Raises BusyError if the connection is in use.
        """
        if not self._lock.acquire(blocking=False):
            raise BusyError
        try:
            result = self._in_transaction(job)
        except sqlite3.Error as error:
            raise _server_error(error) from error
        finally:
            self._lock.release()
        if on_commit is not None:
            on_commit(result)
        return result

    def enqueue(self, job: Job[Any], *, on_commit: Callable[[Any], None] | None = None) -> None:
        """Queue a job that writes, without waiting for it. An error is logged."""
        self._put(_Task(job, writes=True, on_commit=on_commit))

    def stop(self) -> None:
        """Let the thread run the queued jobs, call ``finish`` and end. May be called in any thread."""
        with self._gate:
            if not self._stopping:
                self._stopping = True
                self._queue.put(None)

    def join(self) -> None:
        """Wait for the thread to end."""
        self._thread.join()

    def _put(self, task: _Task[Any]) -> None:
        with self._gate:
            if self._stopping:
                raise StoreFileError("the store is closed")
            self._queue.put(task)

    def _serve(self) -> None:
        running = True
        while running:
            tasks, running = self._next_tasks()
            with self._lock:
                self._run_tasks(tasks)
            _deliver(tasks)
            del tasks  # else the last results would stay in memory until the next job comes
        with self._lock:
            self._finish(self._connection)

    def _next_tasks(self) -> tuple[list[_Task[Any]], bool]:
        """Wait for tasks and return them, with False if the worker has to stop after them.

        They are as many tasks that write as are waiting, up to a limit, and at most one that reads, which is the last.
        """
        task = self._queue.get()
        tasks: list[_Task[Any]] = []
        while task is not None:
            tasks.append(task)
            if len(tasks) >= limits.SHARED_COMMITS or not task.writes:
                return tasks, True
            try:
                task = self._queue.get_nowait()
            except queue.Empty:
                return tasks, True
        return tasks, False

    @property
    def _connection(self) -> Connection:
        return self._snapshots.connection

    def _run_tasks(self, tasks: Sequence[_Task[Any]]) -> None:
        # The writes come first. A read that was queued behind them runs after their commit, so it sees what they wrote.
        writing = [task for task in tasks if task.writes]
        if len(writing) == 1:
            _run_task(writing[0], self._in_transaction)
        elif writing:
            self._commit_together(writing)
        for task in tasks:
            if not task.writes:
                _run_task(task, self._in_snapshot)
            if task.error is None and task.on_commit is not None:
                _call_on_commit(task, task.on_commit)

    def _in_snapshot(self, job: Job[T]) -> T:
        try:
            return self._snapshots.run(job)
        except sqlite3.Error as error:
            # No deadline interrupts a worker's reads. So an interrupted one met a cursor that an earlier job left open,
            # see ``Snapshots``, and is run again on a new connection.
            if _primary_code(error) != sqlite3.SQLITE_INTERRUPT or not self._snapshots.renew():
                raise
        return self._snapshots.run(job)

    def _in_transaction(self, job: Job[T]) -> T:
        if self._before_writing is not None:
            self._before_writing()
        handled = sys.exception()
        try:
            if self._connection.in_transaction:
                _roll_back(self._connection)  # the last rollback may have failed
            # IMMEDIATE takes the lock for writing at once. A transaction that begins as a read can be refused that lock
            # later, and would have to start again.
            self._connection.execute("BEGIN IMMEDIATE")
            result = job(self._connection)
            self._connection.execute("COMMIT")
        except BaseException as error:
            _close_cursors(error, handled)
            if self._connection.in_transaction:  # some errors, such as a full disk, make SQLite roll back by itself
                _roll_back(self._connection)
            raise
        return result

    def _commit_together(self, tasks: Sequence[_Task[Any]]) -> None:
        def run_all(connection: Connection) -> None:
            for task in tasks:
                _run_task(task, self._in_savepoint)
                if task.error is not None and not connection.in_transaction:
                    # SQLite has rolled back the whole transaction, as it does when the disk is full.
                    raise task.error

        whole = _Task(run_all, writes=True, on_commit=None)
        _run_task(whole, self._in_transaction)
        if whole.error is not None:
            for task in tasks:
                task.error = whole.error

    def _in_savepoint(self, job: Job[T]) -> T:
        try:
            # A savepoint for each job: one that fails is undone, and the others of the transaction stay.
            self._connection.execute("SAVEPOINT job")
            result = job(self._connection)
            self._connection.execute("RELEASE job")
        except BaseException as error:
            _close_cursors(error)
            self._roll_back_savepoint()
            raise
        return result

    def _roll_back_savepoint(self) -> None:
        """Roll back to the savepoint, or roll back the whole transaction if the savepoint cannot be used."""
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK TO job")
                self._connection.execute("RELEASE job")
            except sqlite3.Error:
                _roll_back(self._connection)


def _roll_back(connection: Connection) -> None:
    connection.execute("ROLLBACK")  # a cached statement; ``Connection.rollback`` prepares it each time


def _close_cursors(error: BaseException, handled: BaseException | None = None) -> None:
    """Close the cursors of a failed job by clearing the frames of its error's traceback.

    The traceback keeps the job's local variables alive as long as the error lives. A cursor among them that is not at
    its end would keep its transaction open, and all later reads would see the database as of that moment. An error's
    ``__context__`` keeps the variables of other frames in the same way. ``handled`` is an error that the caller was
    handling before the job: its frames are not touched.
    """
    raised: BaseException | None = error
    while raised is not None and raised is not handled:
        traceback.clear_frames(raised.__traceback__)
        raised = raised.__context__


def _run_task(task: _Task[T], run: Callable[[Job[T]], T]) -> None:
    try:
        task.result = run(task.job)
    except sqlite3.Error as error:
        task.error = _server_error(error)
    except StopIteration as error:
        task.error = RuntimeError(f"a job raised {error!r}")  # a future refuses StopIteration
    except BaseException as error:  # noqa: BLE001 - the waiting coroutine raises it again, and the thread goes on
        task.error = error
    if task.error is not None and task.future is None:
        # An error of ours is explained by its message; others are bugs, and need their traceback.
        is_expected = isinstance(task.error, CouchModelError)
        _log.error("a job of the store failed: %s", task.error, exc_info=None if is_expected else task.error)


def _call_on_commit(task: _Task[T], on_commit: Callable[[T], None]) -> None:
    """Call ``on_commit`` with a task's result, and log its errors: the data are stored, and the thread goes on."""
    try:
        on_commit(task.result)
    except Exception:  # noqa: BLE001 - it is logged
        _log.exception("what follows a write failed")


def _server_error(error: sqlite3.Error) -> ServerError:
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


_DAMAGE_CODES: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# Errors that say nothing about the statement. A read with one of them is run again, on a worker or a new connection.
_RETRY_CODES: Final = (sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code: the low byte of the extended one."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


def _deliver(tasks: Iterable[_Task[Any]]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Task[Any]]] = {}
    for task in tasks:
        if task.loop is not None:
            by_loop.setdefault(task.loop, []).append(task)
    for loop, waiting in by_loop.items():
        try:
            loop.call_soon_threadsafe(_deliver_all, waiting)
        except RuntimeError:
            _log.debug("the event loop is closed: nobody hears of %d jobs", len(waiting))


def _deliver_all(tasks: Iterable[_Task[Any]]) -> None:
    for task in tasks:
        task.deliver()
