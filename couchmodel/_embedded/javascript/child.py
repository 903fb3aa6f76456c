"""Run JavaScript functions in a child process: the program of that process, started by its path.

It reads messages from its standard input and answers each on its standard output, until the input ends. A message is a
list of byte strings, its parts. The first message is ``scripts.js`` and has no answer. The parts of every other message
are: the seconds that it may take, the names of its contexts, the names of contexts to discard, a command, and texts.

Rule: this module imports nothing of couchmodel, which would take longer than everything else here.

The engine can interrupt JavaScript, but no built-in function: to it, a ``join`` of an array with a billion places is
one step. So a thread watches the processor time of a call, and ends the process if it is too long. It also ends the
process when the parent is gone, which would go unnoticed while a function runs.
"""

import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any, BinaryIO, Final, NamedTuple, NoReturn

__all__ = ["DONE", "EXHAUSTED", "FAILED", "INTERRUPTED", "SLOW", "TIMED_OUT", "MessageTooLargeError", "receive", "send"]

DONE: Final = b"done"
SLOW: Final = b"slow"
INTERRUPTED: Final = b"interrupted"
EXHAUSTED: Final = b"exhausted"
FAILED: Final = b"failed"
"""The status in the first part of an answer.

The other parts are the outcomes, or the description of an error after ``failed``. A process that has answered ``slow``
is not to be used again, as its scheduling priority stays low.
"""

TIMED_OUT: Final = 124
"""The exit status of a process in which a function took too long, as of the program ``timeout``."""

WATCH_INTERVAL: Final = 0.05
"""Seconds between two checks of the time that a function has taken."""

GRACE: Final = 0.05
"""Extra seconds in which the engine can interrupt a function by itself. The process survives that."""

LONG_CALL: Final = 0.2
"""Seconds of processor time after which a call is long.

A long call lowers the priority of its process, as others, such as the parent, are more urgent. From then on its limit
is measured by the clock. A short call is measured by processor time, so that a busy machine ends no function that does
little.
"""

NICENESS: Final = 10
"""Unix niceness of a process after a long call: on a busy Linux machine it gets a tenth of the time of others."""

MOST_PARTS: Final = 10_000
"""The largest number of parts of a message."""


class MessageTooLargeError(Exception):
    """A message exceeds the allowed size."""


def send(stream: BinaryIO, parts: Sequence[bytes]) -> None:
    """Write a message. Raises OSError if the reader is gone."""
    head = struct.pack(f"!{len(parts) + 1}I", len(parts), *map(len, parts))
    stream.write(b"".join((head, *parts)))
    stream.flush()


def receive(stream: BinaryIO, most: int) -> list[bytes]:
    """Read a message of at most ``most`` bytes.

    Raises EOFError if the stream ends, and MessageTooLargeError for a larger message.
    """
    (count,) = struct.unpack("!I", _read(stream, 4))
    # A damaged head would otherwise ask for gigabytes.
    if count > MOST_PARTS:
        raise MessageTooLargeError
    lengths = struct.unpack(f"!{count}I", _read(stream, 4 * count))
    if sum(lengths) > most:
        raise MessageTooLargeError
    return [_read(stream, length) for length in lengths]


def _read(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data


class _RunningCall(NamedTuple):
    """A running call: its start by processor time and by the clock, and the seconds that it may take."""

    processor: float
    clock: float
    seconds: float

    def is_long(self) -> bool:
        """Return True if the call has taken ``LONG_CALL`` seconds of processor time."""
        return time.process_time() - self.processor > LONG_CALL

    def is_over(self) -> bool:
        """Return True if the call is over its limit: of processor time, or by the clock if it is long."""
        taken = time.monotonic() - self.clock if self.is_long() else time.process_time() - self.processor
        return taken > self.seconds + GRACE


class _Watchdog:
    """A thread that ends the process if a function takes too long or the parent is gone."""

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self._call: _RunningCall | None = None
        self.has_low_priority = False
        threading.Thread(target=self._watch_calls, daemon=True).start()

    def begin(self, seconds: float) -> None:
        """Begin to watch a call that may take that many seconds."""
        self._call = _RunningCall(time.process_time(), time.monotonic(), seconds)

    def end(self) -> None:
        """Stop watching the call."""
        self._call = None

    def _watch_calls(self) -> None:
        while True:
            time.sleep(WATCH_INTERVAL)
            # Unix gives an orphan a new parent; Windows keeps the old id.
            if os.name != "nt" and os.getppid() != self._parent:
                _exit(0)
            call = self._call
            if call is None:
                continue
            if call.is_over():
                _exit(TIMED_OUT)
            if call.is_long() and not self.has_low_priority and hasattr(os, "nice"):
                self.has_low_priority = True
                os.nice(NICENESS)


class _Contexts:
    """The JavaScript contexts of this process: each has its own memory and global object."""

    def __init__(self, module: Any, script: str, memory: int, stack: int, watch: _Watchdog) -> None:
        self._module = module
        self._script = script
        self._memory = memory
        self._stack = stack
        self._watch = watch
        self._contexts: dict[bytes, Any] = {}

    def answer(self, request: Sequence[bytes]) -> list[bytes]:
        """Carry out a request and return the answer's parts.

        The command is ``open``, with pairs of a command and a text to begin a context with, or one of ``scripts.js``.
        """
        seconds, names, dropped, command, *texts = request
        for name in dropped.split():
            self._contexts.pop(name, None)
        try:
            if command == b"open":
                outcomes = self._open(names, float(seconds), texts)
            else:
                arguments = [text.decode() for text in (command, *texts)]
                outcomes = [self._run(self._contexts[name], float(seconds), arguments) for name in names.split()]
        except self._module.JSException as error:
            return [INTERRUPTED if "interrupted" in str(error) else EXHAUSTED]
        return [SLOW if self._watch.has_low_priority else DONE, *outcomes]

    def _open(self, name: bytes, seconds: float, texts: Sequence[bytes]) -> list[bytes]:
        context = self._module.Context()
        context.set_memory_limit(self._memory)
        context.set_max_stack_size(self._stack)
        context.set_time_limit(seconds)
        run = context, context.eval(self._script)
        pairs = zip(texts[::2], texts[1::2], strict=True)
        outcomes = [self._run(run, seconds, [command.decode(), text.decode()]) for command, text in pairs]
        self._contexts[name] = run
        return outcomes

    def _run(self, run: Any, seconds: float, arguments: Sequence[str]) -> bytes:
        context, function = run
        context.set_time_limit(seconds)
        self._watch.begin(seconds)
        try:
            outcome = function(*arguments)
        finally:
            self._watch.end()
        if not isinstance(outcome, str):
            raise TypeError("the script gave no answer")
        return outcome.encode(errors="replace")


def _limit_resources(memory: int) -> None:
    """Limit the process's address space, if the system can, and write no core dump if the engine crashes."""
    try:
        resource = import_module("resource")
    except ImportError:  # Windows
        return
    for kind, limit in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(kind, (limit, limit))
        except (OSError, ValueError):  # macOS does not limit an address space
            continue


def _exit(status: int) -> NoReturn:
    os._exit(status)


def main() -> None:
    """Answer requests until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, too, which decides
    packages, *numbers = sys.argv[1:]
    parent, memory, stack, system, output = map(int, numbers)
    source, target = sys.stdin.buffer, sys.stdout.buffer
    sys.path.append(packages)
    watch = _Watchdog(parent)
    [script] = receive(source, sys.maxsize)
    engine = _Contexts(import_module("quickjs"), script.decode(), memory, stack, watch)
    _limit_resources(system)
    try:
        while True:
            answer = engine.answer(receive(source, sys.maxsize))
            send(target, answer if sum(map(len, answer)) <= output else [EXHAUSTED])
    except (EOFError, OSError):
        _exit(0)
    except MemoryError:
        _exit(1)
    except Exception as error:  # noqa: BLE001 - the parent writes it to its log
        send(target, [FAILED, repr(error).encode()])
        _exit(1)


if __name__ == "__main__":
    main()
