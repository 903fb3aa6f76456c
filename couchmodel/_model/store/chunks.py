"""Iterables of any length, read in chunks, so that one chunk of them is in memory."""

from collections.abc import AsyncGenerator, AsyncIterable, Collection, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel

from couchmodel._wire.turns import give_turn, turn_is_due
from couchmodel.errors import ConfigurationError

__all__ = ["CHUNK", "Chunks", "Source", "refuse_repeated", "require_iterable"]

T = TypeVar("T")

Source = Iterable[T] | AsyncIterable[T]
"""Items that come one by one, at once or asynchronously."""

CHUNK: Final = 1_000
"""The most items of a chunk, which one request can have."""

_MAX_BYTES: Final = 8 * 1024 * 1024
"""The bytes of a chunk of documents, about."""


class Chunks(Generic[T]):
    """The items of an iterable in lists of at most ``CHUNK`` items.

    With ``keep_collections``, the items of a collection are one list, because they are in memory already.
    """

    def __init__(self, source: Source[T], *, keep_collections: bool = False) -> None:
        self._first: list[T] = []
        self._rest: Source[T] = source
        if keep_collections and isinstance(source, Collection):
            self._first, self._rest = list(source), ()
        self._length = CHUNK

    def note_size(self, count: int, size: int) -> None:
        """Let the next lists be shorter, if the ``count`` items of this one have so many bytes."""
        self._length = max(1, min(CHUNK, _MAX_BYTES * count // max(size, 1)))

    async def read(self) -> AsyncGenerator[list[T], None]:
        """Yield the lists."""
        chunk, self._first = self._first, []
        async with aclosing(_each(self._rest)) as items:
            async for item in items:
                chunk.append(item)
                if len(chunk) >= self._length:
                    yield chunk
                    chunk = []
        if chunk:
            yield chunk


async def _each(source: Source[T]) -> AsyncGenerator[T, None]:
    if isinstance(source, AsyncIterable):
        async for item in source:
            yield item
        return
    for item in source:
        yield item
        if turn_is_due():
            await give_turn()


def require_iterable(verb: str, source: Any, items: str = "documents, as in [pie, soup]") -> None:
    """Raise ConfigurationError unless ``source`` has several items. A text and a document are iterable, but are not."""
    is_one = isinstance(source, (str, bytes, BaseModel, Mapping))
    if is_one or not isinstance(source, (Iterable, AsyncIterable)):
        said = f"a {type(source).__name__}" if isinstance(source, BaseModel) else repr(source)
        raise ConfigurationError(f"{verb}() takes several {items}, not {said}")


def refuse_repeated(verb: str, documents: Iterable[Any], seen: set[int]) -> None:
    """Raise ConfigurationError if an object comes twice. ``seen`` has the identities of those that came before."""
    for document in documents:
        if id(document) in seen:
            raise ConfigurationError(f"{document.id!r} is twice among the documents of {verb}(): give each object once")
        seen.add(id(document))
