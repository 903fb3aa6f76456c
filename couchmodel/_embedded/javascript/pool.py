"""Share a pool of child processes among databases: start, reuse, watch and end them.

A process runs one function at a time. It belongs to one database until it is handed over to another, without its
contexts. Each database has a few processes, and their number in all is bounded. So a function that runs for ever holds
up the functions of its own database, and of no other. A call waits for its process in a thread, and the calls of a
database have their turns in order. ``run_if_idle`` is for the event loop, and does not wait for a process.
"""

import atexit
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from couchmodel._embedded import limits
from couchmodel._embedded.javascript.process import (
    ContextSetup,
    Limits,
    Process,
    ProcessEndedError,
    ProcessOwner,
    read_outcome,
)
from couchmodel.errors import ResponseError, ServerError

__all__ = ["LIMITS", "PROCESSES", "Processes"]

_WAITERS: Final = ThreadPoolExecutor(32, thread_name_prefix="couchmodel-functions")
"""Threads that wait for late answers of ``run_if_idle``. There are as many as processes, so none has to queue."""


class Processes:
    """A pool of JavaScript processes. All methods may be called in any thread."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._inherited: list[Process] = []
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._all: list[Process] = []
        self._ended: list[Process] = []
        self._queues: dict[ProcessOwner, deque[object]] = {}
        self._is_watched = False

    def run(
        self,
        owner: ProcessOwner,
        contexts: Sequence[ContextSetup],
        command: str,
        texts: Sequence[bytes],
        seconds: float | None,
    ) -> list[bytes]:
        """Run a command in some contexts, and return their outcomes.

        Waits until the owner may use a process, and sets up the contexts that the process does not have.

        Raises:
            ResponseError: a function does not compile, or throws an error that CouchDB reports to the client.
            ServerError: a function takes too much time or memory, or its process was killed.
        """
        numbers = [context.number for context in contexts]
        process = self._take(owner, numbers)

        def answer() -> list[bytes]:
            for context in contexts:
                if context.number not in process.contexts:
                    process.open(context, self.limits.call_seconds)
            return process.run(numbers, command, texts, self.limits.call_seconds if seconds is None else seconds)

        return self._run(process, answer)

    def run_if_idle(
        self, owner: ProcessOwner, context: ContextSetup, command: str, texts: Sequence[bytes], seconds: float
    ) -> Future[list[bytes]] | None:
        """Run a command in a context that an idle process already has, and return a future of its outcomes.

        The future is done, unless the answer takes longer than ``seconds``. Returns None if no idle process has the
        context, and always on Windows, which cannot wait for a pipe with a timeout.
        """
        process = self._take_now(owner, context.number)
        if process is None:
            return None
        try:
            process.send([context.number], command, texts, self.limits.call_seconds)
            is_late = not process.is_answering(seconds)
        except ProcessEndedError:
            is_late = False  # ``receive`` will raise it again
        if is_late:
            return _WAITERS.submit(self._run, process, process.receive)
        answer: Future[list[bytes]] = Future()
        try:
            answer.set_result(self._run(process, process.receive))
        except ResponseError as error:
            answer.set_exception(error)
        return answer

    def _run(self, process: Process, answer: Callable[[], list[bytes]]) -> list[bytes]:
        """Return the outcomes of a call to a process. Then release the process, or remove it if it cannot go on."""
        try:
            outcomes = [read_outcome(outcome) for outcome in answer()]
        except ProcessEndedError:
            self._remove(process)
            raise process.close_with_error() from None
        except ServerError:
            self._remove(process)
            process.kill()
            process.close()
            raise
        except BaseException:
            self._release(process)
            raise
        self._release(process)
        return outcomes

    def forget(self, number: int) -> None:
        """Discard a context in all processes. Takes no lock, so that a finalizer may call it."""
        for process in tuple(self._all):
            process.closed.append(number)

    def end(self, owner: ProcessOwner) -> None:
        """Kill all processes of an owner without waiting for their ends."""
        with self._changed:
            for process in [process for process in self._all if process.owner is owner]:
                process.kill()
                if not process.is_busy:  # the thread that uses a busy one removes it
                    self._all.remove(process)
                    self._ended.append(process)
            self._changed.notify_all()

    def close(self) -> None:
        """End all processes."""
        if os.getpid() != self._pid:
            return
        with self._changed:
            ended, self._all, self._ended = self._all + self._ended, [], []
        for process in ended:
            process.kill()
            if not process.is_busy:
                process.close()

    # --- choosing a process

    def _take_now(self, owner: ProcessOwner, number: int) -> Process | None:
        """Take an idle process of the owner that has the context, or return None. Does not even wait for the lock.

        Calls that wait for a process come first: else a busy database could let one of them wait for ever.
        """
        if not hasattr(select, "poll") or os.getpid() != self._pid or not self._changed.acquire(blocking=False):
            return None
        try:
            process = None if owner in self._queues else self._find_idle(owner, [number])
            if process is None or number not in process.contexts:
                return None
            process.is_busy = True
            return process
        finally:
            self._changed.release()

    def _take(self, owner: ProcessOwner, numbers: Sequence[int]) -> Process:
        """Take a process for the owner, starting it if it is new.

        It is an idle process of the owner, preferably one that has the contexts ``numbers`` already; else an idle one
        of another owner, or a new one; else the next process that becomes idle.
        """
        if os.getpid() != self._pid:
            # A forked child inherits its parent's pipes. It must neither write to them nor end the processes at
            # their other ends, so it keeps these objects untouched.
            self._inherited += self._all + self._ended
            self._reset()
        with self._changed:
            process = self._await_turn(owner, numbers)
            process.is_busy = True
            if not self._is_watched:
                self._is_watched = True
                threading.Thread(target=self._watch, name="couchmodel-processes", daemon=True).start()
        try:
            if not process.has_begun:
                process.start()
        except BaseException:
            self._remove(process)
            raise
        return process

    def _await_turn(self, owner: ProcessOwner, numbers: Sequence[int]) -> Process:
        """Wait until it is this call's turn and there is a process. The calls of an owner have turns in their order."""
        ticket = object()
        queue = self._queues.setdefault(owner, deque())
        queue.append(ticket)
        try:
            while True:
                if queue[0] is ticket:
                    process = self._find_idle(owner, numbers)
                    if process is None and self._may_have_another(owner):
                        process = self._add(owner)
                    if process is not None:
                        return process
                # By the end of a tick another owner's idle process may be free to hand over.
                self._changed.wait(limits.POOL_TICK_SECONDS)
        finally:
            queue.remove(ticket)
            if queue:
                self._changed.notify_all()
            else:
                del self._queues[owner]

    def _find_idle(self, owner: ProcessOwner, numbers: Sequence[int]) -> Process | None:
        own = [process for process in self._all if process.owner is owner and not process.is_busy]
        # The best is last: the one with the most of the contexts, then the one that was used last.
        own.sort(key=lambda process: (sum(number in process.contexts for number in numbers), process.since))
        while own:
            process = own.pop()
            if not process.has_ended():
                return process
            self._all.remove(process)
            self._ended.append(process)
        return None

    def _may_have_another(self, owner: ProcessOwner) -> bool:
        """Return True if the limits allow the owner one more process."""
        own = sum(process.owner is owner for process in self._all)
        busy = sum(process.is_busy for process in self._all)
        # One for every database. Further ones only while few are busy, so that databases without any do not wait.
        return own == 0 or (own < self.limits.processes_per_owner and busy < self.limits.busy_threshold)

    def _add(self, owner: ProcessOwner) -> Process | None:
        """Return one more process for an owner, or None: one that another owner has not used lately, or a new one."""
        process = self._longest_unused(time.monotonic())
        if process is not None:
            process.hand_over(owner)
        elif len(self._all) < self.limits.max_processes:
            process = Process(owner, self.limits)
            self._all.append(process)
        return process

    def _longest_unused(self, now: float) -> Process | None:
        """Return the idle process that was unused for longest, or None.

        It must have been unused for a while, unless the pool is full.
        """
        idle = [process for process in self._all if not process.is_busy and not process.has_ended()]
        oldest = min(idle, key=lambda process: process.since, default=None)
        is_young = oldest is not None and now - oldest.since < limits.REUSE_SECONDS
        if oldest is None or (is_young and len(self._all) < self.limits.max_processes):
            return None
        return oldest

    def _release(self, process: Process) -> None:
        with self._changed:
            process.is_busy = False
            process.since = time.monotonic()
            # A process that had a long call has a low priority for the rest of its life, see ``child``.
            if process.is_slow and process in self._all:
                self._all.remove(process)
                self._ended.append(process)
            self._changed.notify_all()

    def _remove(self, process: Process) -> None:
        with self._changed:
            if process in self._all:
                self._all.remove(process)
            self._changed.notify_all()

    # --- the thread that ends processes

    def _watch(self) -> None:
        while True:
            time.sleep(limits.POOL_TICK_SECONDS)
            with self._changed:
                self._check_all(time.monotonic())
                ended, self._ended = self._ended, []
                if not self._all and not ended:
                    self._is_watched = False
                    return
            for process in ended:
                process.kill()
                process.close()

    def _check_all(self, now: float) -> None:
        for process in tuple(self._all):
            if process.is_busy and now > process.end:
                process.is_overdue = True
                process.kill()
            elif not process.is_busy and (now - process.since > self.limits.idle_seconds or process.has_ended()):
                self._all.remove(process)
                self._ended.append(process)


LIMITS: Final = Limits()
PROCESSES: Final = Processes(LIMITS)
atexit.register(PROCESSES.close)
