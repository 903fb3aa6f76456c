"""Which indexes are read at the moment.

An answer may be read for longer than its index is wanted. What is dropped is therefore cleared away when nobody reads
it any more, so that a read that has begun goes on to its end.
"""

from collections.abc import Callable
from typing import Final
from weakref import ref

__all__ = ["Reader", "Readers"]


class Reader:
    """A reading of an index. It lasts until the object is collected, so that an answer that nobody takes ends it, too.

    ``index`` is the number of the index, once it has been found by its signature.
    """

    __slots__ = ("__weakref__", "index", "signature")

    def __init__(self, signature: str) -> None:
        self.signature: Final = signature
        self.index: int | None = None


class Readers:
    """The readers of a store. It may be used from several threads, and a reader may be collected in any of them."""

    def __init__(self) -> None:
        # The operations on these are atomic. A lock could be held already where the garbage collector ends a reader.
        self._readers: dict[ref[Reader], str] = {}
        self._left: set[str] = set()
        self.ended: Callable[[], None] = _nothing
        """Is called when a reader ends for which a dropped index was left alone. From any thread, at any place."""

    def begin(self, signature: str) -> Reader:
        """Return a new reader. What it finds by the signature from now on is not cleared away while it lasts."""
        reader = Reader(signature)
        self._readers[ref(reader, self._end)] = signature
        return reader

    def leave(self, index: int, signature: str) -> bool:
        """Tell whether a dropped index has to be left alone, because it may be read."""
        self._left.add(signature)  # before the look, or a reader could end unheard in between
        readers = [reference() for reference in tuple(self._readers)]
        if any(each and each.signature == signature and each.index in (None, index) for each in readers):
            return True
        self._left.discard(signature)
        return False

    def _end(self, reference: ref[Reader]) -> None:
        if self._readers.pop(reference, None) in self._left:
            self.ended()


def _nothing() -> None:
    pass
