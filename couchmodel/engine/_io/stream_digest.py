"""The digest of a content that is sent or arrives. It is made in a thread while the next pieces are on their way."""

import asyncio
from collections.abc import Sequence
from typing import Final

from couchmodel._wire.contents import ContentDigest

__all__ = ["StreamDigest"]

_BATCH_BYTES: Final = 512 * 1024
"""The bytes that are worth the way to a thread. MD5 takes about a millisecond for so many."""


class StreamDigest(ContentDigest):
    """A digest whose pieces are hashed in batches.

    Call :meth:`drain` after each piece, and :meth:`complete` at the end. The digest is known then, ``length`` always.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes | bytearray | memoryview] = []
        self._waiting = 0
        self._hashing: asyncio.Future[None] | None = None

    def update(self, piece: bytes | bytearray | memoryview) -> None:
        """Add the next piece, which must not change afterwards."""
        self._pieces.append(piece)
        self._waiting += len(piece)
        self.length += len(piece)

    async def drain(self) -> None:
        """Hash what waits in a thread, if that is enough. This waits until the batch before is done."""
        if self._waiting >= _BATCH_BYTES:
            await self._wait()
            pieces, self._pieces, self._waiting = self._pieces, [], 0
            self._hashing = asyncio.get_running_loop().run_in_executor(None, self._hash, pieces)

    async def complete(self) -> None:
        """Hash the rest."""
        await self._wait()
        self._hash(self._pieces)
        self._pieces, self._waiting = [], 0

    async def _wait(self) -> None:
        if self._hashing is not None:
            await self._hashing
            self._hashing = None

    def _hash(self, pieces: Sequence[bytes | bytearray | memoryview]) -> None:
        for piece in pieces:
            self._md5.update(piece)
