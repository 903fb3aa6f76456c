"""Start a child process for JavaScript functions, send it commands and read its outcomes.

A function is limited in time and memory. In the child, the engine and a thread measure processor time, so that a busy
machine ends no function that does little. The pool (see ``pool``) can end the child by the clock as well. The engine
limits the memory of a context. On Linux the system limits the memory of the process; Windows and macOS have no such
limit.

A child inherits nothing but its pipes. It ends when its input ends, which happens however the parent ends, and it
notices that even while a function runs. A signal at the parent's death would not do: Linux sends it when the *thread*
ends that has started the child.
"""

import atexit
import json
import logging
import math
import os
import select
import subprocess
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

from couchmodel._embedded.javascript.child import (
    DONE,
    FAILED,
    INTERRUPTED,
    SLOW,
    TIMED_OUT,
    MessageTooLargeError,
    receive,
    send,
)
from couchmodel.errors import ResponseError, ServerError, UnsupportedError

__all__ = [
    "ContextSetup",
    "Limits",
    "Process",
    "ProcessEndedError",
    "ProcessOwner",
    "next_context_number",
    "read_outcome",
]

PACKAGE: Final = "couchmodel._embedded.javascript"

HEADROOM: Final = 1.0
"""Seconds by the clock that are added to every call's limit, so that a small limit does not end a call early."""

_FAILED: Final = b"!"
"""The first byte of an outcome that is an error. See the end of ``scripts.js``."""

_log = logging.getLogger("couchmodel.embedded.scripts")


@dataclass
class Limits:
    """The limits of functions and processes. A change applies to calls and processes that begin afterwards."""

    call_seconds: float = 5.0
    """Seconds for one call, CouchDB's ``os_process_timeout``: of processor time, or by the clock for a long call."""

    clock_factor: float = 4.0
    """The factor by which any call may take longer by the clock, on a busy machine."""

    memory: int = 64 * 1024 * 1024
    """Bytes that a context may use."""

    stack: int = 512 * 1024
    """Bytes of the engine's stack, well below the stack of a thread on any system."""

    process_memory: int = 512 * 1024 * 1024
    """Bytes of a process's address space."""

    output: int = 32 * 1024 * 1024
    """Bytes of one answer."""

    idle_seconds: float = 30.0
    """Seconds after which an unused process is ended."""

    processes_per_owner: int = 2
    """Processes of one database for the functions that its writes wait for, and the same number for all its others."""

    max_processes: int = 32
    """Processes of all databases of all stores in this program."""

    busy_threshold: int = 12
    """Busy processes from which on no database gets a second one. The rest is for databases without any."""

    max_contexts: int = 16
    """Contexts that a process keeps. Each takes 0.3 MB and the memory of its functions' data."""


LIMITS: Final = Limits()


class ContextSetup(NamedTuple):
    """The number of a context, and the commands and texts that set it up in a process that does not have it yet."""

    number: int
    prepared: Sequence[tuple[str, bytes]]


_numbers: Final = count(1)


def next_context_number() -> int:
    """Return an unused number for a context."""
    return next(_numbers)


class ProcessOwner:
    """An owner of processes. Functions of different owners never share a process at the same time."""


class ProcessEndedError(Exception):
    """The process has ended without an answer."""


class Process:
    """A child process. Only one thread may use it at a time, while ``is_busy`` is set.

    ``since`` is the time of its last use, ``end`` the deadline of the running call: seconds of the monotonic clock.
    ``closed`` holds numbers of contexts to discard; any thread may append to it.
    """

    def __init__(self, owner: ProcessOwner, limits: Limits) -> None:
        self.owner = owner
        self.contexts: OrderedDict[int, None] = OrderedDict()
        self.closed: deque[int] = deque()
        self.is_busy = True
        self.is_overdue = False
        self.is_slow = False
        self.since = time.monotonic()
        self.end = math.inf
        self._limits = limits
        self._popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process. Raises ServerError if the system cannot start it."""
        try:
            self._popen = _start_process(self._limits)
            send(self._input, [_script()])
        except OSError as error:
            reason = f"no process can be started for JavaScript: {error}"
            raise ServerError(reason, code="os_process_error") from error

    def open(self, context: ContextSetup, seconds: float) -> None:
        """Set up a context in the process.

        Raises ResponseError if a function does not compile, and otherwise as :meth:`run` does.
        """
        texts = [text for command, text in context.prepared for text in (command.encode(), text)]
        for outcome in self.run([context.number], "open", texts, seconds):
            read_outcome(outcome)
        self.contexts[context.number] = None

    def run(self, numbers: Sequence[int], command: str, texts: Sequence[bytes], seconds: float) -> list[bytes]:
        """Run a command in some contexts and return their outcomes.

        Raises:
            ServerError: a function takes too much time or memory.
            ProcessEndedError: the process has ended.
        """
        self.send(numbers, command, texts, seconds)
        return self.receive()

    def hand_over(self, owner: ProcessOwner) -> None:
        """Give the process to another owner, and discard all its contexts with the next command."""
        self.owner = owner
        self.closed.extend(self.contexts)

    def send(self, numbers: Sequence[int], command: str, texts: Sequence[bytes], seconds: float) -> None:
        """Send a command without waiting for its outcomes. Raises ProcessEndedError."""
        header = (
            b"%f" % seconds,
            _join_numbers(numbers),
            _join_numbers(self._pop_discarded(numbers)),
            command.encode(),
        )
        self.end = time.monotonic() + HEADROOM + seconds * self._limits.clock_factor
        try:
            send(self._input, (*header, *texts))
        except (OSError, EOFError, ValueError):
            raise ProcessEndedError from None

    def receive(self) -> list[bytes]:
        """Wait for the outcomes of the command that was sent, and return them. Raises as :meth:`run` does."""
        try:
            status, *outcomes = receive(self._output, self._limits.output + 1000)
        except (OSError, EOFError, ValueError, MessageTooLargeError):
            raise ProcessEndedError from None
        self.end = math.inf
        if status == FAILED:
            _log.error("a process of JavaScript has failed: %s", b"".join(outcomes).decode(errors="replace"))
        self.is_slow = status == SLOW
        if status not in (DONE, SLOW):
            raise _exhausted_error(
                "interrupted" if status == INTERRUPTED else "out of memory, or of room for its answer"
            )
        return outcomes

    def _pop_discarded(self, numbers: Sequence[int]) -> list[int]:
        """Return the contexts to discard: the closed ones, and the least recently used ones above the limit."""
        dropped = []
        while self.closed:
            number = self.closed.popleft()
            if number in self.contexts:
                del self.contexts[number]
                dropped.append(number)
        for number in numbers:
            if number in self.contexts:
                self.contexts.move_to_end(number)
        while len(self.contexts) > max(self._limits.max_contexts, len(numbers)):
            dropped.append(self.contexts.popitem(last=False)[0])
        return dropped

    def is_answering(self, seconds: float) -> bool:
        """Wait up to ``seconds``, and return True if there is an answer to read or the process has ended."""
        poll = select.poll()
        poll.register(self._output.fileno(), select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    @property
    def _input(self) -> BinaryIO:
        if self._popen is None or self._popen.stdin is None:
            raise EOFError
        return cast(BinaryIO, self._popen.stdin)

    @property
    def _output(self) -> BinaryIO:
        if self._popen is None or self._popen.stdout is None:
            raise EOFError
        return cast(BinaryIO, self._popen.stdout)

    @property
    def has_begun(self) -> bool:
        """True once the process was started."""
        return self._popen is not None

    def kill(self) -> None:
        """Kill the process without waiting for its end."""
        if self._popen is not None:
            self._popen.kill()

    def has_ended(self) -> bool:
        """Return True if the process has ended."""
        return self._popen is not None and self._popen.poll() is not None

    def close_with_error(self) -> ServerError:
        """End the process, and return CouchDB's error for its exit status."""
        status = self.close()
        if self.is_overdue or status == TIMED_OUT:
            return _exhausted_error("interrupted")
        return _exhausted_error("by itself, or it was killed", status)

    def close(self) -> int:
        """End the process and return its exit status, as CouchDB reports it: 128 plus the number of a fatal signal."""
        if self._popen is None:
            return 0
        for stream in (self._popen.stdin, self._popen.stdout):
            with suppress(OSError):
                stream.close()  # type: ignore[union-attr]
        try:
            # The end of its input ends the process. Its exit status, which tells the cause of an error, takes a moment.
            status = self._popen.wait(0.5)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            status = self._popen.wait()
        return status if status >= 0 else 128 - status


# --- starting


def _start_process(limits: Limits) -> subprocess.Popen[bytes]:
    numbers = (os.getpid(), limits.memory, limits.stack, limits.process_memory, limits.output)
    # -I and -S: neither the environment nor site-packages changes the child, and it starts faster.
    # stderr goes nowhere: nobody reads it, and a full pipe would stop the child.
    return subprocess.Popen(  # noqa: S603 - this Python, and a program of this package
        [_python_path(), "-I", "-S", _program_path(), _packages_path(), *map(str, numbers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


@cache
def _program_path() -> str:
    """Return the path of the child's program.

    In a package inside a zip archive the file is temporary; it is kept until this program exits.
    """
    files = ExitStack()
    atexit.register(files.close)
    return str(files.enter_context(resources.as_file(resources.files(PACKAGE).joinpath("child.py"))))


def _python_path() -> str:
    if not sys.executable or getattr(sys, "frozen", False):
        reason = "JavaScript runs in processes of Python, which a program that brings its own Python along cannot start"
        raise UnsupportedError(reason)
    return sys.executable


@cache
def _packages_path() -> str:
    """Return the folder in which the engine's package is installed."""
    spec = find_spec("quickjs")
    if spec is None or spec.origin is None:
        raise UnsupportedError("The package of the extra 'js' is damaged: pip install --force-reinstall quickjs-ng")
    return str(Path(spec.origin).parent.parent)


@cache
def _script() -> bytes:
    return resources.files(PACKAGE).joinpath("scripts.js").read_bytes()


# --- outcomes


def _join_numbers(numbers: Sequence[int]) -> bytes:
    return b" ".join(b"%d" % number for number in numbers)


def read_outcome(outcome: bytes) -> bytes:
    """Return the result in an outcome, and write the lines that the function has logged to the log.

    Raises ResponseError if the outcome is an error, and ServerError if the function ran out of memory or time.
    """
    lines, _, text = outcome.partition(b"\n")
    if lines:
        _log_lines(lines)
    if text[:1] != _FAILED:
        return text
    error = json.loads(text[1:])
    if error["code"] == "os_process_error":
        raise _exhausted_error(error["reason"])
    failure = ResponseError(error["reason"], code=error["code"])
    failure.status = error.get("status", 500)
    raise failure


def _exhausted_error(reason: str, status: int = 1) -> ServerError:
    """Return CouchDB's error for a process that had to be ended or that has ended by itself."""
    if "interrupted" in reason:
        return ServerError("OS process timed out.", code="os_process_error")
    _log.warning("a process of JavaScript has ended with the status %d: %s", status, reason)
    return ServerError(f"{{exit_status,{status}}}", code="os_process_error")


def _log_lines(lines: bytes) -> None:
    for line in json.loads(lines):
        # Control characters are escaped, so that a function cannot forge another line of the log.
        _log.info("%s", line if line.isprintable() else repr(line))
