"""SQLite's connections, and the threads and the lock that keep each of them to one user at a time.

A *job* is a function of a connection. It runs in one of three places:

- :class:`Worker`: a thread that takes jobs from a queue. A job that writes runs in a transaction of its own; those that
  wait together are committed together, since what a commit costs is the disk's answer, not the work.
- :class:`Inline`: in the event loop, for reads so short that the way to a thread would cost ten times the work. A
  deadline interrupts the one that is not short after all; it is then run again on a worker.
- in memory there is a single connection, which both share under one lock.

A read may run twice, so it changes nothing at all. All that it sees is of one moment. Only this module sees SQLite's
exceptions.
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
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Final, Generic, TypeVar

from couchmodel._embedded.limits.deadlines import begin_turn
from couchmodel._embedded.limits.turns import BusyError
from couchmodel.errors import CouchModelError, ServerError, StorageFullError, StoreFileError

__all__ = [
    "Connection",
    "FileError",
    "Inline",
    "Job",
    "Worker",
    "check_version",
    "connect",
    "connect_beside",
    "file_errors",
]

T = TypeVar("T")

Job = Callable[[Connection], T]

MINIMUM_SQLITE: Final = (3, 38, 0)

DEADLINE: Final = 1_000_000
"""Nanoseconds that a read may hold up the event loop."""

STEPS: Final = 1000
"""SQLite's virtual instructions between two looks at the clock, about 20 microseconds."""

TOGETHER: Final = 128
"""How many waiting jobs share one commit at most."""

STATEMENTS: Final = 256
"""Prepared statements that a connection keeps."""

ROUTINE: Final = "CREATE TEMP TABLE routine (database INTEGER PRIMARY KEY)"
"""The databases to which documents have been written since they were opened: see ``documents.writer``."""

_NEVER: Final = 2**63

_log = logging.getLogger("couchmodel.embedded")


class FileError(Exception):
    """SQLite cannot open or make a file; the message is SQLite's."""


def check_version() -> None:
    """Raise StoreFileError where Python's SQLite is too old."""
    if sqlite3.sqlite_version_info < MINIMUM_SQLITE:
        needed = ".".join(map(str, MINIMUM_SQLITE[:2]))
        raise StoreFileError(f"Python's SQLite is {sqlite3.sqlite_version}, an embedded store needs {needed} or later")


@contextmanager
def file_errors() -> Generator[None]:
    """A context in which SQLite's errors are raised as FileError."""
    try:
        yield
    except sqlite3.Error as error:
        raise FileError(str(error)) from error


_WRITES: Final = ("PRAGMA synchronous = FULL", ROUTINE)
_READS: Final = ("PRAGMA query_only = ON", "PRAGMA wal_autocheckpoint = 0")


def connect(target: str, *, writes: bool, patience: float = 60) -> Connection:
    """Return a connection whose transactions are begun and ended by hand.

    It waits for ``patience`` seconds where another program holds the file. Only the connection that writes checkpoints
    the log: see the hazard that ``lockfile`` is about.
    """
    connection = sqlite3.connect(
        target, isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS, timeout=patience
    )
    try:
        connection.execute("PRAGMA cache_size = -16384")
        connection.execute("PRAGMA temp_store = MEMORY")
        for statement in _WRITES if writes else _READS:
            connection.execute(statement)
    except sqlite3.Error:
        connection.close()  # what is broken shows at the first statement
        raise
    return connection


def connect_beside(path: Path, *, immutable: bool = False) -> Connection:
    """A connection that only reads, to a file that another connection or process may write to.

    It cannot write, so it does not even checkpoint when it happens to be the last to be closed. ``immutable`` says that
    nobody can write, so that SQLite needs no files beside it.
    """
    mode = "mode=ro&immutable=1" if immutable else "mode=ro"
    return sqlite3.connect(f"{path.as_uri()}?{mode}", uri=True, isolation_level=None, check_same_thread=False)


class Inline:
    """A connection that is read from in the event loop.

    It never waits there: not for another program that holds the file, not for a read that is not short.
    """

    __slots__ = ("_deadline", "connection", "lock")

    def __init__(self, connection: Connection, lock: threading.Lock) -> None:
        self.connection = connection
        self.lock = lock
        self._deadline = _NEVER
        # A standing handler: one that is set for each read would cost more than the read. It must compare with the
        # clock and not just say "stop", because SQLite's count of steps carries over from statement to statement.
        connection.set_progress_handler(self._is_late, STEPS)

    def run(self, job: Job[T]) -> T:
        """What the job gives. Raises BusyError where it has to be run on a worker."""
        if not self.lock.acquire(blocking=False):
            raise BusyError
        try:
            self._deadline = time.monotonic_ns() + DEADLINE
            return _of_one_moment(self.connection, job, self._calm)
        except sqlite3.Error as error:
            if _primary_code(error) in _NOT_NOW:
                raise BusyError from None
            raise _translated(error) from error
        finally:
            self.lock.release()

    def _calm(self) -> None:
        self._deadline = _NEVER

    def _is_late(self) -> bool:
        return time.monotonic_ns() > self._deadline


class _Task(Generic[T]):
    """A job that waits for its worker, and whoever waits for the job."""

    __slots__ = ("committed", "error", "future", "job", "loop", "result", "writes")

    def __init__(self, job: Job[T], writes: bool, committed: Callable[[T], None] | None) -> None:
        self.job = job
        self.writes = writes
        self.committed = committed
        self.loop: asyncio.AbstractEventLoop | None = None
        self.future: asyncio.Future[T] | None = None
        self.result: Any = None
        self.error: BaseException | None = None

    def deliver(self) -> None:
        """Hand over the outcome, in the loop of whoever waits. Nothing is kept of it.

        An error knows by its traceback who knows this task. It would keep itself alive, and all that has waited for it.
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
    """A thread that owns a connection and runs jobs on it in the order in which they come."""

    def __init__(
        self,
        connection: Connection,
        lock: threading.Lock,
        *,
        name: str,
        finish: Callable[[Connection], None],
        before_writing: Callable[[], None] | None = None,
    ) -> None:
        """``before_writing`` raises an error where nothing may be written any more."""
        self._connection = connection
        self._before_writing = before_writing
        self._lock = lock
        self._finish = finish
        self._queue: queue.SimpleQueue[_Task[Any] | None] = queue.SimpleQueue()
        # What a garbage collector ends may have a job done, in a thread that has one done already.
        self._gate = threading.RLock()
        self._stopping = False
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    async def run(self, job: Job[T], *, writes: bool, committed: Callable[[T], None] | None = None) -> T:
        """What the job gives, once it is durable where it writes.

        ``committed`` is called with it on the worker's thread before anybody hears of it: the place to bring a cache
        up to date, which happens even if nobody waits any more.
        """
        task = _Task(job, writes, committed)
        task.loop = asyncio.get_running_loop()
        task.future = task.loop.create_future()
        self._put(task)
        return await task.future

    def run_here(self, job: Job[T], committed: Callable[[T], None] | None) -> T:
        """What a job gives that writes, done in the caller's thread. Raises BusyError where the connection is in use.

        It is for a database in memory: nothing waits for a disk there.
        """
        if not self._lock.acquire(blocking=False):
            raise BusyError
        try:
            result = self._in_transaction(job)
        except sqlite3.Error as error:
            raise _translated(error) from error
        finally:
            self._lock.release()
        if committed is not None:
            committed(result)
        return result

    def enqueue(self, job: Job[Any], *, committed: Callable[[Any], None] | None = None) -> None:
        """Have a job that writes done, some time, with nobody waiting for it."""
        self._put(_Task(job, writes=True, committed=committed))

    def stop(self) -> None:
        """Let the thread end when it has done what is queued, and then ``finish``. From any thread."""
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
            tasks, running = self._next()
            with self._lock:
                self._perform(tasks)
            _deliver(tasks)
            del tasks  # or the last results would live until the next job comes
        with self._lock:
            self._finish(self._connection)

    def _next(self) -> tuple[list[_Task[Any]], bool]:
        """The tasks that are waiting, at least one; and whether more may come."""
        task = self._queue.get()
        tasks: list[_Task[Any]] = []
        while task is not None:
            tasks.append(task)
            if len(tasks) >= TOGETHER or not task.writes:
                return tasks, True
            try:
                task = self._queue.get_nowait()
            except queue.Empty:
                return tasks, True
        return tasks, False

    def _perform(self, tasks: Sequence[_Task[Any]]) -> None:
        begin_turn()
        writing = [task for task in tasks if task.writes]
        if len(writing) == 1:
            _attempt(writing[0], self._in_transaction)
        elif writing:
            self._commit_together(writing)
        for task in tasks:
            if not task.writes:
                _attempt(task, partial(_of_one_moment, self._connection))
            if task.error is None and task.committed is not None:
                _announce(task, task.committed)

    def _in_transaction(self, job: Job[T]) -> T:
        if self._before_writing is not None:
            self._before_writing()
        handled = sys.exception()
        try:
            if self._connection.in_transaction:
                _roll_back(self._connection)  # likewise
            self._connection.execute("BEGIN IMMEDIATE")
            result = job(self._connection)
            self._connection.execute("COMMIT")
        except BaseException as error:
            _close_cursors(error, handled)
            if self._connection.in_transaction:  # SQLite gives it up by itself after some errors, such as a full disk
                _roll_back(self._connection)
            raise
        return result

    def _commit_together(self, tasks: Sequence[_Task[Any]]) -> None:
        def everything(connection: Connection) -> None:
            for task in tasks:
                _attempt(task, self._in_savepoint)
                if task.error is not None and not connection.in_transaction:
                    # SQLite has given up what all of them had done, as it does when the disk is full.
                    raise task.error

        whole = _Task(everything, writes=True, committed=None)
        _attempt(whole, self._in_transaction)
        if whole.error is not None:
            for task in tasks:
                task.error = whole.error

    def _in_savepoint(self, job: Job[T]) -> T:
        try:
            self._connection.execute("SAVEPOINT job")
            result = job(self._connection)
            self._connection.execute("RELEASE job")
        except BaseException as error:
            _close_cursors(error)
            self._give_up_savepoint()
            raise
        return result

    def _give_up_savepoint(self) -> None:
        """Undo a job, or all jobs of the transaction where it cannot be told how far the savepoint had come."""
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK TO job")
                self._connection.execute("RELEASE job")
            except sqlite3.Error:
                _roll_back(self._connection)


def _nothing() -> None:
    pass


def _of_one_moment(connection: Connection, job: Job[T], finish: Callable[[], None] = _nothing) -> T:
    """Return what a job reads. It reads in a transaction, so that no write comes between two of its statements.

    The connection is clean afterwards, whatever has interrupted which statement. ``finish`` is called before it is
    cleaned: from then on nothing may interrupt it.
    """
    handled = sys.exception()
    try:
        if connection.in_transaction:
            _roll_back(connection)  # even the end of the transaction before may have been interrupted
        connection.execute("BEGIN")
        return job(connection)
    except BaseException as error:
        _close_cursors(error, handled)
        raise
    finally:
        finish()
        if connection.in_transaction:
            _roll_back(connection)


def _roll_back(connection: Connection) -> None:
    connection.execute("ROLLBACK")  # prepared once, as Python's own ``rollback`` is not


def _close_cursors(error: BaseException, handled: BaseException | None = None) -> None:
    """Close the cursors of a job that has failed.

    The traceback keeps the job's variables alive for as long as somebody keeps the error. A cursor among them that is
    not at its end would keep its transaction open, and all later reads would see the state of that moment. An error
    that was raised for another keeps that one too, with the variables of the functions that it has left. What the
    caller ``handled`` already is the caller's own.
    """
    raised: BaseException | None = error
    while raised is not None and raised is not handled:
        traceback.clear_frames(raised.__traceback__)
        raised = raised.__context__


def _attempt(task: _Task[T], run: Callable[[Job[T]], T]) -> None:
    try:
        task.result = run(task.job)
    except sqlite3.Error as error:
        task.error = _translated(error)
    except StopIteration as error:
        task.error = RuntimeError(f"a job raised {error!r}")  # a future does not take it
    except BaseException as error:  # noqa: BLE001 - it is raised again where somebody waits, and the thread goes on
        task.error = error
    if task.error is not None and task.future is None:
        told = isinstance(task.error, CouchModelError)
        _log.error("a job of the store failed: %s", task.error, exc_info=None if told else task.error)


def _announce(task: _Task[T], committed: Callable[[T], None]) -> None:
    """Tell of what is stored. A failure here is logged: the thread goes on, and whoever waits hears of the result."""
    try:
        committed(task.result)
    except Exception:  # noqa: BLE001 - it is logged
        _log.exception("what follows a write failed")


def _translated(error: sqlite3.Error) -> ServerError:
    """What a client hears of an error of SQLite's: that there is no room, that the file is broken, or what else."""
    number = _primary_code(error)
    translated: ServerError
    if number == sqlite3.SQLITE_FULL:
        translated = StorageFullError("the disk is full: nothing was written")
    elif number in _BROKEN:
        reason = f"the store's file is damaged ({error}): run `couchmodel check`, or go back to a copy of it"
        translated = ServerError(reason, code="storage_error")
    else:
        translated = ServerError(f"the store's file cannot be used: {error}", code="storage_error")
    translated.__cause__ = error
    return translated


_BROKEN: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_NOT_NOW: Final = (sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's result code: the low byte, without what the others say more exactly."""
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
