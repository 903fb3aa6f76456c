"""The contents of attachments on their way in and out: hashed, compressed and cut into pieces.

CouchDB stores compressible types as gzip, and makes digests, and so revision ids, of the stored bytes. So the level,
the memory and the envelope here are CouchDB's, and another zlib than the usual one gives other digests.
"""

import base64
import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from couchmodel._embedded.json.incremental import LongText
from couchmodel.errors import ContentTooLargeError, ServerError

__all__ = ["CHUNK", "DEFAULT_TYPE", "LARGEST", "Content", "Decompressor", "from_base64"]

CHUNK: Final = 262_144
"""Bytes of a stored content in one piece."""

STAGED: Final = 4 * CHUNK
"""Bytes of an arriving content that are kept in memory before they are written."""

LARGEST: Final = 1_073_741_824
"""CouchDB's ``max_attachment_size``."""

DEFAULT_TYPE: Final = "application/octet-stream"

_COMPRESSIBLE = re.compile(r"\s*(text/.*|application/(javascript|json|xml))(\s*;.*?)?\s*", re.IGNORECASE)
_GZIP: Final = 31  # zlib's window bits for a gzip envelope
_LEVEL: Final = 8
_MEMORY: Final = 8


class Content:
    """A content on its way into the store: compressed, hashed and cut into chunks as it arrives."""

    def __init__(self, content_type: str, encoding: str = "", *, plain_length: int | None = None) -> None:
        """``encoding`` says that it comes encoded already; it is stored as it is, then.

        ``plain_length`` is its length without the encoding, where somebody knows.
        """
        self.blob: int | None = None
        self._plain_length = plain_length if encoding else None
        self.length = 0
        self.encoded_length = 0
        self.encoding = encoding
        self.digest = ""
        self.sha256 = b""
        self._compressor = None
        if not encoding and _COMPRESSIBLE.fullmatch(content_type):
            self.encoding = "gzip"
            self._compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP, _MEMORY)
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        self._chunks: list[tuple[int, bytes]] = []
        self._last = bytearray()
        self._position = 0

    @classmethod
    def of(cls, data: Iterable[bytes], content_type: str) -> "Content":
        """A content that is there already, in pieces. Raises ContentTooLargeError."""
        content = cls(content_type)
        for piece in data:
            content.feed(piece)
        content.finish()
        return content

    @property
    def is_due(self) -> bool:
        """Whether so much has arrived that it should be staged."""
        return len(self._chunks) * CHUNK >= STAGED

    def feed(self, data: bytes) -> None:
        """Take in a piece. Raises ContentTooLargeError."""
        self.length += len(data)
        if self.length > LARGEST:
            raise ContentTooLargeError("the attachment is larger than 1 GiB", code="attachment_too_large")
        self._store(self._compressor.compress(data) if self._compressor else data)

    def finish(self) -> None:
        """Everything has arrived."""
        if self._compressor is not None:
            self._store(self._compressor.flush())
        if self._plain_length is not None:
            self.length = self._plain_length
        self.digest = base64.b64encode(self._md5.digest()).decode()
        self.sha256 = self._sha256.digest()

    def take(self, *, everything: bool = False) -> list[tuple[int, bytes]]:
        """The chunks that wait to be written, and their positions; the last, incomplete one with ``everything``."""
        if everything and self._last:
            self._cut()
        chunks, self._chunks = self._chunks, []
        return chunks

    def _cut(self) -> None:
        self._chunks.append((self._position, bytes(self._last[:CHUNK])))
        self._position += 1
        del self._last[:CHUNK]

    def _store(self, data: bytes) -> None:
        self.encoded_length += len(data)
        self._md5.update(data)
        self._sha256.update(data)
        self._last += data
        while len(self._last) >= CHUNK:
            self._cut()


class Decompressor:
    """gzip undone in pieces of a bounded size, however much the content blows up."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The pieces that a chunk turns into. Raises ServerError where it is no gzip."""
        while data:
            try:
                piece = self._inflate.decompress(data, CHUNK)
            except zlib.error as error:
                raise ServerError("the attachment is not what its Content-Encoding says") from error
            if piece:
                yield piece
            data = self._inflate.unconsumed_tail


def from_base64(data: object) -> Iterator[bytes]:
    """The bytes of an inline attachment's ``data``, a piece at a time. Raises ValueError."""
    rest, ended = "", False
    for part in _parts(data):
        text = rest + "".join(part.split())
        end = len(text) // 4 * 4
        if ended and text:
            raise ValueError("something comes behind the padding")
        yield base64.b64decode(text[:end], validate=True)
        rest, ended = text[end:], ended or text[:end].endswith("=")
    if rest:
        raise ValueError("the padding is missing")


def _parts(data: object) -> Iterator[str]:
    match data:
        case LongText(parts):
            yield from parts
        case str():
            for start in range(0, len(data), CHUNK):
                yield data[start : start + CHUNK]
        case _:
            raise ValueError("it is no string")
