"""The body of a request that is sent in pieces, from a source that may fail.

The source is the caller's own, so a caller gets the error of its source as it was raised.
"""

from collections.abc import AsyncIterable, AsyncIterator

__all__ = ["Outgoing"]


class Outgoing:
    """The pieces of a request's body.

    ``error`` is the error that their source raised, or None. ``begun`` is True as soon as a piece has been asked for;
    from then on the body cannot be sent again. ``handed`` counts the bytes that were handed out, and ``finished`` is
    True when these were all.
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
