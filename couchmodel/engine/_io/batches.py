"""The documents of a bulk request as JSON texts, a pack at a time.

To encode documents together costs half of what it costs one by one, most of all because none of their texts is an
object of its own. Few need theirs afterwards; then a pack is taken apart.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from couchmodel._wire.messages import decode, encode
from couchmodel.types import BulkRow, JSONObject

__all__ = ["Pack", "next_count", "pack_texts", "requests_of"]

_DOCUMENTS: Final = 10_000
_BYTES: Final = 8 * 1024 * 1024
"""How much one request holds at the most. CouchDB takes 8 MB a document and 4 GiB a request unless told otherwise;
these keep the server's memory and ours within bounds. Smaller ones cost: of 1,000 documents, an eighth more time."""

_PACK: Final = 256 * 1024
_MOST: Final = 1024
_FIRST: Final = 16
"""About how many bytes a pack has, how many documents at the most, and how many before their size is known: so much is
encoded before others in the loop have their turn."""


class Pack:
    """Documents one after the other: ``array`` is the JSON text of all of them."""

    __slots__ = ("_rows", "_stored", "_texts", "array", "count")

    def __init__(self, array: bytes, count: int, texts: Sequence[bytes] | None = None) -> None:
        self.array = array
        self.count = count
        self._texts = texts
        self._rows: Sequence[BulkRow] = ()
        self._stored: dict[str, bytes] | None = None

    @property
    def id(self) -> str:
        """The id of its first document."""
        document_id: str = self._apart()[0]["_id"]
        return document_id

    def told(self, rows: Sequence[BulkRow]) -> None:
        """Take note of CouchDB's row for each document."""
        self._rows = rows

    def text(self, document_id: str) -> bytes:
        """The JSON text of a document as it is stored by now."""
        if self._stored is None:
            sent = zip(self._apart(), self._rows, strict=True)
            self._stored = {each["_id"]: encode({**each, "_rev": row["rev"]}) for each, row in sent if "rev" in row}
            self.array, self._texts, self._rows = b"", None, ()
        return self._stored[document_id]

    def halves(self) -> "tuple[Pack, Pack]":
        """The same documents in two packs. One document cannot be halved."""
        texts = self._texts or [encode(document) for document in self._apart()]
        middle = self.count // 2
        return _pack(texts[:middle]), _pack(texts[middle:])

    def _apart(self) -> list[JSONObject]:
        documents: list[JSONObject] = decode(self.array)
        return documents


def next_count(before: Pack | None) -> int:
    """How many documents to encode together next, in view of the pack before."""
    if before is None or not before.count:
        return _FIRST
    return max(1, min(_MOST, _PACK * before.count // len(before.array)))


def pack_texts(texts: Sequence[bytes]) -> Iterator[Pack]:
    """Documents that are JSON texts already."""
    start = size = 0
    for stop, text in enumerate(texts):
        if stop > start and (stop - start == _MOST or size + len(text) > _PACK):
            yield _pack(texts[start:stop])
            start, size = stop, 0
        size += len(text)
    if start < len(texts):
        yield _pack(texts[start:])


def requests_of(packs: Iterable[Pack]) -> Iterator[list[Pack]]:
    """The packs that one request holds, request after request."""
    held: list[Pack] = []
    count = size = 0
    for pack in packs:
        if held and (count + pack.count > _DOCUMENTS or size + len(pack.array) > _BYTES):
            yield held
            held, count, size = [], 0, 0
        held.append(pack)
        count += pack.count
        size += len(pack.array)
    if held:
        yield held


def _pack(texts: Sequence[bytes]) -> Pack:
    return Pack(b"[%b]" % b",".join(texts), len(texts), texts)
