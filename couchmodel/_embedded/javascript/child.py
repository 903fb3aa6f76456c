"""The program of the processes in which functions of design documents run. It is started by its path.

It reads messages from its standard input and answers each on its standard output, until the input ends. A message is
some parts, which are bytes. The first message is ``scripts.js``, and has no answer. Each other begins with the seconds
that it may take, the contexts that it is for, and those that are not needed any more.

Rule: it imports nothing of couchmodel, which would take longer than everything else here.

The engine interrupts JavaScript, but not what is built in: a ``join`` of an array with a billion places is one step to
it. So a thread of this process looks at the processor's time, and ends the process. It ends it as well when the parent
is gone, of which a function that is running would not hear otherwise.
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

__all__ = ["DONE", "EXHAUSTED", "FAILED", "INTERRUPTED", "SLOW", "TIMED_OUT", "FloodError", "receive", "send"]

DONE: Final = b"done"
SLOW: Final = b"slow"
INTERRUPTED: Final = b"interrupted"
EXHAUSTED: Final = b"exhausted"
FAILED: Final = b"failed"
"""What the first part of an answer says: the others are outcomes, or, after a failure, its description.

A process that has been ``slow`` is not to be used again, as it stands back behind all others now.
"""

TIMED_OUT: Final = 124
"""The exit status of a process in which a function took too long."""

LOOK: Final = 0.05
"""Seconds between two looks at the time that a function has taken."""

GRACE: Final = 0.05
"""Seconds that the engine has to interrupt a function by itself, after which the process goes on."""

LONG: Final = 0.2
"""Seconds of the processor after which a process stands back, and the clock counts as well.

Others, such as its parent, are more urgent then. A function that does little is not to be ended for what else a busy
machine does.
"""

STEPS_BACK: Final = 10
"""How far it stands back, as Unix counts it: it has a tenth of what others have, where there is not enough for all."""

PARTS: Final = 10_000
"""Parts that a message may have."""


class FloodError(Exception):
    """A message is larger than it may be."""


def send(stream: BinaryIO, parts: Sequence[bytes]) -> None:
    """Write a message. Raises OSError where nobody reads any more."""
    head = struct.pack(f"!{len(parts) + 1}I", len(parts), *map(len, parts))
    stream.write(b"".join((head, *parts)))
    stream.flush()


def receive(stream: BinaryIO, most: int) -> list[bytes]:
    """Read a message of at most so many bytes. Raises EOFError, FloodError."""
    (count,) = struct.unpack("!I", _read(stream, 4))
    if count > PARTS:
        raise FloodError
    lengths = struct.unpack(f"!{count}I", _read(stream, 4 * count))
    if sum(lengths) > most:
        raise FloodError
    return [_read(stream, length) for length in lengths]


def _read(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data


class _Run(NamedTuple):
    """A function that is running: when it began, by the processor and by the clock, and what it may take."""

    processor: float
    clock: float
    seconds: float

    def is_long(self) -> bool:
        """Whether the function takes long."""
        return time.process_time() - self.processor > LONG

    def is_over(self) -> bool:
        """Whether the function has taken what it may, of the processor, or by the clock where it takes long."""
        taken = time.monotonic() - self.clock if self.is_long() else time.process_time() - self.processor
        return taken > self.seconds + GRACE


class _Watch:
    """The thread that ends the process: when a function takes too long, or the parent is gone."""

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self._run: _Run | None = None
        self.stands_back = False
        threading.Thread(target=self._look, daemon=True).start()

    def begin(self, seconds: float) -> None:
        """A function begins, which may take so many seconds."""
        self._run = _Run(time.process_time(), time.monotonic(), seconds)

    def end(self) -> None:
        """No function is running any more."""
        self._run = None

    def _look(self) -> None:
        while True:
            time.sleep(LOOK)
            if os.name != "nt" and os.getppid() != self._parent:
                _exit(0)
            run = self._run
            if run is None:
                continue
            if run.is_over():
                _exit(TIMED_OUT)
            if run.is_long() and not self.stands_back and hasattr(os, "nice"):
                self.stands_back = True
                os.nice(STEPS_BACK)


class _Engine:
    """The contexts of this process: each has a memory and a global object of its own."""

    def __init__(self, module: Any, surroundings: str, memory: int, stack: int, watch: _Watch) -> None:
        self._module = module
        self._surroundings = surroundings
        self._memory = memory
        self._stack = stack
        self._watch = watch
        self._contexts: dict[bytes, Any] = {}

    def answer(self, request: Sequence[bytes]) -> list[bytes]:
        """Carry out a request: ``open``, with pairs of a command and a text, or a command of ``scripts.js``."""
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
        return [SLOW if self._watch.stands_back else DONE, *outcomes]

    def _open(self, name: bytes, seconds: float, texts: Sequence[bytes]) -> list[bytes]:
        context = self._module.Context()
        context.set_memory_limit(self._memory)
        context.set_max_stack_size(self._stack)
        context.set_time_limit(seconds)
        run = context, context.eval(self._surroundings)
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


def _limit(memory: int) -> None:
    """Have the system limit the process's memory, where it can; no core is written when the engine crashes."""
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
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it, too, and decides
    packages, *numbers = sys.argv[1:]
    parent, memory, stack, system, output = map(int, numbers)
    source, target = sys.stdin.buffer, sys.stdout.buffer
    sys.path.append(packages)
    watch = _Watch(parent)
    [surroundings] = receive(source, sys.maxsize)
    engine = _Engine(import_module("quickjs"), surroundings.decode(), memory, stack, watch)
    _limit(system)
    try:
        while True:
            answer = engine.answer(receive(source, sys.maxsize))
            send(target, answer if sum(map(len, answer)) <= output else [EXHAUSTED])
    except (EOFError, OSError):
        _exit(0)
    except MemoryError:
        _exit(1)
    except Exception as error:  # noqa: BLE001 - the parent is told, and writes it to its log
        send(target, [FAILED, repr(error).encode()])
        _exit(1)


if __name__ == "__main__":
    main()
