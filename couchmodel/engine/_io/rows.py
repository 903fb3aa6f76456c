"""The rows of an answer, read as they arrive: ``_all_docs``, views, ``_find`` and ``_changes``.

CouchDB writes one row a line, and JSON allows no line break inside a string. So an answer is split into rows without
parsing it: the caller, who knows their type, decodes each row once, and memory is bounded by what one read brings.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from couchmodel._wire.messages import Request, decode, encode
from couchmodel._wire.turns import give_turn, turn_is_due
from couchmodel.engine._io.lines import LineSplitter
from couchmodel.engine._io.session import Session
from couchmodel.errors import ProtocolError
from couchmodel.types import JSONObject

__all__ = ["Rows", "document_text"]

_ROW_MEMBERS: Final = ("docs", "rows", "results")
"""The members that hold the rows, in the answers of ``_find``, of views, and of ``_changes``."""

_BATCH: Final = 50
"""The rows of one batch. Decoding them takes a caller about a millisecond."""


class Rows:
    """The rows of one answer. Iterating over them sends the request.

    ``members`` has the other members of the answer, such as ``bookmark`` and ``last_seq``, after all rows were read.
    """

    def __init__(self, session: Session, request: Request) -> None:
        request.stream = True  # so that the rows can be read as they arrive
        self._session = session
        self._request = request
        self.members: JSONObject = {}

    async def batches(self) -> AsyncGenerator[list[bytes], None]:
        """Yield the rows as JSON texts, in batches as they arrive.

        Raises ProtocolError if the answer is cut off or is not CouchDB's.
        """
        async with aclosing(self._read_rows()) as arrivals:
            async for rows in arrivals:
                for start in range(0, len(rows), _BATCH):
                    if turn_is_due():
                        await give_turn()
                    yield rows[start : start + _BATCH]

    async def _read_rows(self) -> AsyncGenerator[list[bytes], None]:
        """Yield the rows, as many at a time as arrive together."""
        response = await self._session.send(self._request)
        splitter = _RowSplitter()
        if response.stream is None:
            yield splitter.feed(response.body)
        else:
            async with aclosing(response.stream) as stream:
                async for piece in stream:
                    yield splitter.feed(piece)
        yield self._finish(splitter)

    def _finish(self, splitter: "_RowSplitter") -> list[bytes]:
        try:
            self.members, rows = splitter.finish()
        except ValueError:
            message = f"the answer was cut off or is not CouchDB's ({self._request.method} {self._request.path[-1]})"
            raise ProtocolError(message) from None
        return rows


def document_text(row: bytes) -> bytes | None:
    """Return the JSON text of the document in a row of ``include_docs``; None if the row has none.

    ``doc`` is the last member of a row. The text is cut out, unless the key or the value may have such a member.
    """
    if row.endswith(b',"doc":null}'):
        return None
    if row.count(b',"doc":{') == 1:
        return row[row.index(b',"doc":{') + 7 : -1]
    document = decode(row).get("doc")
    return None if document is None else encode(document)


class _RowSplitter:
    """A splitter of an answer into a head, the lines of rows, and a tail. Head and tail are an answer without rows.

    An answer that a proxy has formatted anew is all tail, and its rows come at the finish.
    """

    def __init__(self) -> None:
        self._head = b""
        self._lines = LineSplitter()
        self._tail: bytearray | None = None

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the rows that this piece completes."""
        if self._tail is not None:
            self._tail += piece
            return []
        lines = self._lines.feed(piece)
        if lines and not self._head:
            self._head = lines.pop(0).rstrip()
            # CouchDB's first line ends with the bracket that opens the list of rows.
            if not self._head.endswith(b"["):
                self._end([self._head, *lines])
                self._head = b""
                return []
        for n, line in enumerate(lines):
            # A row is an object, so only the end of the list begins with a bracket.
            if line.startswith(b"]"):
                self._end(lines[n:])
                lines = lines[:n]
                break
        return [row for line in lines if (row := line.rstrip(b"\r,"))]

    def finish(self) -> tuple[JSONObject, list[bytes]]:
        """Return the other members of the answer, and the rows not returned before.

        Raises ValueError if the answer is cut off.
        """
        members = decode(self._head + (self._lines.take_rest() if self._tail is None else bytes(self._tail)))
        for name in _ROW_MEMBERS:
            if isinstance(members, dict) and isinstance(members.get(name), list):
                return members, [encode(row) for row in members.pop(name)]
        raise ValueError("no rows")

    def _end(self, lines: list[bytes]) -> None:
        self._tail = bytearray(b"\n".join([*lines, self._lines.take_rest()]))
