"""The processes in which functions of design documents run: started when they are wanted, kept, limited, and replaced.

A process runs one function at a time, and belongs to one database until it is handed over, without any of its contexts,
to another. There are a few for each database and a bounded number in all, so that whoever writes a function that runs
for ever keeps others of the same database from running theirs, and nobody else. A call waits for its process in a
thread; one that waits for nothing may be made by the event loop (``ask_now``).
"""

import atexit
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from couchmodel._embedded.javascript.process import EndedError, Limits, Opening, Owner, Process, read
from couchmodel.errors import ResponseError, ServerError

__all__ = ["LIMITS", "PROCESSES", "Processes"]

LATELY: Final = 1.0
"""Seconds after which a process that was not used may be handed over: it starts in 40 ms, and a context in one."""

TICK: Final = 0.25
"""Seconds between two looks at the processes."""


_LATE: Final = ThreadPoolExecutor(32, thread_name_prefix="couchmodel-functions")
"""Where answers are awaited that were not given at once: no more of them than there are processes."""


class Processes:
    """All processes of JavaScript of this program. It may be used from any thread."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._parents: list[Process] = []
        self._begin()

    def _begin(self) -> None:
        self._program = os.getpid()
        self._changed = threading.Condition()
        self._all: list[Process] = []
        self._ended: list[Process] = []
        self._is_watched = False

    def ask(
        self, owner: Owner, contexts: Sequence[Opening], command: str, texts: Sequence[bytes], seconds: float | None
    ) -> list[bytes]:
        """The outcomes of a command in some contexts, which are opened where they are not yet. It waits for a process.

        Raises:
            ResponseError: a function does not compile, or fails in a way that CouchDB does not pass over.
            ServerError: it takes too long, too much memory, or its process was killed.
        """
        numbers = [context.number for context in contexts]
        process = self._take(owner, numbers)

        def answer() -> list[bytes]:
            for context in contexts:
                if context.number not in process.contexts:
                    process.open(context, self.limits.seconds)
            return process.ask(numbers, command, texts, self.limits.seconds if seconds is None else seconds)

        return self._finish(process, answer)

    def ask_now(
        self, owner: Owner, context: Opening, command: str, texts: Sequence[bytes], seconds: float
    ) -> Future[list[bytes]] | None:
        """As ``ask``, without waiting for a process, and hardly for the answer: its future, if it can be asked for so.

        The future is done, or has not been within so many seconds. Windows has no way to wait like that.
        """
        process = self._take_now(owner, context.number)
        if process is None:
            return None
        try:
            process.send([context.number], command, texts, self.limits.seconds)
            is_late = not process.is_answering(seconds)
        except EndedError:
            is_late = False  # the answer says how it has ended
        if is_late:
            return _LATE.submit(self._finish, process, process.receive)
        answer: Future[list[bytes]] = Future()
        try:
            answer.set_result(self._finish(process, process.receive))
        except ResponseError as error:
            answer.set_exception(error)
        return answer

    def _finish(self, process: Process, answer: Callable[[], list[bytes]]) -> list[bytes]:
        """The outcomes of what a process answers, which is then there for others, or replaced."""
        try:
            outcomes = [read(outcome) for outcome in answer()]
        except EndedError:
            self._remove(process)
            raise process.close_with_error() from None
        except ServerError:
            self._remove(process)
            process.kill()
            process.close()
            raise
        except BaseException:
            self._give_back(process)
            raise
        self._give_back(process)
        return outcomes

    def forget(self, number: int) -> None:
        """A context is not needed any more. It waits for nothing, so that a finalizer may call it."""
        for process in tuple(self._all):
            process.closed.append(number)

    def end(self, owner: Owner) -> None:
        """End all processes of an owner, without waiting for their ends."""
        with self._changed:
            for process in [process for process in self._all if process.owner is owner]:
                process.kill()
                if not process.is_busy:  # the other's thread hears of it
                    self._all.remove(process)
                    self._ended.append(process)
            self._changed.notify_all()

    def close(self) -> None:
        """End all processes."""
        if os.getpid() != self._program:
            return
        with self._changed:
            ended, self._all, self._ended = self._all + self._ended, [], []
        for process in ended:
            process.kill()
            if not process.is_busy:
                process.close()

    # --- who has which

    def _take_now(self, owner: Owner, number: int) -> Process | None:
        """An idle process of the owner's that has a context, if there is one."""
        if not hasattr(select, "poll") or os.getpid() != self._program or not self._changed.acquire(blocking=False):
            return None
        try:
            process = self._idle(owner, [number])
            if process is None or number not in process.contexts:
                return None
            process.is_busy = True
            return process
        finally:
            self._changed.release()

    def _take(self, owner: Owner, numbers: Sequence[int]) -> Process:
        """A process of the owner's: an idle one, best with the contexts, or a new one, or the next to be idle."""
        if os.getpid() != self._program:
            # A forked child has its parent's pipes: it may neither write to them nor end what is behind them.
            self._parents += self._all + self._ended
            self._begin()
        with self._changed:
            while (process := self._idle(owner, numbers)) is None:
                if self._may_have_another(owner) and (process := self._another(owner)) is not None:
                    break
                self._changed.wait(TICK)  # an idle one of another owner's may be unused by then
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

    def _idle(self, owner: Owner, numbers: Sequence[int]) -> Process | None:
        own = [process for process in self._all if process.owner is owner and not process.is_busy]
        own.sort(key=lambda process: (sum(number in process.contexts for number in numbers), process.since))
        while own:
            process = own.pop()
            if not process.has_ended():
                return process
            self._all.remove(process)
            self._ended.append(process)
        return None

    def _may_have_another(self, owner: Owner) -> bool:
        """Whether an owner may have one more process, of all that it may have."""
        own = sum(process.owner is owner for process in self._all)
        busy = sum(process.is_busy for process in self._all)
        return own == 0 or (own < self.limits.each and busy < self.limits.shared)

    def _another(self, owner: Owner) -> Process | None:
        """One more process for an owner, if there is any: one that another has not used lately, or a new one."""
        process = self._unused(time.monotonic())
        if process is not None:
            process.hand_over(owner)
        elif len(self._all) < self.limits.all:
            process = Process(owner, self.limits)
            self._all.append(process)
        return process

    def _unused(self, now: float) -> Process | None:
        """The idle process that was not used for longest, if it was not used lately, or there may be no more."""
        idle = [process for process in self._all if not process.is_busy and not process.has_ended()]
        oldest = min(idle, key=lambda process: process.since, default=None)
        if oldest is None or (now - oldest.since < LATELY and len(self._all) < self.limits.all):
            return None
        return oldest

    def _give_back(self, process: Process) -> None:
        with self._changed:
            process.is_busy = False
            process.since = time.monotonic()
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
            time.sleep(TICK)
            with self._changed:
                self._look(time.monotonic())
                ended, self._ended = self._ended, []
                if not self._all and not ended:
                    self._is_watched = False
                    return
            for process in ended:
                process.kill()
                process.close()

    def _look(self, now: float) -> None:
        for process in tuple(self._all):
            if process.is_busy and now > process.end:
                process.is_overdue = True
                process.kill()
            elif not process.is_busy and (now - process.since > self.limits.idle or process.has_ended()):
                self._all.remove(process)
                self._ended.append(process)


LIMITS: Final = Limits()
PROCESSES: Final = Processes(LIMITS)
atexit.register(PROCESSES.close)
