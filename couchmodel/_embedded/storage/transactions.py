"""Run jobs in transactions, and leave the connection clean whatever a job does.

Rule: when a job has ended, by an error too, its connection has no open transaction and no open cursor. A transaction
that stays open fails every later ``BEGIN``, and an open cursor makes all later reads see an old state.
"""

import logging
import sys
import traceback
from collections.abc import Callable
from typing import TypeVar

from couchmodel._embedded.storage.sqlite import Connection, Job, SQLiteError, was_interrupted

__all__ = ["Snapshots", "in_savepoint", "in_transaction"]

T = TypeVar("T")

_log = logging.getLogger("couchmodel.embedded")


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
        except SQLiteError:
            return False
        return True


def in_transaction(connection: Connection, job: Job[T]) -> T:
    """Run a job that writes in a transaction of its own, and return its result. It is durable by then."""
    handled = sys.exception()
    try:
        if connection.in_transaction:
            _roll_back(connection)  # the last rollback may have failed
        # IMMEDIATE takes the lock for writing at once. A transaction that begins as a read can be refused that lock
        # later, and would have to start again.
        connection.execute("BEGIN IMMEDIATE")
        result = job(connection)
        _commit(connection)
    except BaseException as error:
        _close_cursors(error, handled)
        if connection.in_transaction:  # some errors, such as a full disk, make SQLite roll back by itself
            _roll_back(connection)
        raise
    return result


def _commit(connection: Connection) -> None:
    try:
        connection.execute("COMMIT")
    except SQLiteError as error:
        # SQLite looks for an interruption before and after a commit. After it, the transaction is over, and its changes
        # are stored. The write has to say so.
        if connection.in_transaction or not was_interrupted(error):
            raise


def in_savepoint(connection: Connection, job: Job[T]) -> T:
    """Run a job inside a transaction, and return its result. Its changes are undone if it fails, and no others."""
    try:
        connection.execute("SAVEPOINT job")
        result = job(connection)
        connection.execute("RELEASE job")
    except BaseException as error:
        _close_cursors(error)
        _roll_back_savepoint(connection)
        raise
    return result


def _roll_back_savepoint(connection: Connection) -> None:
    """Roll back to the savepoint, or roll back the whole transaction if the savepoint cannot be used."""
    if connection.in_transaction:
        try:
            connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
        except SQLiteError:
            _roll_back(connection)


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
