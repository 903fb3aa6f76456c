"""Choose the reduction of a view: a built-in one, or the view's own JavaScript function."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from couchmodel._embedded import limits
from couchmodel._embedded.javascript import engine as scripts
from couchmodel._embedded.javascript.engine import Reducer, Scripts
from couchmodel._embedded.views.builtin_reduce import Item, Reduction, builtin_reduction
from couchmodel._embedded.views.designs import QUERY, Design, View
from couchmodel._wire.messages import decode

__all__ = ["ReductionFactory", "open_reducer"]


class ReductionFactory(NamedTuple):
    """A factory of reductions, one for each group of rows. ``is_script`` says that a reduction may take seconds."""

    make: Callable[[], Reduction]
    is_script: bool


def open_reducer(design: Design, view: View, functions: Scripts, *, backwards: bool) -> ReductionFactory:
    """Return the factory of reductions for a view.

    ``functions`` are the JavaScript contexts of the database. ``backwards`` says that rows come in descending order.

    Raises ServerError if the built-in function does not exist. A JavaScript function that does not compile raises
    later, in the first reduction that gets rows.
    """
    source = view.reduce or ""
    builtin = builtin_reduction(source, backwards=backwards)
    if builtin is not None:
        return ReductionFactory(builtin, False)
    if design.language == QUERY:
        return ReductionFactory(_NullReduction, False)
    # The function is compiled at its first use, on the thread that runs it, and never in the event loop.
    open_once = cache(lambda: scripts.open_reducer(design.body, source, functions))
    return ReductionFactory(lambda: _ScriptReduction(open_once), True)


class _NullReduction:
    """The reduction of a ``language: query`` view with a function that is not built-in. CouchDB answers null."""

    def add(self, rows: object) -> None:
        """Ignore the rows."""

    def result(self) -> Any:
        """Return None."""
        return None


class _ScriptReduction:
    """The reduction by a JavaScript function: it reduces each batch of rows, and rereduces the results.

    As in CouchDB, the function gets the rows from the last to the first, and rereduces even the result of a single
    batch.
    """

    def __init__(self, open_once: Callable[[], Reducer]) -> None:
        self._open = open_once
        self._partial_results: list[bytes] = []

    def add(self, rows: Sequence[Item]) -> None:
        """Reduce some rows. Raises ResponseError if the function fails."""
        keys = [(decode(emitted), id) for emitted, id, _ in reversed(rows)]
        self._partial_results.append(self._open().reduce(keys, [value for *_, value in reversed(rows)]))
        # So that a group of any size keeps a bounded number of results.
        if len(self._partial_results) >= limits.REDUCED_RESULTS:
            self._partial_results = [self._open().rereduce(self._partial_results)]

    def result(self) -> Any:
        """Return the result for all rows. Raises ResponseError if the function fails."""
        return decode(self._open().rereduce(self._partial_results))
