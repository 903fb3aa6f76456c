"""Which reduction a view has: a built-in one, or its own function of JavaScript."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

from couchmodel._embedded.javascript import engine as scripts
from couchmodel._embedded.javascript.engine import Reducer, Scripts
from couchmodel._embedded.views.builtin_reduce import Item, Reduction, builtin_reduction
from couchmodel._embedded.views.designs import QUERY, Design, View
from couchmodel._wire.messages import decode

__all__ = ["Maker", "open_reducer"]

PIECES: Final = 100
"""Reductions that are reduced together."""


class Maker(NamedTuple):
    """What makes the reductions of a view; ``is_script`` says that they may take seconds."""

    make: Callable[[], Reduction]
    is_script: bool


def open_reducer(design: Design, view: View, functions: Scripts, *, backwards: bool) -> Maker:
    """What makes the reductions of a view, which may be read ``backwards``; a function runs among those of a database.

    Raises ServerError where there is no built-in function of that name. What is wrong with a function of the design
    document is told by the first reduction that gets rows.
    """
    source = view.reduce or ""
    builtin = builtin_reduction(source, backwards=backwards)
    if builtin is not None:
        return Maker(builtin, False)
    if design.language == QUERY:
        return Maker(_Nothing, False)
    # It is compiled where it runs, which is not in the event loop.
    opened = cache(lambda: scripts.open_reducer(design.body, source, functions))
    return Maker(lambda: _Script(opened), True)


class _Nothing:
    """What CouchDB makes of a function in a design document whose language has none."""

    def add(self, rows: object) -> None:
        """Whatever the rows are."""

    def result(self) -> Any:
        """Nothing."""
        return None


class _Script:
    """A function of a design document. It is asked for each batch of rows, and for what it has said of them all.

    As in CouchDB it gets the rows from the last to the first, and is asked even for what it has said of a single batch.
    """

    def __init__(self, opened: Callable[[], Reducer]) -> None:
        self._opened = opened
        self._pieces: list[bytes] = []

    def add(self, rows: Sequence[Item]) -> None:
        """Take in some rows. Raises ResponseError."""
        keys = [(decode(emitted), id) for emitted, id, _ in reversed(rows)]
        self._pieces.append(self._opened().reduce(keys, [value for *_, value in reversed(rows)]))
        if len(self._pieces) >= PIECES:
            self._pieces = [self._opened().rereduce(self._pieces)]

    def result(self) -> Any:
        """What they have come to. Raises ResponseError."""
        return decode(self._opened().rereduce(self._pieces))
