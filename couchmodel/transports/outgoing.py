"""A body on its way out, whose source may fail: that failure is the caller's own, and comes back to it as it was."""

from collections.abc import AsyncIterable, AsyncIterator

__all__ = ["Outgoing"]


class Outgoing:
    """The pieces of a request's body. ``error`` is what their source raised, if it did."""

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces = pieces
        self.error: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._pieces:
                yield piece
        except Exception as error:
            self.error = error
            raise
