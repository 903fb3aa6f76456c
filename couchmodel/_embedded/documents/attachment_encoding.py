"""Hash, compress and cut the contents of attachments as they arrive, and decompress them as they leave.

CouchDB stores compressible types as gzip. It computes the digest of the stored bytes, and the digest is part of the
revision id. So the compression level, the memory level and the gzip envelope here are CouchDB's. A zlib that
compresses differently from the usual one gives other digests, and so other revision ids.
"""

import base64
import hashlib
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from couchmodel._embedded import limits
from couchmodel._embedded.json.values import LongText
from couchmodel._wire.gzip import WINDOW_BITS, GzipDecompressor
from couchmodel.errors import ContentTooLargeError, ServerError

__all__ = ["CHECKSUM_BYTES", "DEFAULT_TYPE", "AttachmentDecompressor", "Content", "from_base64"]

DEFAULT_TYPE: Final = "application/octet-stream"
"""The content type of an attachment that comes without one, as in CouchDB."""

CHECKSUM_BYTES: Final = 4
"""The bytes of the checksum of a chunk, a CRC-32."""

# CouchDB's default of `compressible_types` for attachments.
_COMPRESSIBLE = re.compile(r"\s*(text/.*|application/(javascript|json|xml))(\s*;.*?)?\s*", re.IGNORECASE)
_LEVEL: Final = 8  # the default of CouchDB's ``compression_level`` for attachments
# zlib's default, which Erlang's zlib has too.
_MEMORY: Final = 8


class Content:
    """The content of an attachment that arrives: it is compressed, hashed and cut into chunks piece by piece.

    ``blob`` is the number of the row in ``blob`` that holds the chunks written so far, None before the first.
    ``length`` counts the bytes before compression, ``encoded_length`` the bytes that are stored. ``digest`` (MD5 in
    base64, CouchDB's digest) and ``sha256`` (the key for deduplication) are those of the stored bytes, and are set
    by ``finish``. ``damaged_twin`` is the number of a stored blob of the same bytes that is damaged, or None.
    ``checksums`` are those of the chunks, one behind the other, and complete then, too.
    """

    def __init__(self, content_type: str, encoding: str = "", *, plain_length: int | None = None) -> None:
        """Prepare for the first piece.

        An ``encoding`` such as ``gzip`` says that the content arrives encoded. It is then stored unchanged.
        ``plain_length`` is its length in bytes without the encoding, if the sender told it.
        """
        self.blob: int | None = None
        self._plain_length = plain_length if encoding else None
        self.length = 0
        self.encoded_length = 0
        self.encoding = encoding
        self.digest = ""
        self.sha256 = b""
        self.checksums = bytearray()
        self.damaged_twin: int | None = None
        self._compressor = None
        if not encoding and _COMPRESSIBLE.fullmatch(content_type):
            self.encoding = "gzip"
            self._compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, WINDOW_BITS, _MEMORY)
        # MD5 is CouchDB's digest and protects nothing. Without the flag, Python under FIPS refuses it.
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
        self._chunks: list[tuple[int, bytes]] = []
        self._last = bytearray()
        self._position = 0

    @classmethod
    def of(cls, data: Iterable[bytes], content_type: str) -> "Content":
        """Return the finished content of all pieces of ``data``. Raises ContentTooLargeError."""
        content = cls(content_type)
        for piece in data:
            content.feed(piece)
        content.finish()
        return content

    @property
    def is_due(self) -> bool:
        """True if so many bytes wait in memory that they should be staged."""
        return len(self._chunks) * limits.CHUNK_BYTES >= limits.STAGED_BYTES

    @property
    def may_be_staged(self) -> bool:
        """True if so many bytes have arrived that some of them are staged, or are just being staged."""
        return self.encoded_length >= limits.STAGED_BYTES

    @property
    def is_compressed_here(self) -> bool:
        """True if the stored bytes are others than those that arrive."""
        return self._compressor is not None

    def feed(self, data: bytes) -> None:
        """Add a piece. Raises ContentTooLargeError if the content becomes larger than ``limits.ATTACHMENT_BYTES``."""
        self.length += len(data)
        if self.length > limits.ATTACHMENT_BYTES:
            raise ContentTooLargeError("the attachment is larger than 1 GiB", code="attachment_too_large")
        self._store(self._compressor.compress(data) if self._compressor else data)

    def finish(self) -> None:
        """End the content: flush the compressor, cut the last chunk and compute the hashes."""
        if self._compressor is not None:
            self._store(self._compressor.flush())
        if self._last:
            self._cut()
        if self._plain_length is not None:
            self.length = self._plain_length
        self.digest = base64.b64encode(self._md5.digest()).decode()
        self.sha256 = self._sha256.digest()

    def take(self) -> list[tuple[int, bytes]]:
        """Return the chunks that wait to be written, with their positions, and remove them from memory."""
        chunks, self._chunks = self._chunks, []
        return chunks

    def _cut(self) -> None:
        chunk = bytes(self._last[: limits.CHUNK_BYTES])
        self._chunks.append((self._position, chunk))
        self.checksums += zlib.crc32(chunk).to_bytes(CHECKSUM_BYTES)
        self._position += 1
        del self._last[: limits.CHUNK_BYTES]

    def _store(self, data: bytes) -> None:
        self.encoded_length += len(data)
        self._md5.update(data)
        self._sha256.update(data)
        self._last += data
        while len(self._last) >= limits.CHUNK_BYTES:
            self._cut()


class AttachmentDecompressor(GzipDecompressor):
    """A decompressor of an attachment that is stored as gzip, in pieces no larger than a chunk."""

    def __init__(self) -> None:
        super().__init__(limits.CHUNK_BYTES)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the decompressed pieces of a chunk. Raises ServerError if the content is not gzip."""
        try:
            yield from super().feed(data)
        except ValueError as error:
            raise ServerError("the attachment is not what its Content-Encoding says") from error


def from_base64(data: object) -> Iterator[bytes]:
    """Yield the decoded bytes of an inline attachment's ``data``, a piece at a time.

    Raises ValueError if ``data`` is not a string, or is not valid base64. White space is ignored.
    """
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
    """Yield a string in parts. A LongText is in parts already. Raises ValueError if ``data`` is not a string."""
    match data:
        case LongText(parts):
            yield from parts
        case str():
            for start in range(0, len(data), limits.CHUNK_BYTES):
                yield data[start : start + limits.CHUNK_BYTES]
        case _:
            raise ValueError("it is no string")
