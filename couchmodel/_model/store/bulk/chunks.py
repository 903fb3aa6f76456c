"""Iterables of any length, read in chunks, so that one chunk of them is in memory."""

import reprlib
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Collection, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from couchmodel._wire.turns import give_turn, turn_is_due
from couchmodel.errors import ConfigurationError

__all__ = ["CHUNK", "Source", "keep_collections", "read_chunks", "refuse_repeated", "require_iterable"]

T = TypeVar("T")

Source = Iterable[T] | AsyncIterable[T]
"""Items that come one by one, at once or asynchronously."""

CHUNK: Final = 1_000
"""The most items of a chunk, which one request can have."""

_MAX_BYTES: Final = 8 * 1024 * 1024
"""The bytes of a chunk of documents, about."""

_SAMPLE: Final = 16
"""One of so many items is measured."""


async def read_chunks(source: Source[T], size_of: Callable[[T], int] = lambda _: 0) -> AsyncGenerator[list[T], None]:
    """Yield the items of an iterable in lists of at most ``CHUNK`` items, and of about 8 MB.

    ``size_of`` returns the bytes of an item. It is asked for one of ``_SAMPLE`` items, since that takes time.
    """
    chunk: list[T] = []
    size = 0
    async with aclosing(_each(source)) as items:
        async for item in items:
            if len(chunk) % _SAMPLE == 0:
                size += size_of(item) * _SAMPLE
            chunk.append(item)
            if len(chunk) >= CHUNK or size > _MAX_BYTES:
                yield chunk
                chunk, size = [], 0
    if chunk:
        yield chunk


async def keep_collections(
    source: Source[T], size_of: Callable[[T], int] = lambda _: 0
) -> AsyncGenerator[list[T], None]:
    """Yield lists as :func:`read_chunks` does, but a collection as one list, because it is in memory already."""
    if isinstance(source, Collection):
        if source:
            # The caller may change its collection while the documents are sent, so this is a copy.
            yield list(source)
        return
    async with aclosing(read_chunks(source, size_of)) as chunks:
        async for chunk in chunks:
            yield chunk


async def _each(source: Source[T]) -> AsyncGenerator[T, None]:
    if isinstance(source, AsyncIterable):
        async for item in source:
            yield item
        return
    # An iterable that is not asynchronous never suspends, so the event loop gets its turns here.
    for item in source:
        yield item
        if turn_is_due():
            await give_turn()


def require_iterable(verb: str, source: Any, items: str = "documents, as in [pie, soup]") -> None:
    """Raise ConfigurationError unless ``source`` has several items. A text and a document are iterable, but are not."""
    # A model is an iterable of its fields, a mapping of its keys, and a text of its characters.
    is_one = isinstance(source, (str, bytes, BaseModel, Mapping))
    if is_one or not isinstance(source, (Iterable, AsyncIterable)):
        said = f"a {type(source).__name__}" if isinstance(source, BaseModel) else reprlib.repr(source)
        raise ConfigurationError(f"{verb}() takes several {items}, not {said}")


def refuse_repeated(verb: str, documents: Iterable[Any], seen: set[int]) -> None:
    """Raise ConfigurationError if an object comes twice. ``seen`` has the identities of those that came before."""
    for document in documents:
        if id(document) in seen:
            raise ConfigurationError(f"{document.id!r} is twice among the documents of {verb}(): give each object once")
        seen.add(id(document))
