"""A body on its way out, whose source may fail: that failure is the caller's own, and comes back to it as it was."""

from collections.abc import AsyncIterable, AsyncIterator

__all__ = ["Outgoing"]


class Outgoing:
    """The pieces of a request's body.

    ``error`` is what their source raised, if it did. ``begun`` says that a piece has been asked for, so that the body
    cannot be sent again; ``handed`` counts the bytes that were given out, and ``finished`` says that these were all.
    """

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces = pieces
        self.error: Exception | None = None
        self.begun = False
        self.finished = False
        self.handed = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.begun = True
        try:
            async for piece in self._pieces:
                self.handed += len(piece)
                yield piece
        except Exception as error:
            self.error = error
            raise
        self.finished = True
