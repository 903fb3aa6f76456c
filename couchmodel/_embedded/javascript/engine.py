"""JavaScript: the functions of design documents, in processes of their own that reach nothing but what they are given.

The engine is quickjs-ng, the extra ``js``; only ``child`` imports it. What a function sees around itself is in
``scripts.js``. A context may be used from any thread, by several at once. Whoever asks waits for up to five seconds,
and for others of the same database before, so it is never the event loop.
"""

import json
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import Any, Final, Generic, TypeVar

from couchmodel._embedded.javascript.pool import LIMITS, PROCESSES
from couchmodel._embedded.javascript.process import Limits, Opening, Owner, next_number
from couchmodel._wire.messages import decode, encode
from couchmodel.errors import ServerError, UnsupportedError

__all__ = [
    "LIMITS",
    "Context",
    "Limits",
    "Mapper",
    "Reducer",
    "Scripts",
    "Together",
    "check_function",
    "is_available",
    "open_mapper",
    "open_reducer",
    "parsed",
]

T = TypeVar("T")

CONTEXTS: Final = 16
"""Functions of a database that are kept ready."""

TOGETHER: Final = 100
BATCH: Final = 1024 * 1024
"""Documents, and bytes of them, that are put to a function in one call."""

SHORT: Final = 16 * 1024
"""Bytes of a request that a pipe takes at once."""

PATIENCE: Final = 50
"""Calls after a late one that are not expected to be any faster."""

BATCH_SECONDS: Final = 0.1
"""Seconds of the processor for a call with several documents; a function that takes longer gets them one by one."""


@cache
def is_available() -> bool:
    """Whether the extra ``js`` is installed."""
    try:
        version("quickjs-ng")  # the older package of the same module cannot interrupt a regular expression
    except PackageNotFoundError:
        return False
    return True


def _require_engine() -> None:
    if not is_available():
        reason = "The embedded store runs JavaScript with an extra that is not installed: pip install 'couchmodel[js]'"
        raise UnsupportedError(reason)


class Context:
    """A memory of JavaScript with some functions in it, in a process. It begins anew when the process has ended."""

    def __init__(self, scripts: "Scripts | None", *prepared: tuple[str, str]) -> None:
        """``prepared`` are commands that are carried out wherever it begins.

        Raises UnsupportedError where the extra ``js`` is not installed.
        """
        _require_engine()
        self.scripts = COMMON if scripts is None else scripts
        self.opening = Opening(next_number(), [(command, text.encode()) for command, text in prepared])
        self.close = weakref.finalize(self, PROCESSES.forget, self.opening.number)
        """Give the memory back."""
        self.close.atexit = False
        self._patience = 0

    def open(self) -> None:
        """See to it that the context begins well. Raises as ``ask`` does."""
        PROCESSES.ask(self.scripts, [self.opening], "nothing", (), None)

    def ask(self, command: str, *texts: bytes, seconds: float | None = None) -> bytes:
        """What comes of a command of ``scripts.js``, which may take so many seconds of the processor.

        Raises:
            ResponseError: the function does not compile, or fails in a way that CouchDB does not pass over.
            ServerError: it takes too long, or too much memory.
        """
        return PROCESSES.ask(self.scripts, [self.opening], command, texts, seconds)[0]

    def ask_now(self, command: str, *texts: bytes, seconds: float) -> "Future[list[bytes]] | None":
        """As ``ask``, for what takes no time as a rule; its future, which may be late. None where ``ask`` is the way.

        What was late is not asked so for a while.
        """
        if self._patience > 0 or sum(map(len, texts)) > SHORT:
            self._patience -= 1
            return None
        answer = PROCESSES.ask_now(self.scripts, self.opening, command, texts, seconds)
        if answer is not None and not answer.done():
            self._patience = PATIENCE
        return answer


class Scripts(Owner):
    """The functions of a database's design documents, those that were used last. Each has a context of its own.

    Processes are started for them when the first one runs.
    """

    def __init__(self) -> None:
        self._contexts: OrderedDict[tuple[tuple[str, ...], bytes], Context] = OrderedDict()
        self._lock = threading.Lock()
        self.checking: dict[tuple[str, str, int], Context | None] = {}
        """The functions that check documents: by the id of a design document, its revision and its sequence number."""

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
                context = self._contexts[key] = Context(self, ("design", design.decode()))
                if len(self._contexts) > CONTEXTS:
                    self._contexts.popitem(last=False)
            self._contexts.move_to_end(key)
            return context

    def close(self) -> None:
        """End the processes. Others are started if a function is run again."""
        PROCESSES.end(self)


COMMON: Final = Scripts()
"""Where functions run that are no database's."""


def check_function(source: str, scripts: Scripts | None = None) -> None:
    """Compile a function, to throw it away. Raises ResponseError with the code ``compilation_error``."""
    Context(scripts).ask("check", source.encode())


class Together(Generic[T]):
    """Documents that are put to functions many at a time, as long as the functions are fast."""

    def __init__(self, ask: Callable[[Sequence[bytes], float | None], list[T]]) -> None:
        """``ask`` puts some of them to the functions, which may take so many seconds; None stands for all they may."""
        self._ask = ask
        self._most = TOGETHER

    def ask(self, documents: Sequence[bytes]) -> list[T]:
        """What comes of each. Raises ResponseError; ServerError where one of them takes too much time or memory."""
        results: list[T] = []
        while len(results) < len(documents):
            batch = self._next(documents, len(results))
            try:
                results += self._ask(batch, None if len(batch) == 1 else BATCH_SECONDS)
            except ServerError:
                if len(batch) == 1:
                    raise
                # The time is one document's, and so is the memory.
                results += [result for document in batch for result in self._ask([document], None)]
                self._most = max(1, len(batch) // 10)
        return results

    def _next(self, documents: Sequence[bytes], begin: int) -> Sequence[bytes]:
        size, end = 0, begin
        while end < min(len(documents), begin + self._most) and (size == 0 or size + len(documents[end]) <= BATCH):
            size += len(documents[end])
            end += 1
        return documents[begin:end]


class Mapper:
    """The map functions of a design document, in the order of its views."""

    def __init__(self, contexts: Sequence[Context], places: Sequence[int]) -> None:
        """``places`` has for each view which of the contexts has its function."""
        self._contexts = contexts
        self._places = places
        self._together = Together(self._map)

    def map(self, documents: Sequence[bytes]) -> list[list[list[tuple[Any, bytes]]]]:
        """What the functions emit: for each document and each view its rows, a key and the JSON of a value.

        A document at which a function throws has no rows there, as in CouchDB. About 100 documents a call are fast.

        Raises:
            ResponseError: a function fails in a way that CouchDB does not pass over, such as a ``fatal_error``.
            ServerError: a function takes more than five seconds for one document, or too much memory.
        """
        return self._together.ask(documents)

    def close(self) -> None:
        """Give the memory back."""
        for context in self._contexts:
            context.close()

    def _map(self, documents: Sequence[bytes], seconds: float | None) -> list[list[list[tuple[Any, bytes]]]]:
        if not self._contexts:
            return [[] for _ in documents]
        text = b"[%b]" % b",".join(documents)
        openings = [context.opening for context in self._contexts]
        answers = PROCESSES.ask(self._contexts[0].scripts, openings, "map", [text], seconds)
        mapped = list(map(_rows, answers))
        return [[mapped[place][n] for place in self._places] for n in range(len(documents))]


def _rows(answer: bytes) -> list[list[tuple[Any, bytes]]]:
    """The rows of each document, of which an answer has the keys in its first line, and each value in another."""
    keys, *values = answer.split(b"\n")
    left = iter(values)
    return [_pairs(emitted, left) for emitted in parsed(keys)]


def _pairs(keys: list[Any], values: Iterator[bytes]) -> list[tuple[Any, bytes]]:
    return list(zip(keys, islice(values, len(keys)), strict=True)) if keys else []


def open_mapper(design: Mapping[str, Any], scripts: Scripts | None = None) -> Mapper:
    """The map functions of a design document, those of its views that have one. Views with one function share it.

    Raises:
        ResponseError: one of them does not compile.
        UnsupportedError: the extra ``js`` is not installed.
    """
    views = design.get("views", {})
    lib = encode(views.get("lib", {})).decode()
    named = [view["map"] for name, view in views.items() if name != "lib" and isinstance(view, dict) and "map" in view]
    sources = list(dict.fromkeys(named))
    contexts = [Context(scripts, ("lib", lib), ("addMap", source)) for source in sources]
    for context in contexts:
        context.open()
    return Mapper(contexts, [sources.index(source) for source in named])


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
        return self._context.ask("reduce", self._source.encode(), text, b"%d" % size)


def open_reducer(design: Mapping[str, Any], source: str, scripts: Scripts | None = None) -> Reducer:
    """A reduce function of a design document, by its source.

    Raises:
        ResponseError: it does not compile.
        UnsupportedError: the extra ``js`` is not installed.
    """
    context = Context(scripts, ("check", source))
    context.open()
    return Reducer(context, source)


def parsed(text: bytes | str) -> Any:
    """The value that a function has made. Raises ServerError where it is nested deeper than the store reads JSON."""
    try:
        return decode(text if isinstance(text, bytes) else text.encode())
    except ValueError as error:
        raise ServerError(f"what a function has made cannot be read: {error}", code="invalid_json") from None
