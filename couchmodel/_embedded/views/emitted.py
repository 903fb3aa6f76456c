"""What mappers read and make: documents, and rows with their keys in the forms in which an index stores them."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, Protocol, TypeAlias

from couchmodel._wire.messages import encode
from couchmodel.types import JSON

__all__ = ["EncodedKey", "Order", "Rows", "SourceDocument", "encode_key", "list_encoder"]

_CACHED_ITEMS: Final = 2**12

_CACHED_LENGTH: Final = 64
"""The number of characters up to which the encoded form of a string is cached."""

Order: TypeAlias = Callable[[JSON], bytes]
"""The function that turns a key into bytes that compare in the order of a view: ``sort_key`` or ``raw_key``."""

EncodedKey: TypeAlias = tuple[bytes, bytes]
"""A key: its sort key, and its JSON text."""

Rows: TypeAlias = list[tuple[bytes, bytes, bytes]]
"""The rows of one document in one view: the sort key, the key as JSON text, and the value as JSON text."""


class SourceDocument(Protocol):
    """A document to map."""

    @property
    def body(self) -> bytes | None:
        """The JSON of the document without special members. None if it has no rows."""

    def text(self) -> bytes:
        """Return the JSON of the document with all members that a map function sees."""
        ...


def encode_key(order: Order, key: Any) -> EncodedKey:
    """Return a key in both forms."""
    return order(key), encode(key)


def list_encoder(order: Order, convert: Callable[[Any], Any]) -> Callable[[Sequence[Any]], EncodedKey]:
    """Return the function that encodes keys that are arrays, given by their items before ``convert``.

    Items are encoded one by one, because documents share them: categories, names, days. Short ones are cached.
    """
    # Both forms of an array are those of its items between a head and an end: see rule 2 of ``rules.collation``.
    empty = order([])
    head, end = empty[:-1], empty[-1:]

    def encode_item(item: Any) -> EncodedKey:
        return encode_key(order, convert(item))

    cached = lru_cache(_CACHED_ITEMS)(encode_item)

    def encode_list(items: Sequence[Any]) -> EncodedKey:
        # Keys have few items, so that this is faster than to join lists.
        keys, texts = head, b""
        for item in items:
            # By exact type, since True and 1.0 equal 1.
            is_short = type(item) is int or (type(item) is str and len(item) <= _CACHED_LENGTH)
            key, text = cached(item) if is_short else encode_item(item)
            keys += key
            texts += b"," + text
        return keys + end, b"[%b]" % texts[1:]

    return encode_list
