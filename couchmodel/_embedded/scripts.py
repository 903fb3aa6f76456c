"""JavaScript: the functions of design documents, in an engine of their own that reaches nothing but what it is given.

The engine is quickjs-ng, the extra ``js``; only this module imports it. What a function sees around itself is in
``scripts.js``. A context may be used from any thread, by one at a time: its lock sees to that, and while it runs other
threads run too. Whoever asks waits for up to five seconds, so it is never the event loop.
"""

import json
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import import_module, resources
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import Any, Final

from couchmodel._wire.messages import decode, encode
from couchmodel.errors import ResponseError, ServerError, UnsupportedError

__all__ = [
    "RUNNING",
    "Context",
    "Mapper",
    "Reducer",
    "Scripts",
    "check_function",
    "is_available",
    "open_mapper",
    "open_reducer",
    "parsed",
]

SECONDS: Final = 5.0
"""Time for one call, CouchDB's ``os_process_timeout``; of the processor, all threads counted."""

MEMORY: Final = 64 * 1024 * 1024
"""Bytes that a context may use."""

STACK: Final = 512 * 1024
"""Bytes for calls within calls, well inside of what a thread has on any system."""

CONTEXTS: Final = 16
"""Functions of a database that are kept ready: each takes 0.3 MB and what it holds on to."""

RUNNING: Final = ThreadPoolExecutor(4, thread_name_prefix="couchmodel-functions")
"""Where functions run that nothing but a request waits for: none of them holds up what is not of their kind."""

SLOW: Final = 0.1
"""Seconds of one call from which on it counts as slow."""

ALLOWANCE: Final = 10.0
WINDOW: Final = 60.0
"""Seconds that slow calls of a database's functions may take of so many while writes wait for them."""

_FAILED: Final = "!"

_log = logging.getLogger("couchmodel.embedded.scripts")


@cache
def is_available() -> bool:
    """Whether the extra ``js`` is installed."""
    try:
        version("quickjs-ng")  # the older package of the same module cannot interrupt a regular expression
    except PackageNotFoundError:
        return False
    return True


def _engine() -> Any:
    if not is_available():
        reason = "The embedded store runs JavaScript with an extra that is not installed: pip install 'couchmodel[js]'"
        raise UnsupportedError(reason)
    return import_module("quickjs")


@cache
def _surroundings() -> str:
    return resources.files("couchmodel._embedded").joinpath("scripts.js").read_text("utf-8")


class Context:
    """A piece of JavaScript's memory with some functions in it. It goes on after every error.

    Raises:
        UnsupportedError: the extra ``js`` is not installed.
    """

    def __init__(self, *prepared: tuple[str, str]) -> None:
        """``prepared`` are commands that are carried out when it is first asked."""
        self._engine = _engine()
        self._lock = threading.Lock()
        self._prepared = list(prepared)
        self._run: Any = None

    def prepare(self, command: str, text: str) -> None:
        """Give the functions what they need to begin with. Raises ResponseError."""
        self.ask(command, text)
        self._prepared.append((command, text))

    def ask(self, command: str, *texts: str) -> str:
        """What comes of a command of ``scripts.js``.

        Raises:
            ResponseError: the function does not compile, or fails in a way that CouchDB does not pass over.
            ServerError: it takes too long, or too much memory.
        """
        with self._lock:
            if self._run is None:
                self._begin()
            return self._ask(command, texts)

    def close(self) -> None:
        """Give the memory back. The context begins anew if it is used again."""
        with self._lock:
            self._run = None

    def _begin(self) -> None:
        context = self._engine.Context()
        context.set_memory_limit(MEMORY)
        context.set_max_stack_size(STACK)
        context.set_time_limit(SECONDS)
        self._run = context.eval(_surroundings())
        for command, text in self._prepared:
            self._ask(command, (text,))

    def _ask(self, command: str, texts: Sequence[str]) -> str:
        try:
            answer = self._run(command, *texts)
        except self._engine.JSException as error:
            self._run = None  # as CouchDB ends the process
            raise _exhausted(str(error)) from None
        if not isinstance(answer, str):
            self._run = None
            raise ServerError("the script gave no answer", code="os_process_error")
        lines, _, outcome = answer.partition("\n")
        if lines:
            _write_log(lines)
        if outcome[:1] == _FAILED:
            raise self._failure(json.loads(outcome[1:]))
        return outcome

    def _failure(self, error: Mapping[str, Any]) -> ResponseError:
        if error["code"] == "os_process_error":
            self._run = None
            return _exhausted(error["reason"])
        failure = ResponseError(error["reason"], code=error["code"])
        failure.status = error.get("status", 500)
        return failure


class Scripts:
    """The contexts of the functions of a database's design documents, those that were used last.

    Each function has its own, as in CouchDB: none breaks what another sees, nor waits until another has run.
    """

    def __init__(self) -> None:
        self._contexts: OrderedDict[tuple[tuple[str, ...], bytes], Context] = OrderedDict()
        self._lock = threading.Lock()
        self._slow: deque[tuple[float, float]] = deque()

    def open(self, path: tuple[str, ...], design: bytes) -> Context:
        """The context of a function by its path in a design document, which is JSON: another revision has another.

        Nothing is run yet, so an event loop may ask.

        Raises:
            UnsupportedError: the extra ``js`` is not installed.
        """
        with self._lock:
            key = path, design
            context = self._contexts.get(key)
            if context is None:
                context = self._contexts[key] = Context(("design", design.decode()))
                if len(self._contexts) > CONTEXTS:
                    self._contexts.popitem(last=False)
            self._contexts.move_to_end(key)
            return context

    def ask(self, context: Context, command: str, *texts: str) -> str:
        """What comes of a command while the writes of all databases wait for it.

        Raises as a context does, and ServerError without running anything where the database's functions have taken
        more than their share of late: one that runs for ever would keep everybody from writing.
        """
        began = time.monotonic()
        while self._slow and self._slow[0][0] < began - WINDOW:
            self._slow.popleft()
        if sum(taken for _, taken in self._slow) > ALLOWANCE:
            raise _exhausted("interrupted")
        try:
            return context.ask(command, *texts)
        finally:
            taken = time.monotonic() - began
            if taken > SLOW:
                self._slow.append((began, taken))


def check_function(source: str) -> None:
    """Compile a function, to throw it away. Raises ResponseError with the code ``compilation_error``."""
    Context().ask("check", source)


class Mapper:
    """The map functions of a design document, in the order of its views."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def map(self, documents: Sequence[bytes]) -> list[list[list[tuple[Any, bytes]]]]:
        """What the functions emit: for each document and each view its rows, a key and the JSON of a value.

        A document at which a function throws has no rows there, as in CouchDB. About 100 documents a call are fast.

        Raises:
            ResponseError: a function fails in a way that CouchDB does not pass over, such as a ``fatal_error``.
            ServerError: a function takes more than five seconds for one document, or too much memory.
        """
        try:
            return self._map(documents)
        except ServerError:
            # The time is one document's, and so is the memory.
            if len(documents) == 1:
                raise
        return [self._map([document])[0] for document in documents]

    def close(self) -> None:
        """Give the memory back."""
        self._context.close()

    def _map(self, documents: Sequence[bytes]) -> list[list[list[tuple[Any, bytes]]]]:
        answer = self._context.ask("map", (b"[%b]" % b",".join(documents)).decode())
        keys, *values = answer.encode().split(b"\n")
        left = iter(values)
        return [[_rows(emitted, left) for emitted in views] for views in parsed(keys)]


def _rows(keys: list[Any], values: Iterator[bytes]) -> list[tuple[Any, bytes]]:
    return list(zip(keys, islice(values, len(keys)), strict=True)) if keys else []


def open_mapper(design: Mapping[str, Any]) -> Mapper:
    """The map functions of a design document, those of its views that have one.

    Raises:
        ResponseError: one of them does not compile.
        UnsupportedError: the extra ``js`` is not installed.
    """
    views = design.get("views", {})
    context = Context()
    context.prepare("lib", encode(views.get("lib", {})).decode())
    for name, view in views.items():
        if name != "lib" and isinstance(view, dict) and "map" in view:
            context.prepare("addMap", view["map"])
    return Mapper(context)


class Reducer:
    """A reduce function."""

    def __init__(self, context: Context, source: str) -> None:
        self._context = context
        self._source = source
        self._empty = len('["reduce",[""],]') + len(json.dumps(source, ensure_ascii=False)) - len(source) - 2

    def reduce(self, keys_and_ids: Sequence[tuple[Any, str]], values: Sequence[bytes]) -> bytes:
        """The reduction of some rows, as JSON; null where the function throws.

        Raises:
            ResponseError: ``reduce_overflow_error``, or an error that CouchDB does not pass over.
            ServerError: the function takes more than five seconds, or too much memory.
        """
        keys = [encode(row) for row in keys_and_ids]
        rows = sum(map(len, keys)) + sum(map(len, values)) + 4 * len(keys)
        text = b"[[%b],[%b]]" % (b",".join(keys), b",".join(values))
        return self._reduce(text, self._empty + max(rows - 1, 0) + 2)

    def rereduce(self, values: Sequence[bytes]) -> bytes:
        """The reduction of reductions. Raises as ``reduce`` does."""
        listed = b"[%b]" % b",".join(values)
        return self._reduce(b"[%b]" % listed, self._empty + len("re") + len(listed))

    def close(self) -> None:
        """Give the memory back."""
        self._context.close()

    def _reduce(self, text: bytes, size: int) -> bytes:
        return self._context.ask("reduce", self._source, text.decode(), str(size)).encode()


def open_reducer(design: Mapping[str, Any], source: str) -> Reducer:
    """A reduce function of a design document, by its source.

    Raises:
        ResponseError: it does not compile.
        UnsupportedError: the extra ``js`` is not installed.
    """
    context = Context()
    context.prepare("check", source)
    return Reducer(context, source)


def parsed(text: bytes | str) -> Any:
    """The value that a function has made. Raises ServerError where it is nested deeper than the store reads JSON."""
    try:
        return decode(text if isinstance(text, bytes) else text.encode())
    except ValueError as error:
        raise ServerError(f"what a function has made cannot be read: {error}", code="invalid_json") from None


def _exhausted(reason: str) -> ServerError:
    """What CouchDB says of a process that it had to end."""
    if "interrupted" in reason:
        return ServerError("OS process timed out.", code="os_process_error")
    return ServerError("{exit_status,1}", code="os_process_error")


def _write_log(lines: str) -> None:
    for line in json.loads(lines):
        # One line is one line: a function may not write what looks like somebody else's.
        _log.info("%s", line if line.isprintable() else repr(line))
