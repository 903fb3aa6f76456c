"""The contents of attachments on their way to a client: unpacked in bounded pieces, and compared with their digest.

CouchDB stores compressible types as gzip and makes the digest of what is stored. So a content has to arrive as it is
stored if it is to be compared: plain where it is stored plain, and packed where it is stored packed.
"""

import base64
import hashlib
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Final

__all__ = ["Arrival", "Digest", "digest_of", "is_stored_plain", "plain_length"]

_PIECE: Final = 256 * 1024
_GZIP: Final = 31  # zlib's window bits for a gzip envelope
_TAG = re.compile(r'"([A-Za-z0-9+/]{22}==)"')


class Digest:
    """CouchDB's digest of what passes by."""

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.length = 0

    def update(self, piece: bytes | bytearray | memoryview) -> None:
        """Take note of a piece."""
        self._md5.update(piece)
        self.length += len(piece)

    def __str__(self) -> str:
        """As documents have it, such as ``md5-1B2M2Y8AsgTpgAmY7PhCfg==``."""
        return "md5-" + base64.b64encode(self._md5.digest()).decode()


class _Unpacker:
    """A content in the encoding it arrives in, made plain; pieces stay small however much the content blows up."""

    def __init__(self, encoding: str) -> None:
        """Raises ValueError for an encoding that is neither gzip nor none."""
        if encoding not in ("", "identity", "gzip"):
            raise ValueError(f"it came in the encoding {encoding!r}, which was not asked for")
        self._inflate = zlib.decompressobj(_GZIP) if encoding == "gzip" else None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The plain pieces that a piece turns into. Raises ValueError where it is no gzip."""
        if self._inflate is None:
            yield data
            return
        while data:
            if self._inflate.eof:  # gzip may be several, one after the other
                self._inflate = zlib.decompressobj(_GZIP)
            try:
                piece = self._inflate.decompress(data, _PIECE)
            except zlib.error as error:
                raise ValueError(f"it cannot be unpacked: {error}") from None
            if piece:
                yield piece
            data = self._inflate.unconsumed_tail or self._inflate.unused_data

    def finish(self) -> None:
        """Everything has come. Raises ValueError where the gzip is not complete."""
        if self._inflate is not None and not self._inflate.eof:
            raise ValueError("it cannot be unpacked: the end is missing")


class Arrival:
    """A content as it arrives: made plain, counted, and compared with its digest."""

    def __init__(self, encoding: str, digest: str | None, *, is_plain: bool) -> None:
        """``digest`` is of the plain bytes or of those that arrive; None where there is nothing to compare with.

        Raises ValueError for an encoding that cannot be undone.
        """
        self._unpacker = _Unpacker(encoding)
        self._expected = digest
        self._is_plain = is_plain
        self._digest = Digest()
        self.length = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The plain pieces that a piece turns into; iterate to the end before feeding more. Raises ValueError."""
        if not self._is_plain:
            self._digest.update(data)
        for piece in self._unpacker.feed(data):
            if self._is_plain:
                self._digest.update(piece)
            self.length += len(piece)
            yield piece

    def finish(self, length: int | None) -> None:
        """Everything has come, and should be of this length. Raises ValueError where it is not what was stored."""
        self._unpacker.finish()
        if length not in (None, self.length):
            raise ValueError(f"it has {length} bytes, and {self.length} came")
        if self._expected is not None and str(self._digest) != self._expected:
            raise ValueError(f"its digest is {self._expected}, and that of what came {self._digest}")


def digest_of(headers: Mapping[str, str]) -> str | None:
    """The digest that the headers of an attachment tell: its entity tag, unless somebody on the way has changed it."""
    found = _TAG.fullmatch(headers.get("etag", ""))
    return f"md5-{found[1]}" if found else None


def is_stored_plain(headers: Mapping[str, str]) -> bool | None:
    """Whether the attachment is stored as it is, and its digest made of plain bytes; None where nothing tells.

    CouchDB serves ranges of what it stores plain, and of nothing else.
    """
    return {"bytes": True, "none": False}.get(headers.get("accept-ranges", ""))


def plain_length(headers: Mapping[str, str]) -> int | None:
    """How many bytes the plain attachment has; None where nothing tells.

    Of an attachment that was packed by whoever sent it, CouchDB itself does not know: to ``HEAD`` it says 0.
    """
    length = headers.get("content-length")
    if length is None or headers.get("content-encoding", "identity") != "identity":
        return None
    return None if length == "0" and not is_stored_plain(headers) else int(length)
