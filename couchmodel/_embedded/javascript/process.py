"""One process in which functions of design documents run: how it is started, limited, asked, and what it has said.

What limits a function: the engine and a thread of the process look at the processor's time, so that a busy machine ends
no function that does little; whoever has the process may end it by the clock as well. The engine limits the memory of a
context; the system limits that of the process, on Linux. Windows and macOS have no such limit.

A process inherits nothing but its pipes. It ends when its input does, which is when this process has ended in whatever
way, and it notices that as well while a function runs. A signal that the system sends at the parent's death would not
do: on Linux it comes when the *thread* ends that has started the process.
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

from couchmodel._embedded.javascript.child import DONE, FAILED, INTERRUPTED, SLOW, TIMED_OUT, FloodError, receive, send
from couchmodel.errors import ResponseError, ServerError, UnsupportedError

__all__ = ["EndedError", "Limits", "Opening", "Owner", "Process", "next_number", "read"]

PACKAGE: Final = "couchmodel._embedded.javascript"

HEADROOM: Final = 1.0
"""Seconds by the clock that every call has besides, for a function that takes little time is not to be ended."""

_FAILED: Final = b"!"

_log = logging.getLogger("couchmodel.embedded.scripts")


@dataclass
class Limits:
    """What functions may take. What is changed counts for what begins afterwards."""

    seconds: float = 5.0
    """Time for one call, CouchDB's ``os_process_timeout``: of the processor, or by the clock for what keeps it busy."""

    patience: float = 4.0
    """How many times as long any call may take by the clock, on a machine that has other things to do."""

    memory: int = 64 * 1024 * 1024
    """Bytes that a context may use."""

    stack: int = 512 * 1024
    """Bytes for calls within calls, well inside of what a thread has on any system."""

    process_memory: int = 512 * 1024 * 1024
    """Bytes of a process's address space."""

    output: int = 32 * 1024 * 1024
    """Bytes of one answer."""

    idle: float = 30.0
    """Seconds after which a process ends that nobody has wanted."""

    each: int = 2
    """Processes of one database for the functions that its writes wait for, and as many for all others."""

    all: int = 32
    """Processes of all databases of all stores of this program."""

    shared: int = 12
    """Processes in all from which on no database gets a second one: what is left is for those that have none."""

    contexts: int = 16
    """Contexts that a process keeps: each takes 0.3 MB and what its functions hold on to."""


LIMITS: Final = Limits()


class Opening(NamedTuple):
    """A context by its number, and the commands and texts by which it begins in a process that does not have it yet."""

    number: int
    prepared: Sequence[tuple[str, bytes]]


_numbers: Final = count(1)


def next_number() -> int:
    """A number for a context, which no other has."""
    return next(_numbers)


class Owner:
    """A holder of processes, such as a database."""


class EndedError(Exception):
    """The process has ended instead of answering."""


class Process:
    """A process, which one thread uses at a time."""

    def __init__(self, owner: Owner, limits: Limits) -> None:
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
        """Start the process. Raises ServerError where the system has no room for it."""
        try:
            self._popen = _start(self._limits)
            send(self._input, [_surroundings()])
        except OSError as error:
            reason = f"no process can be started for JavaScript: {error}"
            raise ServerError(reason, code="os_process_error") from error

    def open(self, context: Opening, seconds: float) -> None:
        """Begin a context. Raises ResponseError for what does not compile."""
        texts = [text for command, text in context.prepared for text in (command.encode(), text)]
        for outcome in self.ask([context.number], "open", texts, seconds):
            read(outcome)
        self.contexts[context.number] = None

    def ask(self, numbers: Sequence[int], command: str, texts: Sequence[bytes], seconds: float) -> list[bytes]:
        """The outcomes of a command in some contexts. Raises ServerError for an exhausted one, EndedError."""
        self.send(numbers, command, texts, seconds)
        return self.receive()

    def hand_over(self, owner: Owner) -> None:
        """Let another owner have the process. What it holds for this one is given up."""
        self.owner = owner
        self.closed.extend(self.contexts)

    def send(self, numbers: Sequence[int], command: str, texts: Sequence[bytes], seconds: float) -> None:
        """Begin to ask. Raises EndedError."""
        header = (b"%f" % seconds, _listed(numbers), _listed(self._dropped(numbers)), command.encode())
        self.end = time.monotonic() + HEADROOM + seconds * self._limits.patience
        try:
            send(self._input, (*header, *texts))
        except (OSError, EOFError, ValueError):
            raise EndedError from None

    def receive(self) -> list[bytes]:
        """The outcomes of what was asked. Raises ServerError, EndedError."""
        try:
            status, *outcomes = receive(self._output, self._limits.output + 1000)
        except (OSError, EOFError, ValueError, FloodError):
            raise EndedError from None
        self.end = math.inf
        if status == FAILED:
            _log.error("a process of JavaScript has failed: %s", b"".join(outcomes).decode(errors="replace"))
        self.is_slow = status == SLOW
        if status not in (DONE, SLOW):
            raise _exhausted("interrupted" if status == INTERRUPTED else "out of memory, or of room for its answer")
        return outcomes

    def _dropped(self, numbers: Sequence[int]) -> list[int]:
        """The contexts that the process is to forget: those that are closed, and those that are one too many."""
        dropped = []
        while self.closed:
            number = self.closed.popleft()
            if number in self.contexts:
                del self.contexts[number]
                dropped.append(number)
        for number in numbers:
            if number in self.contexts:
                self.contexts.move_to_end(number)
        while len(self.contexts) > max(self._limits.contexts, len(numbers)):
            dropped.append(self.contexts.popitem(last=False)[0])
        return dropped

    def is_answering(self, seconds: float) -> bool:
        """Whether there is an answer within so many seconds, or an end."""
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
        """Whether the process was started."""
        return self._popen is not None

    def kill(self) -> None:
        """End the process, without waiting for its end."""
        if self._popen is not None:
            self._popen.kill()

    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._popen is not None and self._popen.poll() is not None

    def close_with_error(self) -> ServerError:
        """End the process. What CouchDB says of one that ends so."""
        status = self.close()
        if self.is_overdue or status == TIMED_OUT:
            return _exhausted("interrupted")
        return _exhausted("by itself, or it was killed", status)

    def close(self) -> int:
        """End the process. Its exit status as CouchDB tells it: 128 and the signal's number where it was killed."""
        if self._popen is None:
            return 0
        for stream in (self._popen.stdin, self._popen.stdout):
            with suppress(OSError):
                stream.close()  # type: ignore[union-attr]
        try:
            # An error has its cause, which takes the process a moment to tell.
            status = self._popen.wait(0.5)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            status = self._popen.wait()
        return status if status >= 0 else 128 - status


# --- starting


def _start(limits: Limits) -> subprocess.Popen[bytes]:
    numbers = (os.getpid(), limits.memory, limits.stack, limits.process_memory, limits.output)
    return subprocess.Popen(  # noqa: S603 - this Python, and a program of this package
        [_python(), "-I", "-S", _program(), _packages(), *map(str, numbers)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    )


@cache
def _program() -> str:
    """The path of the process's program, which a package in an archive has only for as long as it is asked for."""
    files = ExitStack()
    atexit.register(files.close)
    return str(files.enter_context(resources.as_file(resources.files(PACKAGE).joinpath("child.py"))))


def _python() -> str:
    if not sys.executable or getattr(sys, "frozen", False):
        reason = "JavaScript runs in processes of Python, which a program that brings its own Python along cannot start"
        raise UnsupportedError(reason)
    return sys.executable


@cache
def _packages() -> str:
    """The folder in which the engine is installed."""
    spec = find_spec("quickjs")
    if spec is None or spec.origin is None:
        raise UnsupportedError("The package of the extra 'js' is damaged: pip install --force-reinstall quickjs-ng")
    return str(Path(spec.origin).parent.parent)


@cache
def _surroundings() -> bytes:
    return resources.files(PACKAGE).joinpath("scripts.js").read_bytes()


# --- what a process says


def _listed(numbers: Sequence[int]) -> bytes:
    return b" ".join(b"%d" % number for number in numbers)


def read(outcome: bytes) -> bytes:
    """What a command has come to; its lines are written to the log. Raises ResponseError."""
    lines, _, text = outcome.partition(b"\n")
    if lines:
        _write_log(lines)
    if text[:1] != _FAILED:
        return text
    error = json.loads(text[1:])
    if error["code"] == "os_process_error":
        raise _exhausted(error["reason"])
    failure = ResponseError(error["reason"], code=error["code"])
    failure.status = error.get("status", 500)
    raise failure


def _exhausted(reason: str, status: int = 1) -> ServerError:
    """What CouchDB says of a process that it had to end, or that has ended by itself."""
    if "interrupted" in reason:
        return ServerError("OS process timed out.", code="os_process_error")
    _log.warning("a process of JavaScript has ended with the status %d: %s", status, reason)
    return ServerError(f"{{exit_status,{status}}}", code="os_process_error")


def _write_log(lines: bytes) -> None:
    for line in json.loads(lines):
        # One line is one line: a function may not write what looks like somebody else's.
        _log.info("%s", line if line.isprintable() else repr(line))
