"""The documents of a bulk request as JSON texts, in packs.

A pack is encoded as one text, which costs half of what its documents cost one by one, mostly because no document has a
text object of its own. A pack is decoded again if the text of one of its documents is needed later, which is rare.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from couchmodel._wire.messages import decode, encode
from couchmodel.types import BulkRow, JSONObject

__all__ = ["Pack", "group_into_requests", "next_pack_length", "pack_texts"]

_MAX_DOCUMENTS: Final = 10_000
_MAX_BYTES: Final = 8 * 1024 * 1024
"""The most documents and bytes of one request.

CouchDB's defaults are 8 MB a document and 4 GiB a request (``max_document_size`` and ``max_http_request_size``). These
limits keep the memory of the server and of this process within bounds. Smaller requests cost time: those of 1,000
documents take an eighth more.
"""

_PACK_BYTES: Final = 256 * 1024
_MAX_PACK_DOCUMENTS: Final = 1024
_FIRST_PACK_DOCUMENTS: Final = 16
"""The size of a pack: its approximate bytes, its most documents, and the documents of the first pack, whose size is not
known before. One pack is encoded before the event loop runs other tasks."""


class Pack:
    """Documents that are encoded together: ``array`` is the JSON text of all of them, ``count`` is their number."""

    __slots__ = ("_rows", "_stored", "_texts", "array", "count")

    def __init__(self, array: bytes, count: int, texts: Sequence[bytes] | None = None) -> None:
        self.array = array
        self.count = count
        self._texts = texts
        self._rows: Sequence[BulkRow] = ()
        self._stored: dict[str, bytes] | None = None

    @property
    def id(self) -> str:
        """The id of the first document."""
        document_id: str = self._decode()[0]["_id"]
        return document_id

    def note_rows(self, rows: Sequence[BulkRow]) -> None:
        """Record CouchDB's row for each document."""
        self._rows = rows

    def text(self, document_id: str) -> bytes:
        """Return the JSON text of a document as it is stored, with its new revision."""
        if self._stored is None:
            sent = zip(self._decode(), self._rows, strict=True)
            self._stored = {each["_id"]: encode({**each, "_rev": row["rev"]}) for each, row in sent if "rev" in row}
            # Each document is in memory as one text only.
            self.array, self._texts, self._rows = b"", None, ()
        return self._stored[document_id]

    def texts(self) -> Sequence[bytes]:
        """Return the JSON texts of the documents as they are sent."""
        return self._texts or [encode(document) for document in self._decode()]

    def halves(self) -> "tuple[Pack, Pack]":
        """Return the documents in two packs. A pack of one document cannot be halved."""
        texts = self.texts()
        middle = self.count // 2
        return _join_texts(texts[:middle]), _join_texts(texts[middle:])

    def _decode(self) -> list[JSONObject]:
        documents: list[JSONObject] = decode(self.array)
        return documents


def next_pack_length(before: Pack | None) -> int:
    """Return how many documents the next pack is to have, estimated from the size of the pack before."""
    if before is None or not before.count:
        return _FIRST_PACK_DOCUMENTS
    # A single document may be larger than a pack.
    return max(1, min(_MAX_PACK_DOCUMENTS, _PACK_BYTES * before.count // len(before.array)))


def pack_texts(texts: Sequence[bytes]) -> Iterator[Pack]:
    """Yield packs of documents that are JSON texts already."""
    start = size = 0
    for stop, text in enumerate(texts):
        if stop > start and (stop - start == _MAX_PACK_DOCUMENTS or size + len(text) > _PACK_BYTES):
            yield _join_texts(texts[start:stop])
            start, size = stop, 0
        size += len(text)
    if start < len(texts):
        yield _join_texts(texts[start:])


def group_into_requests(packs: Iterable[Pack]) -> Iterator[list[Pack]]:
    """Yield the packs of each request, within the limits of one request."""
    held: list[Pack] = []
    count = size = 0
    for pack in packs:
        if held and (count + pack.count > _MAX_DOCUMENTS or size + len(pack.array) > _MAX_BYTES):
            yield held
            held, count, size = [], 0, 0
        held.append(pack)
        count += pack.count
        size += len(pack.array)
    if held:
        yield held


def _join_texts(texts: Sequence[bytes]) -> Pack:
    return Pack(b"[%b]" % b",".join(texts), len(texts), texts)
