"""Decompression of gzip in bounded pieces, so that a small body cannot fill the memory."""

import zlib
from collections.abc import Iterator
from typing import Final

__all__ = ["WINDOW_BITS", "GzipDecompressor"]

WINDOW_BITS: Final = 31
"""zlib's number for the gzip format with the largest window."""


class GzipDecompressor:
    """A decompressor of gzip that arrives in pieces."""

    def __init__(self, max_piece: int, *, multi_member: bool = False) -> None:
        """``max_piece`` is the most bytes that are decompressed at a time.

        Gzip may have several members, one after the other (RFC 1952, section 2.2). With ``multi_member`` all are
        decompressed. Without it, the end of the first one is the end, and what follows is ignored.
        """
        self._max_piece = max_piece
        self._multi_member = multi_member
        self._inflate = zlib.decompressobj(WINDOW_BITS)

    @property
    def is_complete(self) -> bool:
        """True at the end of a member."""
        return self._inflate.eof

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the decompressed bytes of a piece, in pieces. Raises ValueError if it is not gzip.

        Iterate to the end before the next call.
        """
        while data:
            if self._inflate.eof:
                if not self._multi_member:
                    return
                self._inflate = zlib.decompressobj(WINDOW_BITS)
            try:
                piece = self._inflate.decompress(data, self._max_piece)
            except zlib.error as error:
                raise ValueError(str(error)) from None
            if piece:
                yield piece
            # The rest is of this member if the piece was full, and of the next one if the member has ended.
            data = self._inflate.unconsumed_tail or self._inflate.unused_data
