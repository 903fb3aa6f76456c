"""Call the JavaScript functions of design documents, which run in processes of their own.

The engine is quickjs-ng, the extra ``js``; only ``child`` imports it. ``scripts.js`` defines the environment of a
function, which can reach nothing outside of it. A context may be used by several threads at once. A call may take five
seconds, and first waits for other calls of the same database, so only ``run_if_idle`` may be called in an event loop.
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
from typing import Any, Final, TypeVar

from couchmodel._embedded import limits
from couchmodel._embedded.javascript.pool import LIMITS, PROCESSES
from couchmodel._embedded.javascript.process import ContextSetup, Limits, ProcessOwner, next_context_number
from couchmodel._wire.guards import Guard
from couchmodel._wire.messages import decode, encode
from couchmodel.errors import ServerError, UnsupportedError

__all__ = [
    "LIMITS",
    "BatchedCalls",
    "Context",
    "Limits",
    "Mapper",
    "Reducer",
    "Scripts",
    "check_function",
    "is_available",
    "open_mapper",
    "open_reducer",
    "parse_result",
]

T = TypeVar("T")


@cache
def is_available() -> bool:
    """Return True if the extra ``js`` is installed."""
    try:
        version("quickjs-ng")  # the older package ``quickjs`` cannot interrupt a regular expression
    except PackageNotFoundError:
        return False
    return True


def _require_engine() -> None:
    if not is_available():
        reason = "The embedded store runs JavaScript with an extra that is not installed: pip install 'couchmodel[js]'"
        raise UnsupportedError(reason)


class Context:
    """A JavaScript context: a global object with functions, and memory of its own, in a child process.

    A new one is set up when its process has ended.
    """

    def __init__(self, scripts: "Scripts | None", *prepared: tuple[str, str]) -> None:
        """Raise UnsupportedError if the extra ``js`` is not installed.

        ``prepared`` are the commands that set the context up in a process, each with its text.
        """
        _require_engine()
        self.scripts = COMMON if scripts is None else scripts
        self.setup = ContextSetup(next_context_number(), [(command, text.encode()) for command, text in prepared])
        self.close = weakref.finalize(self, PROCESSES.forget, self.setup.number)
        """Give the context's memory back."""
        # At exit the pool ends all processes anyway.
        self.close.atexit = False
        self._refusals = 0

    def open(self) -> None:
        """Set the context up in a process, to see that its functions compile. Raises as :meth:`run` does."""
        PROCESSES.run(self.scripts, [self.setup], "nothing", (), None)

    def run(self, command: str, *texts: bytes, seconds: float | None = None) -> bytes:
        """Run a command of ``scripts.js`` and return its result.

        It may take ``seconds`` of processor time, or by default all that the limits allow.

        Raises:
            ResponseError: the function does not compile, or throws an error that CouchDB reports to the client.
            ServerError: the function takes too much time or memory.
        """
        return PROCESSES.run(self.scripts, [self.setup], command, texts, seconds)[0]

    def run_if_idle(self, command: str, *texts: bytes, seconds: float) -> "Future[list[bytes]] | None":
        """Run a command that is short as a rule, and return a future of its results. May be called in an event loop.

        Waits up to ``seconds``; after that the future is still pending. Returns None if :meth:`run` has to be used
        instead: no idle process has the context, the texts are large, or a recent call of this context was late.
        """
        # A larger text would not fit into the pipe, and writing it would block the event loop.
        if self._refusals > 0 or sum(map(len, texts)) > limits.PIPE_BYTES:
            self._refusals -= 1
            return None
        answer = PROCESSES.run_if_idle(self.scripts, self.setup, command, texts, seconds)
        if answer is not None and not answer.done():
            self._refusals = limits.REFUSED_CALLS
        return answer


class Scripts(ProcessOwner):
    """The JavaScript functions of a database that were used last, each with a context of its own.

    The first call of a function starts a process.
    """

    def __init__(self) -> None:
        self._contexts: OrderedDict[tuple[tuple[str, ...], bytes], Context] = OrderedDict()
        self._lock = threading.Lock()
        self.checking: dict[tuple[str, str, int], Context | Guard | None] = {}
        """The checks of documents, by the id, revision and sequence number of their design documents."""

    def open(self, path: tuple[str, ...], design: bytes) -> Context:
        """Return the context for the function at a path in a design document.

        ``design`` is the document as JSON, so each revision has its own contexts. Nothing runs yet, so this may be
        called in an event loop.

        Raises:
            UnsupportedError: the extra ``js`` is not installed.
        """
        with self._lock:
            key = path, design
            context = self._contexts.get(key)
            if context is None:
                context = self._contexts[key] = Context(self, ("design", design.decode()))
                # The one that was used the longest time ago, since a use moves a context to the end.
                if len(self._contexts) > limits.KEPT_CONTEXTS:
                    self._contexts.popitem(last=False)
            self._contexts.move_to_end(key)
            return context

    def close(self) -> None:
        """End the processes. The next call of a function starts new ones."""
        PROCESSES.end(self)


COMMON: Final = Scripts()
"""The scripts for functions that belong to no database."""


def check_function(source: str, scripts: Scripts | None = None) -> None:
    """Compile a function to check it. Raises ResponseError with the code ``compilation_error`` if that fails."""
    Context(scripts).run("check", source.encode())


class BatchedCalls:
    """Calls functions with many documents at a time, as long as the functions are fast."""

    def __init__(self) -> None:
        self._batch_size = limits.CALL_DOCUMENTS

    def results(self, documents: Sequence[bytes], call: Callable[[Sequence[bytes], float | None], list[T]]) -> list[T]:
        """Return the functions' result for each document.

        ``call`` calls the functions with a batch of documents and a limit in seconds, None for the default limit.

        Raises ResponseError as the functions do, and ServerError if one document takes too much time or memory.
        """
        results: list[T] = []
        while len(results) < len(documents):
            batch = self._next_batch(documents, len(results))
            try:
                results += call(batch, None if len(batch) == 1 else limits.CALL_SECONDS)
            except ServerError:
                if len(batch) == 1:
                    raise
                # One by one, each document has the whole limits of time and memory.
                results += [result for document in batch for result in call([document], None)]
                self._batch_size = max(1, len(batch) // 10)
        return results

    def _next_batch(self, documents: Sequence[bytes], begin: int) -> Sequence[bytes]:
        size, end = 0, begin
        while end < min(len(documents), begin + self._batch_size) and (
            size == 0 or size + len(documents[end]) <= limits.CALL_BYTES
        ):
            size += len(documents[end])
            end += 1
        return documents[begin:end]


class Mapper:
    """The map functions of a design document, in the order of its views."""

    def __init__(self, contexts: Sequence[Context], places: Sequence[int]) -> None:
        """``places`` holds, for each view, the place of its function's context in ``contexts``."""
        self._contexts = contexts
        self._places = places
        self._batched_calls = BatchedCalls()

    def map(self, documents: Sequence[bytes]) -> list[list[list[tuple[Any, bytes]]]]:
        """Return the rows of each document in each view. A row is a key and the JSON of a value.

        If a function throws, the document has no rows in that view, as in CouchDB. About 100 documents a call are fast.

        Raises:
            ResponseError: a function throws an error that CouchDB reports to the client, such as ``fatal_error``.
            ServerError: a function takes more than five seconds for one document, or too much memory.
        """
        return self._batched_calls.results(documents, self._map)

    def close(self) -> None:
        """Give the memory of the contexts back."""
        for context in self._contexts:
            context.close()

    def _map(self, documents: Sequence[bytes], seconds: float | None) -> list[list[list[tuple[Any, bytes]]]]:
        if not self._contexts:
            return [[] for _ in documents]
        text = b"[%b]" % b",".join(documents)
        setups = [context.setup for context in self._contexts]
        answers = PROCESSES.run(self._contexts[0].scripts, setups, "map", [text], seconds)
        mapped = list(map(_rows_by_document, answers))
        return [[mapped[place][n] for place in self._places] for n in range(len(documents))]


def _rows_by_document(answer: bytes) -> list[list[tuple[Any, bytes]]]:
    """Return the rows of each document. An answer has all keys in its first line, and one value in every other line."""
    keys, *values = answer.split(b"\n")
    remaining = iter(values)
    return [_pair_rows(emitted, remaining) for emitted in parse_result(keys)]


def _pair_rows(keys: list[Any], values: Iterator[bytes]) -> list[tuple[Any, bytes]]:
    return list(zip(keys, islice(values, len(keys)), strict=True)) if keys else []


def open_mapper(design: Mapping[str, Any], scripts: Scripts | None = None) -> Mapper:
    """Compile the map functions of a design document's views. Views with the same function share a context.

    Raises:
        ResponseError: a function does not compile.
        UnsupportedError: the extra ``js`` is not installed.
    """
    views = design.get("views", {})
    lib = encode(views.get("lib", {})).decode()
    named = [view["map"] for name, view in views.items() if name != "lib" and isinstance(view, dict) and "map" in view]
    # Each source once, in the order of the views.
    sources = list(dict.fromkeys(named))
    contexts = [Context(scripts, ("lib", lib), ("addMap", source)) for source in sources]
    for context in contexts:
        context.open()
    return Mapper(contexts, [sources.index(source) for source in named])


class Reducer:
    """A reduce function of a view."""

    def __init__(self, context: Context, source: str) -> None:
        self._context = context
        self._source = source
        # The size of CouchDB's message to its query server without its rows, as in its ``reduce_overflow_error``.
        self._empty_size = len('["reduce",[""],]') + len(json.dumps(source, ensure_ascii=False)) - len(source) - 2

    def reduce(self, keys_and_ids: Sequence[tuple[Any, str]], values: Sequence[bytes]) -> bytes:
        """Return the reduction of some rows as JSON, or ``null`` if the function throws.

        Raises:
            ResponseError: ``reduce_overflow_error``, or an error that CouchDB reports to the client.
            ServerError: the function takes more than five seconds, or too much memory.
        """
        keys = [encode(row) for row in keys_and_ids]
        rows = sum(map(len, keys)) + sum(map(len, values)) + 4 * len(keys)
        text = b"[[%b],[%b]]" % (b",".join(keys), b",".join(values))
        return self._reduce(text, self._empty_size + max(rows - 1, 0) + 2)

    def rereduce(self, values: Sequence[bytes]) -> bytes:
        """Return the reduction of some reductions as JSON. Raises as :meth:`reduce` does."""
        reductions = b"[%b]" % b",".join(values)
        return self._reduce(b"[%b]" % reductions, self._empty_size + len("re") + len(reductions))

    def close(self) -> None:
        """Give the memory of the context back."""
        self._context.close()

    def _reduce(self, text: bytes, size: int) -> bytes:
        return self._context.run("reduce", self._source.encode(), text, b"%d" % size)


def open_reducer(design: Mapping[str, Any], source: str, scripts: Scripts | None = None) -> Reducer:
    """Compile a reduce function of a design document.

    Raises:
        ResponseError: the function does not compile.
        UnsupportedError: the extra ``js`` is not installed.
    """
    context = Context(scripts, ("check", source))
    context.open()
    return Reducer(context, source)


def parse_result(text: bytes | str) -> Any:
    """Return the value of JSON text that a function has made. Raises ServerError if it is nested too deeply."""
    try:
        return decode(text if isinstance(text, bytes) else text.encode())
    except ValueError as error:
        raise ServerError(f"what a function has made cannot be read: {error}", code="invalid_json") from None
