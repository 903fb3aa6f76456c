"""The body of a request that is sent in pieces, from a source that may fail.

The source is the caller's own, so a caller gets the error of its source as it was raised.
"""

from collections.abc import AsyncIterable, AsyncIterator

__all__ = ["RequestStream"]


class RequestStream:
    """The pieces of a request's body.

    ``source_error`` is the error that their source raised, or None. ``has_started`` is True as soon as a piece was
    requested; from then on the body cannot be sent again. ``length_read`` counts the bytes that were read from the
    source, and ``is_complete`` is True when these were all.
    """

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces = pieces
        self.source_error: Exception | None = None
        self.has_started = False
        self.is_complete = False
        self.length_read = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        # Before the first piece, as an iterator cannot be read from its beginning again.
        self.has_started = True
        try:
            async for piece in self._pieces:
                self.length_read += len(piece)
                yield piece
        except Exception as error:
            self.source_error = error
            raise
        self.is_complete = True
