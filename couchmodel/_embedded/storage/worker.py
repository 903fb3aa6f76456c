"""Run jobs on a thread that owns a connection: writes, and reads that take too long for the event loop.

Each job that writes has a transaction of its own. Jobs that wait in the queue together share one commit, since a commit
costs a wait for the disk, and hardly any work.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

from couchmodel._embedded import limits
from couchmodel._embedded.budget import BusyError
from couchmodel._embedded.storage.sqlite import Connection, Job, SQLiteError, server_error, was_interrupted
from couchmodel._embedded.storage.transactions import Snapshots, in_savepoint, in_transaction
from couchmodel.errors import CouchModelError, StoreFileError

__all__ = ["Worker"]

T = TypeVar("T")

_log = logging.getLogger("couchmodel.embedded")


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
        except SQLiteError as error:
            raise server_error(error) from error
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
        except SQLiteError as error:
            # No deadline interrupts a worker's reads. So an interrupted one met a cursor that an earlier job left open,
            # see ``Snapshots``, and is run again on a new connection.
            if not was_interrupted(error) or not self._snapshots.renew():
                raise
        return self._snapshots.run(job)

    def _in_transaction(self, job: Job[T]) -> T:
        if self._before_writing is not None:
            self._before_writing()
        return in_transaction(self._connection, job)

    def _commit_together(self, tasks: Sequence[_Task[Any]]) -> None:
        def run_all(connection: Connection) -> None:
            for task in tasks:
                # A savepoint for each job: one that fails is undone, and the others of the transaction stay.
                _run_task(task, partial(in_savepoint, connection))
                if task.error is not None and not connection.in_transaction:
                    # SQLite has rolled back the whole transaction, as it does when the disk is full.
                    raise task.error

        whole = _Task(run_all, writes=True, on_commit=None)
        _run_task(whole, self._in_transaction)
        if whole.error is not None:
            for task in tasks:
                task.error = whole.error


def _run_task(task: _Task[T], run: Callable[[Job[T]], T]) -> None:
    try:
        task.result = run(task.job)
    except SQLiteError as error:
        task.error = server_error(error)
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
