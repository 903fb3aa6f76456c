"""The contents of attachments on their way between a request and the store, a piece at a time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from functools import partial
from typing import Final

from couchmodel._embedded.documents.attachment_encoding import CHUNK, Content, Decompressor
from couchmodel._embedded.documents.attachments import Attachment, count, read_chunk, stage
from couchmodel._embedded.server.ranges import Range
from couchmodel._embedded.storage.garbage import discard_staged
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request

__all__ = ["Gathering", "chunks", "give_up", "part", "pieces", "receive", "unpacked"]


TURN: Final = 8
"""Chunks that are read before others get a turn in the event loop."""


# --- out


async def chunks(store: Store, attachment: Attachment) -> AsyncGenerator[bytes, None]:
    """A content as it is stored."""
    for position in range(count(attachment)):
        yield await _chunk(store, attachment, position)


async def unpacked(store: Store, attachment: Attachment) -> AsyncGenerator[bytes, None]:
    """A content that is stored as gzip, without that."""
    decompressor = Decompressor()
    async for chunk in chunks(store, attachment):
        for number, piece in enumerate(decompressor.feed(chunk), 1):
            yield piece
            if number % TURN == 0:
                await asyncio.sleep(0)  # a chunk may unpack to a thousand times its size


async def part(store: Store, attachment: Attachment, wanted: Range) -> AsyncGenerator[bytes, None]:
    """A part of a content."""
    for position in range(wanted.first // CHUNK, wanted.last // CHUNK + 1):
        start = position * CHUNK
        chunk = await _chunk(store, attachment, position)
        yield chunk[max(0, wanted.first - start) : wanted.last - start + 1]


async def _chunk(store: Store, attachment: Attachment, position: int) -> bytes:
    if position % TURN == TURN - 1:
        # A chunk is read here and now, and whoever takes it in this process may not wait for anything either.
        await asyncio.sleep(0)
    return await store.read(partial(read_chunk, attachment.blob, position))


# --- in


async def pieces(request: Request) -> AsyncGenerator[bytes, None]:
    """The body of a request in pieces that the event loop can bear."""
    body = request.body or b""
    if isinstance(body, bytes):
        for start in range(0, len(body), CHUNK):
            yield body[start : start + CHUNK]
    else:
        async for piece in body:
            yield piece


class Gathering:
    """A content that arrives in pieces: staged meanwhile, as it may be too large to wait in memory.

    Pieces are put together to some that are worth the way to a thread, where they are compressed and hashed.
    """

    def __init__(self, store: Store, content: Content) -> None:
        self._store = store
        self._content = content
        self._gathered = bytearray()

    async def feed(self, piece: bytes) -> None:
        """Take in a piece. Raises ContentTooLargeError."""
        self._gathered += piece
        if len(self._gathered) >= CHUNK:
            await self._pass_on()

    async def finish(self) -> None:
        """Everything has arrived."""
        await self._pass_on()
        self._content.finish()

    async def _pass_on(self) -> None:
        piece = bytes(self._gathered)
        self._gathered.clear()
        if len(piece) < SMALL:
            self._content.feed(piece)
        else:
            await asyncio.to_thread(self._content.feed, piece)
        if self._content.is_due:
            await self._store.write(partial(stage, self._content), committed=self._staged)

    def _staged(self, blob: int) -> None:
        self._content.blob = blob


SMALL = 16_384
"""Bytes that are compressed and hashed in the event loop."""


async def receive(store: Store, request: Request, content: Content) -> None:
    """Take in the body of a request as a content."""
    gathering = Gathering(store, content)
    arriving: AsyncIterable[bytes] = pieces(request)
    async for piece in arriving:
        await gathering.feed(piece)
    await gathering.finish()


def give_up(store: Store, contents: Iterable[Content]) -> None:
    """Nobody needs any more what was staged of contents, unless a document has them by now: the job looks."""
    staged = list(contents)
    if staged and store.is_open:
        store.enqueue(partial(_discard, staged))


def _discard(staged: Iterable[Content], connection: Connection) -> None:
    for content in staged:
        if content.blob is not None:
            discard_staged(content.blob, connection)
