"""The contents of attachments that arrive at a client: decompressed in bounded pieces, and compared with their digest.

CouchDB stores compressible types as gzip, and makes the digest of the stored bytes. So a content can be compared only
if it arrives as it is stored: plain if it is stored plain, and compressed if it is stored compressed.
"""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Final

from couchmodel._wire.gzip import GzipDecompressor

__all__ = ["ContentDecoder", "ContentDigest", "digest_of", "is_stored_plain", "plain_length"]

_PIECE: Final = 256 * 1024
"""The most bytes that are decompressed at a time."""

# The MD5 hash in base64: 16 bytes make 22 characters and two of padding.
_ENTITY_TAG = re.compile(r'"([A-Za-z0-9+/]{22}==)"')


class ContentDigest:
    """CouchDB's digest of a content, made piece by piece. ``length`` counts its bytes."""

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.length = 0

    def update(self, piece: bytes | bytearray | memoryview) -> None:
        """Add the next piece."""
        self._md5.update(piece)
        self.length += len(piece)

    def __str__(self) -> str:
        """Return the digest as a stub has it, such as ``md5-1B2M2Y8AsgTpgAmY7PhCfg==``."""
        return "md5-" + base64.b64encode(self._md5.digest()).decode()


class ContentDecoder:
    """A content that arrives. It is decompressed, counted, and compared with its digest.

    ``length`` counts its plain bytes.
    """

    def __init__(
        self, encoding: str, expected: str | None, *, is_plain: bool, digest: ContentDigest | None = None
    ) -> None:
        """``expected`` is the digest of the plain bytes if ``is_plain``, else of the bytes that arrive.

        If it is None, no digest is made or compared. ``digest`` is the object that makes the digest, if the caller has
        one.

        Raises ValueError for an encoding that is neither gzip nor none.
        """
        if encoding not in ("", "identity", "gzip"):
            raise ValueError(f"it came in the encoding {encoding!r}, which was not requested")
        # A client may have uploaded any gzip, and all of its members are the content.
        self._gzip = GzipDecompressor(_PIECE, multi_member=True) if encoding == "gzip" else None
        self._expected = expected
        self._is_plain = is_plain
        self._digest = ContentDigest() if digest is None else digest
        self.length = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the plain bytes of a piece, in pieces. Iterate to the end before the next call.

        Raises ValueError if it cannot be decompressed.
        """
        # Before the bytes are decompressed: the digest is that of the stored bytes.
        if self._expected is not None and not self._is_plain:
            self._digest.update(data)
        for piece in self._decompress(data):
            if self._expected is not None and self._is_plain:
                self._digest.update(piece)
            self.length += len(piece)
            yield piece

    def _decompress(self, data: bytes) -> Iterator[bytes]:
        if self._gzip is None:
            yield data
            return
        try:
            yield from self._gzip.feed(data)
        except ValueError as error:
            raise ValueError(f"it cannot be decompressed: {error}") from None

    def finish(self, length: int | None) -> None:
        """End the content, and compare it with ``length``, unless that is None, and with its digest.

        Raises ValueError if it is not the content that was stored.
        """
        if self._gzip is not None and not self._gzip.is_complete:
            raise ValueError("it cannot be decompressed: the end is missing")
        if length not in (None, self.length):
            raise ValueError(f"{length} bytes were expected, and {self.length} arrived")
        if self._expected is not None and str(self._digest) != self._expected:
            raise ValueError(f"its digest is {self._digest}, and should be {self._expected}")


def digest_of(headers: Mapping[str, str]) -> str | None:
    """Return the digest in the headers of an attachment, which is its entity tag.

    None if there is no tag of CouchDB's form, for example because a proxy has changed it.
    """
    found = _ENTITY_TAG.fullmatch(headers.get("etag", ""))
    return f"md5-{found[1]}" if found else None


def is_stored_plain(headers: Mapping[str, str]) -> bool | None:
    """Return True if an attachment is stored uncompressed, so that its digest is of these bytes; None if unknown.

    It is known by ``Accept-Ranges``, as CouchDB serves ranges of an attachment only if it is stored plain.
    """
    return {"bytes": True, "none": False}.get(headers.get("accept-ranges", ""))


def plain_length(headers: Mapping[str, str]) -> int | None:
    """Return the number of plain bytes of an attachment; None if unknown.

    CouchDB itself does not know it for an attachment that a client has sent compressed, and answers ``HEAD`` with 0.
    """
    length = headers.get("content-length")
    if length is None or headers.get("content-encoding", "identity") != "identity":
        return None
    return None if length == "0" and not is_stored_plain(headers) else int(length)
