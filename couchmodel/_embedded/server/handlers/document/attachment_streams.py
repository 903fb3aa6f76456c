"""Stream the contents of attachments between requests and the store, a chunk at a time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import aclosing

from couchmodel._embedded import limits
from couchmodel._embedded.documents.attachment_encoding import AttachmentDecompressor, Content
from couchmodel._embedded.documents.contents import StoredContent, find_twin, read_chunk, stage_content
from couchmodel._embedded.server.ranges import Range
from couchmodel._embedded.storage.garbage import discard_staged
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request
from couchmodel.errors import ServerError

__all__ = [
    "ContentUpload",
    "begin",
    "body_pieces",
    "decompressed_pieces",
    "discard_uploads",
    "range_chunks",
    "receive_body",
    "stored_chunks",
]


# --- out


async def stored_chunks(store: Store, content: StoredContent) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of an attachment as they are stored. Raises ServerError if they are damaged."""
    for position in range(content.chunk_count):
        yield await _read_chunk(store, content, position)


async def decompressed_pieces(store: Store, content: StoredContent) -> AsyncGenerator[bytes, None]:
    """Yield the pieces of an attachment that is stored as gzip, decompressed. Raises ServerError."""
    decompressor = AttachmentDecompressor()
    async for chunk in stored_chunks(store, content):
        for number, piece in enumerate(decompressor.feed(chunk), 1):
            yield piece
            if number % limits.CHUNKS_PER_TURN == 0:
                await asyncio.sleep(0)  # a chunk may unpack to a thousand times its size


async def range_chunks(store: Store, content: StoredContent, byte_range: Range) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of a range of an attachment's bytes. Raises ServerError if they are damaged."""
    for position in range(byte_range.first // limits.CHUNK_BYTES, byte_range.last // limits.CHUNK_BYTES + 1):
        start = position * limits.CHUNK_BYTES
        chunk = await _read_chunk(store, content, position)
        yield chunk[max(0, byte_range.first - start) : byte_range.last - start + 1]


async def _read_chunk(store: Store, content: StoredContent, position: int) -> bytes:
    if position % limits.CHUNKS_PER_TURN == limits.CHUNKS_PER_TURN - 1:
        # Neither the read below nor a reader in this process has to suspend. Without this, other tasks would starve.
        await asyncio.sleep(0)
    return await store.read(read_chunk, content, position)


async def begin(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Read the first piece, and return an iterator over all of them.

    So an error of the first piece gets a status of its own, and does not break off an answer that has begun.
    """
    first = await anext(pieces, b"")
    return _go_on(first, pieces)


async def _go_on(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    async with aclosing(rest):
        async for piece in rest:
            yield piece


# --- in


async def body_pieces(request: Request) -> AsyncGenerator[bytes, None]:
    """Yield the body of a request in pieces. A body in memory is cut, so that each is handled in a short time."""
    body = request.body or b""
    if isinstance(body, bytes):
        for start in range(0, len(body), limits.CHUNK_BYTES):
            yield body[start : start + limits.CHUNK_BYTES]
    else:
        async for piece in body:
            yield piece


class ContentUpload:
    """An upload of an attachment's content, which is staged in the store while it arrives.

    A content may be too large for the memory. Its pieces are collected until they are worth the way to a thread,
    where they are compressed and hashed.
    """

    def __init__(self, store: Store, content: Content) -> None:
        self._store = store
        self._content = content
        self._pending = bytearray()

    async def feed(self, piece: bytes) -> None:
        """Take in a piece. Raises ContentTooLargeError if the content becomes too large."""
        self._pending += piece
        if len(self._pending) >= limits.CHUNK_BYTES:
            await self._flush()

    async def finish(self) -> None:
        """Process the rest. The content is complete afterwards."""
        await self._flush()
        self._content.finish()
        # A short one is looked for by the write, but a long one would keep other writes waiting.
        if self._content.may_be_staged:
            self._content.damaged_twin = await _find_damaged_twin(self._store, self._content)

    async def _flush(self) -> None:
        piece = bytes(self._pending)
        self._pending.clear()
        # Hashing and compressing a short piece takes less time than the way to a thread.
        if len(piece) < limits.INLINE_PIECE_BYTES:
            self._content.feed(piece)
        else:
            await asyncio.to_thread(self._content.feed, piece)
        if self._content.is_due:
            # Only after the commit: see ``stage_content``.
            await self._store.write(stage_content, self._content, on_commit=self._set_blob)

    def _set_blob(self, blob: int) -> None:
        self._content.blob = blob


async def _find_damaged_twin(store: Store, content: Content) -> int | None:
    """Return the number of the blob that has the same content, if it is damaged."""
    twin = await store.read(find_twin, content)
    if twin is None:
        return None
    try:
        async for _ in stored_chunks(store, twin):
            pass
    except ServerError:
        return twin.blob
    return None


async def receive_body(store: Store, request: Request, content: Content) -> None:
    """Read the body of a request as the content of an attachment."""
    upload = ContentUpload(store, content)
    arriving: AsyncIterable[bytes] = body_pieces(request)
    async for piece in arriving:
        await upload.feed(piece)
    await upload.finish()


def discard_uploads(store: Store, contents: Iterable[Content]) -> None:
    """Enqueue the removal of what was staged of contents. Those that a document has by now are kept."""
    uploaded = [content for content in contents if content.may_be_staged]
    if uploaded and store.is_open:
        store.enqueue(_discard_job, uploaded)


def _discard_job(connection: Connection, uploaded: Iterable[Content]) -> None:
    for content in uploaded:
        if content.blob is not None:
            discard_staged(connection, content.blob)
