"""Keep track of the view indexes that are being read.

A client may still read a response when its index is dropped. So a dropped index is removed only when its last reader
has ended, and a read that has begun can go on to its end.
"""

from collections.abc import Callable
from typing import Final
from weakref import ref

__all__ = ["Reader", "Readers"]


class Reader:
    """A read of an index. It lasts until the object is garbage collected, so an abandoned response ends it, too.

    ``index`` is the number of the index, and None until the index has been looked up by its signature.
    """

    __slots__ = ("__weakref__", "index", "signature")

    def __init__(self, signature: str) -> None:
        self.signature: Final = signature
        self.index: int | None = None


class Readers:
    """The readers of a store. All methods are safe to call from any thread; a reader may be collected in any thread."""

    def __init__(self) -> None:
        # Only atomic operations are used on these two, and no lock: the garbage collector may end a reader in a thread
        # that holds the lock already.
        self._readers: dict[ref[Reader], str] = {}
        self._delayed: set[str] = set()
        self.ended: Callable[[], None] = _do_nothing
        """A callback for the end of a reader that delayed the removal of a dropped index.

        It is called in any thread, and between any two instructions.
        """

    def begin(self, signature: str) -> Reader:
        """Return a new reader. No index of the signature is removed while the reader lasts."""
        reader = Reader(signature)
        # The callback of the weak reference is the reader's end, also if nobody closes its response.
        self._readers[ref(reader, self._end)] = signature
        return reader

    def leave(self, index: int, signature: str) -> bool:
        """Return True if a dropped index has to stay for now, because it may have a reader."""
        self._delayed.add(signature)  # before the check: a reader that ends in between must call ``ended``
        readers = [reference() for reference in tuple(self._readers)]
        if any(each and each.signature == signature and each.index in (None, index) for each in readers):
            return True
        self._delayed.discard(signature)
        return False

    def _end(self, reference: ref[Reader]) -> None:
        if self._readers.pop(reference, None) in self._delayed:
            self.ended()


def _do_nothing() -> None:
    pass
