"""Answers are cut into rows however they arrive."""

from collections.abc import AsyncGenerator

import pytest

from couchmodel import ProtocolError
from couchmodel._wire.messages import Request, Response
from couchmodel.engine._io.session import Session
from couchmodel.engine.view import Rows

COUCHDB = b'{"docs":[\r\n{"_id":"a","t":"x\\ny]"},\r\n{"_id":"b"}\r\n],\r\n"bookmark": "g1","warning": "slow"}\n'
COMPACT = b'{"docs":[{"_id":"a","t":"x\\ny]"},{"_id":"b"}],"bookmark":"g1","warning":"slow"}'
PRETTY = b'{\n  "bookmark": "g1",\n  "docs": [\n {"_id":"a","t":"x\\ny]"}, {"_id":"b"}\n ],\n "warning": "slow"\n}'
EMPTY = b'{"docs":[\r\n],\r\n"bookmark": "nil"}\n'


class Pieces:
    """A transport whose every answer is the same, in pieces of some size."""

    def __init__(self, body: bytes, size: int) -> None:
        self.body = body
        self.size = size

    async def send(self, request: Request) -> Response:
        return Response(200, stream=self.pieces())

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        for start in range(0, len(self.body), self.size):
            yield self.body[start : start + self.size]

    async def close(self) -> None:
        """Nothing to close."""


async def read(body: bytes, size: int) -> tuple[list[bytes], dict[str, object]]:
    rows = Rows(Session(Pieces(body, size)), Request("POST", ("db", "_find")))
    return [row async for batch in rows.batches() for row in batch], rows.members


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("body", [COUCHDB, COMPACT, PRETTY], ids=["couchdb", "compact", "pretty"])
async def test_rows_are_the_same_whatever_the_pieces(body: bytes, size: int) -> None:
    rows, members = await read(body, size)
    assert rows == [b'{"_id":"a","t":"x\\ny]"}', b'{"_id":"b"}']
    assert members == {"bookmark": "g1", "warning": "slow"}


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize("body", [EMPTY, EMPTY.replace(b"[\r", b"[\r\n\r"), b'{"bookmark":"nil","docs":[]}'])
async def test_no_rows_are_no_error(body: bytes, size: int) -> None:
    assert await read(body, size) == ([], {"bookmark": "nil"})


@pytest.mark.parametrize("body", [COUCHDB[:30], COUCHDB[:-20], COMPACT[:-1], b"", b"<html>", b"[]", b'{"ok":true}'])
async def test_a_torn_or_foreign_answer_is_an_error(body: bytes) -> None:
    with pytest.raises(ProtocolError, match="cut off"):
        await read(body, 10)
