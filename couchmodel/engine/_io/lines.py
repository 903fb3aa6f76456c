"""The lines of an answer, cut as its pieces arrive."""

__all__ = ["LineSplitter"]


class LineSplitter:
    """A splitter of arriving bytes into lines."""

    def __init__(self) -> None:
        # The pieces of an incomplete line. A long line arrives in many pieces, which are joined once.
        self._rest: list[bytes] = []

    def feed(self, piece: bytes) -> list[bytes]:
        r"""Return the lines that this piece completes, without their ``\n``."""
        # What comes before the first line break ends the line that was begun, and what comes after the last begins
        # another.
        first, *others = piece.split(b"\n")
        self._rest.append(first)
        if not others:
            return []
        lines = [b"".join(self._rest), *others[:-1]]
        self._rest = [others[-1]]
        return lines

    def take_rest(self) -> bytes:
        """Remove and return the bytes after the last complete line."""
        rest, self._rest = b"".join(self._rest), []
        return rest
