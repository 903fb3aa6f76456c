"""A disk that is full, a file that is broken or taken away: a clear error, nothing lost, and on it goes."""

import asyncio
import json
import logging
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from couchmodel import upkeep
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Store
from couchmodel.errors import StoreFileError
from tests.embedded.conftest import Client

TEXT = "x" * 2000


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a store in a file, with a database."""
    store = Store(tmp_path / "store.db")
    client = Client(store)
    await client.ask("PUT", "/db")
    yield client
    await store.close()


async def limit(client: Client, pages: int) -> None:
    """Let the store's file have so many pages more and no others, as if the disk were full behind them."""

    def set_limit(connection: Connection) -> None:
        (count,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {count + pages}")

    await client.store.write(set_limit)


async def fill(client: Client) -> int:
    """Write documents until there is no room any more. How many there were."""
    for n in range(10_000):
        answer = await client.ask("PUT", f"/db/{n}", {"text": TEXT})
        if answer.status != 201:
            expected = {"error": "insufficent_storage", "reason": "the disk is full: nothing was written"}
            assert (answer.status, answer.json()) == (507, expected)
            return n
    raise AssertionError("the disk is never full")


async def test_a_full_disk_is_said_and_loses_nothing(client: Client, tmp_path: Path) -> None:
    await limit(client, 30)
    count = await fill(client)
    assert (await client.json("GET", "/db"))["doc_count"] == count > 0
    assert (await client.json("GET", f"/db/{count - 1}"))["text"] == TEXT
    await limit(client, 1_000_000)
    assert (await client.ask("PUT", f"/db/{count}", {"text": TEXT})).status == 201
    assert (await upkeep.check(tmp_path / "store.db")).problems == []


async def test_what_is_too_much_for_a_full_disk_is_not_written_in_part(client: Client) -> None:
    await limit(client, 30)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield bytes(100_000)

    assert (await client.ask("POST", "/db/_bulk_docs", {"docs": [{"text": TEXT}] * 500})).status == 507
    assert (await client.ask("PUT", "/db/a/file", pieces(), headers={"content-type": "image/png"})).status == 507
    together = [client.ask("PUT", f"/db/{n}", {"text": TEXT * 500}) for n in range(10)]
    assert {answer.status for answer in await asyncio.gather(*together)} == {507}
    assert (await client.ask("PUT", "/db/small", {})).status == 201


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed")
async def test_a_file_that_is_taken_away_is_not_written_to(client: Client, tmp_path: Path) -> None:
    await client.ask("PUT", "/db/a", {})
    (tmp_path / "store.db").rename(tmp_path / "elsewhere.db")
    answer = await client.ask("PUT", "/db/b", {})
    assert (answer.status, answer.json()["error"]) == (500, "storage_error")
    assert "was removed or replaced" in answer.json()["reason"]
    assert (await client.ask("GET", "/db/a")).status == 200
    (tmp_path / "elsewhere.db").rename(tmp_path / "store.db")
    assert (await client.ask("PUT", "/db/b", {})).status == 201


async def broken(path: Path, first: int) -> Client:
    """A client of a store whose pages, from one on, are damaged."""
    store = Store(path)
    client = Client(store)
    await client.ask("PUT", "/db")
    documents = [{"_id": f"{n:04}", "text": TEXT} for n in range(500)]
    await client.ask("POST", "/db/_bulk_docs", {"docs": documents})
    await store.close()
    content = bytearray(path.read_bytes())
    for page in range(first * 4096, len(content), 4096):
        content[page : page + 200] = b"\x55" * 200
    path.write_bytes(content)
    return Client(Store(path))


async def test_a_broken_file_is_said_and_how_to_go_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    client = await broken(tmp_path / "broken.db", 60)
    with caplog.at_level(logging.ERROR, "couchmodel.embedded"):
        for method, target, body in (
            ("GET", "/db/0250", None),
            ("PUT", "/db/new", {}),
            ("POST", "/db/_find", {"selector": {}}),
        ):
            answer = await client.ask(method, target, body)
            assert (answer.status, answer.json()["error"]) == (500, "storage_error")
            assert "run `couchmodel check`" in answer.json()["reason"]
    assert "Traceback" not in caplog.text
    await client.store.close()


async def test_a_file_that_is_broken_from_the_beginning_cannot_be_opened(tmp_path: Path) -> None:
    client = await broken(tmp_path / "broken.db", 1)
    with pytest.raises(StoreFileError, match=r"broken.db cannot be opened: .*malformed"):
        await client.ask("GET", "/db/0001")
    with pytest.raises(StoreFileError, match="malformed"):
        await upkeep.check(tmp_path / "broken.db")


async def test_a_file_that_another_program_locks_is_said(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await client.store.write(lambda connection: connection.execute("PRAGMA busy_timeout = 10"))
    other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answer = await client.ask("PUT", "/db/a", {})
    assert (answer.status, answer.json()["reason"]) == (500, "the store's file cannot be used: database is locked")
    other.execute("ROLLBACK")
    other.close()
    assert (await client.ask("PUT", "/db/a", {})).status == 201


async def test_what_is_only_in_the_log_is_read_from_there(client: Client, tmp_path: Path) -> None:
    await client.ask("PUT", "/db/a", {"in": "the log"})
    copy = tmp_path / "copy.db"
    for suffix in ("", "-wal"):  # as a process leaves them that was killed
        (tmp_path / f"copy.db{suffix}").write_bytes((tmp_path / f"store.db{suffix}").read_bytes())
    store = Store(copy)
    assert json.loads((await Client(store).ask("GET", "/db/a")).body)["in"] == "the log"
    await store.close()
