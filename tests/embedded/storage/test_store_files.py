"""A store's file: what is taken for one, what is refused, and who may hold it."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from couchmodel._embedded.storage.lockfile import LockFile
from couchmodel._embedded.storage.schema import APPLICATION_ID, STEPS, VERSION
from couchmodel._embedded.storage.store import Store
from couchmodel.errors import StoreFileError
from tests.embedded.conftest import Client

OLD = Path(__file__).with_name("store_version_1.sql")
"""A store as a version of couchmodel has written it that knew of no indexes."""

HOLD = """
import asyncio, sys
from couchmodel._embedded.storage.store import Store
async def hold():
    store = Store(sys.argv[1])
    await store.open()
    print("open", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
asyncio.run(hold())
"""

FORGET = """
import asyncio, sys
from couchmodel._embedded.storage.store import Store
async def forget():
    await Store(sys.argv[1]).create_database("kept")
asyncio.run(forget())
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def refusal(path: Path) -> str:
    """Why a store cannot be opened."""
    with pytest.raises(StoreFileError) as caught:
        asyncio.run(Store(path).open())
    return str(caught.value)


def schema_of(connection: sqlite3.Connection) -> dict[str, str]:
    """The tables and indexes of a database."""
    return dict(connection.execute("SELECT name, sql FROM sqlite_schema").fetchall())


def schema_of_new() -> dict[str, str]:
    """The tables and indexes of a new store."""
    connection = sqlite3.connect(":memory:")
    connection.executescript("".join(STEPS))
    schema = schema_of(connection)
    connection.close()
    return schema


async def create(path: Path, name: str) -> list[str]:
    """Open a store, create a database and close the store. The databases that it has then, but for its own."""
    store = Store(path)
    await store.create_database(name)
    names = sorted(name for name in store.databases if name[0] != "_")
    await store.close()
    return names


async def test_what_was_written_is_there_when_the_file_is_opened_again(path: Path) -> None:
    for method, status in (("PUT", 201), ("GET", 200)):
        store = Store(path)
        client = Client(store)
        await client.ask("PUT", "/db")
        assert (await client.ask(method, "/db/apple", {"a": 1} if method == "PUT" else None)).status == status
        await store.close()


def test_a_closed_store_leaves_one_file_and_its_lock_file(path: Path) -> None:
    asyncio.run(create(path, "db"))
    assert sorted(each.name for each in path.parent.iterdir()) == ["store.db", "store.db.lock"]


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    assert asyncio.run(create(path, "db")) == ["db"]


@pytest.mark.parametrize("content", [b"Dear diary", b"x" * 5000, b"SQLite format 3\0"])
def test_a_file_that_is_no_sqlite_file_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert "not a couchmodel store" in refusal(path)
    assert path.read_bytes() == content


def test_the_database_of_another_application_is_refused_and_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipe (title)")
    connection.close()
    content = path.read_bytes()
    assert "another application" in refusal(path)
    assert path.read_bytes() == content
    assert [each.name for each in path.parent.iterdir()] == ["store.db"]


def test_a_store_of_a_newer_version_is_refused(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 999; CREATE TABLE t (x)")
    connection.close()
    assert "upgrade couchmodel" in refusal(path)


async def test_a_store_of_an_older_version_is_brought_up_to_date(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(OLD.read_text())
    connection.close()
    store = Store(path)
    client = Client(store)
    assert (await client.json("GET", "/kitchen/pie"))["title"] == "Apple pie"
    assert (await client.json("GET", "/kitchen"))["doc_del_count"] == 1
    note = await client.ask("GET", "/kitchen/pie/note.txt?rev=1-bd4ae93bb56a3fc22141c3117494fee2")
    await note.collect()
    assert (note.body, note.is_verified) == (b"hello", False)  # no checksum was stored with it
    await client.json("POST", "/kitchen/_index", {"index": {"fields": ["title"]}})
    await store.close()
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone()[0] == VERSION
    assert schema_of(connection) == schema_of_new()
    connection.close()


def test_a_store_that_cannot_be_brought_up_to_date_is_left_as_it_is(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(OLD.read_text() + "CREATE TABLE view_row (x);")
    before = schema_of(connection)
    connection.close()
    assert "version 1" in refusal(path)
    connection = sqlite3.connect(path)
    assert (schema_of(connection), connection.execute("PRAGMA user_version").fetchone()[0]) == (before, 1)
    connection.close()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert f"there is no folder {tmp_path / 'kitchen'}" in refusal(tmp_path / "kitchen" / "store.db")


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "check the permissions" in refusal(tmp_path / "store.db")


async def test_a_second_store_on_the_same_file_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("couchmodel._embedded.limits.LOCK_FILE_SECONDS", 0.0)
    first = Store(path)
    await first.open()
    with pytest.raises(StoreFileError, match="another store in this process"):
        await Store(path).open()
    await first.close()
    assert await create(path, "db") == ["db"]


def test_a_store_that_another_process_holds_is_refused_with_its_process_id(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("couchmodel._embedded.limits.LOCK_FILE_SECONDS", 0.0)
    with subprocess.Popen(  # noqa: S603 - our own words
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "open\n"
        assert f"held by process {child.pid}" in refusal(path)
        child.communicate("\n")


async def test_a_store_that_is_just_being_closed_is_waited_for(path: Path) -> None:
    first = Store(path)
    await first.create_database("db")
    closing = asyncio.create_task(first.close())
    second = Store(path)
    await second.open()
    assert "db" in second.databases
    await closing
    await second.close()


def test_a_lock_is_given_back_once(path: Path) -> None:
    lock = LockFile(str(path))
    lock.acquire()
    lock.release()
    lock.release()
    lock.acquire()
    lock.release()


def test_the_log_of_a_deleted_store_is_not_played_back_into_a_new_one(path: Path) -> None:
    path.with_name("store.db-wal").write_bytes(b"old news")
    assert asyncio.run(create(path, "db")) == ["db"]


def test_a_store_that_nobody_closed_does_not_keep_the_process_from_ending(path: Path) -> None:
    subprocess.run([sys.executable, "-c", FORGET, path], check=True, timeout=30)  # noqa: S603 - our own words
    assert asyncio.run(create(path, "another")) == ["another", "kept"]


async def test_a_closed_store_says_so(path: Path) -> None:
    store = Store(path)
    await store.create_database("db")
    await store.close()
    await store.close()
    with pytest.raises(StoreFileError, match="closed"):
        await store.create_database("other")


async def test_queued_writes_are_done_before_the_store_is_closed(path: Path) -> None:
    store = Store(path)
    client = Client(store)
    await client.ask("PUT", "/db")
    gate = threading.Event()
    store.enqueue(lambda connection: gate.wait(10))
    writes = [asyncio.create_task(client.ask("PUT", f"/db/{n}", {})) for n in range(20)]
    await asyncio.sleep(0.1)
    closing = asyncio.create_task(store.close())
    await asyncio.sleep(0.01)
    gate.set()
    await closing
    assert {answer.status for answer in await asyncio.gather(*writes)} == {201}


@pytest.mark.parametrize("file", [True, False])
def test_several_event_loops_share_a_store(path: Path, file: bool) -> None:
    store = Store(path if file else None)
    client = Client(store)
    asyncio.run(store.create_database("db"))

    async def write(worker: int) -> None:
        answers = [await client.ask("PUT", f"/db/{worker}-{n}", {"n": n}) for n in range(30)]
        assert {answer.status for answer in answers} == {201}
        assert {(await client.ask("GET", f"/db/{worker}-{n}")).status for n in range(30)} == {200}

    threads = [threading.Thread(target=asyncio.run, args=(write(worker),)) for worker in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asyncio.run(client.json("GET", "/db"))["doc_count"] == 90
    asyncio.run(store.close())


FORK = """
import asyncio, os, sys
from couchmodel.engine import CouchDB

async def use(couch):
    async with asyncio.timeout(10):
        try:
            return (await couch.info())["couchdb"]
        except Exception as error:
            return f"{type(error).__name__}: {error}"

async def again():
    async with CouchDB(sys.argv[1]) as couch:
        return await use(couch)

loop = asyncio.new_event_loop()
couch = CouchDB(sys.argv[1])
loop.run_until_complete(couch.create("db"))
ended, end = os.pipe()
told, tell = os.pipe()
if os.fork() == 0:
    os.close(end)
    os.write(tell, asyncio.run(use(couch)).encode())
    os.read(ended, 1)                                    # lives until its parent has opened the file again
    os._exit(0)
os.close(tell)
print(os.read(told, 1000).decode())
print(loop.run_until_complete(use(couch)))
loop.run_until_complete(couch.close())
print(loop.run_until_complete(again()))
if os.fork() == 0:
    print(asyncio.run(again()), flush=True)              # nothing is open: it may open the file itself
    os._exit(0)
os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no forks")
@pytest.mark.parametrize("kind", ["file", "memory"])
def test_a_forked_child_does_not_use_what_its_parent_has_open(tmp_path: Path, kind: str) -> None:
    url = f"sqlite:{tmp_path / 'store.db'}" if kind == "file" else "memory:"
    command = (sys.executable, "-u", "-W", "ignore", "-c", FORK, url)  # a fork copies what is not flushed
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout  # noqa: S603 - ours
    first, *others = told.splitlines()
    assert first.startswith("StoreFileError: this process was forked")
    assert others == ["Welcome"] * 3
