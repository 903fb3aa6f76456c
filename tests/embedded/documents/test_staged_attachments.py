"""Contents that arrive in pieces leave nothing behind where they are given up."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from couchmodel._embedded.storage.store import Store
from tests.embedded.conftest import Client

KIND = {"content-type": "multipart/related; boundary=abc", "accept": "application/json"}
SIZE = 3_000_000


async def related(announced: int) -> AsyncIterator[bytes]:
    """A document with an attachment that is too large to wait in memory."""
    stub = b'{"follows":true,"content_type":"image/png","length":%d}' % announced
    yield b'--abc\r\nContent-Type: application/json\r\n\r\n{"_attachments":{"a":%b}}\r\n--abc\r\n\r\n' % stub
    for _ in range(SIZE // 1000):
        yield b"x" * 1000
    yield b"\r\n--abc--"


@pytest.mark.parametrize(
    ("target", "announced", "status", "blobs"),
    [
        ("/db/pie", SIZE, 201, 1),
        ("/db/pie", SIZE + 1, 400, 0),
        ("/db/pie", SIZE - 1, 400, 0),
        ("/db/pie?rev=1-a", SIZE, 409, 0),
        ("/db/_local/pie", SIZE, 201, 0),
    ],
)
async def test_only_what_a_document_has_is_kept(
    tmp_path: Path, target: str, announced: int, status: int, blobs: int
) -> None:
    path = tmp_path / "store.db"
    store = Store(path)
    client = Client(store)
    await client.ask("PUT", "/db")
    assert (await client.ask("PUT", target, related(announced), headers=KIND)).status == status
    await store.close()
    connection = sqlite3.connect(path)
    counts = connection.execute("SELECT count(*), (SELECT count(DISTINCT blob) FROM chunk) FROM blob").fetchone()
    connection.close()
    assert counts == (blobs, blobs)


async def test_equal_contents_are_stored_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    client = Client(store)
    await client.ask("PUT", "/db")
    for id in "ab":
        assert (await client.ask("PUT", f"/db/{id}", related(SIZE), headers=KIND)).status == 201
    await store.close()
    connection = sqlite3.connect(tmp_path / "store.db")
    assert connection.execute("SELECT count(*) FROM blob").fetchone() == (1,)
    connection.close()
