"""The rows of an answer, read as they arrive: ``_all_docs``, views, ``_find`` and ``_changes``.

CouchDB writes one row a line, and JSON allows no line break inside a string, so an answer can be cut into rows without
parsing it: each row is then decoded once, by whoever knows its type, and memory is bounded by what one read brings.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from couchmodel._wire.messages import Request, decode, encode
from couchmodel._wire.turns import give_turn, turn_is_due
from couchmodel.engine._io.session import Session
from couchmodel.errors import ProtocolError
from couchmodel.types import JSONObject

__all__ = ["Rows"]

_LISTS: Final = ("docs", "rows", "results")

_FEW: Final = 50
"""Rows that are handed out together: about a millisecond's work for those who decode them."""


class Rows:
    """The rows of one answer. Iterating sends the request.

    ``members`` has what the answer says beside its rows, such as ``bookmark`` and ``last_seq``, once they are read.
    """

    def __init__(self, session: Session, request: Request) -> None:
        request.stream = True
        self._session = session
        self._request = request
        self.members: JSONObject = {}

    async def batches(self) -> AsyncGenerator[list[bytes], None]:
        """The rows as JSON texts, some at a time, as they arrive.

        Raises ProtocolError where the answer is cut off or is not CouchDB's.
        """
        async with aclosing(self._arrivals()) as arrivals:
            async for rows in arrivals:
                for start in range(0, len(rows), _FEW):
                    if turn_is_due():
                        await give_turn()
                    yield rows[start : start + _FEW]

    async def _arrivals(self) -> AsyncGenerator[list[bytes], None]:
        """The rows, as many at a time as arrive together."""
        response = await self._session.send(self._request)
        cutter = _Cutter()
        if response.stream is None:
            yield cutter.feed(response.body)
        else:
            async with aclosing(response.stream) as stream:
                async for piece in stream:
                    yield cutter.feed(piece)
        yield self._finish(cutter)

    def _finish(self, cutter: "_Cutter") -> list[bytes]:
        try:
            self.members, rows = cutter.finish()
        except ValueError:
            message = f"the answer was cut off or is not CouchDB's ({self._request.method} {self._request.path[-1]})"
            raise ProtocolError(message) from None
        return rows


class _Cutter:
    """Cuts an answer into a head, the lines of rows, and a tail; together head and tail are an answer without rows.

    An answer that somebody on the way has formatted anew is all tail, and its rows come at the finish.
    """

    def __init__(self) -> None:
        self._head = b""
        self._tail: bytearray | None = None
        # The pieces of a row that is not complete: a long one comes in many, which are joined once.
        self._rest: list[bytes] = []

    def feed(self, piece: bytes) -> list[bytes]:
        """The rows that this piece completes."""
        if self._tail is not None:
            self._tail += piece
            return []
        first, *lines = piece.split(b"\n")
        self._rest.append(first)
        if not lines:
            return []
        lines, self._rest = [b"".join(self._rest), *lines[:-1]], lines[-1:]
        if not self._head:
            self._head = lines.pop(0).rstrip()
            if not self._head.endswith(b"["):
                self._end([self._head, *lines])
                self._head = b""
                return []
        for n, line in enumerate(lines):
            if line.startswith(b"]"):
                self._end(lines[n:])
                lines = lines[:n]
                break
        return [row for line in lines if (row := line.rstrip(b"\r,"))]

    def finish(self) -> tuple[JSONObject, list[bytes]]:
        """The members of the answer beside its rows, and the rows not seen before. Raises ValueError for a torn one."""
        members = decode(self._head + (b"".join(self._rest) if self._tail is None else bytes(self._tail)))
        for name in _LISTS:
            if isinstance(members, dict) and isinstance(members.get(name), list):
                return members, [encode(row) for row in members.pop(name)]
        raise ValueError("no rows")

    def _end(self, lines: list[bytes]) -> None:
        self._tail = bytearray(b"\n".join([*lines, *self._rest]))
