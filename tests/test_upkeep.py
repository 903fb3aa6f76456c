"""Looking after a store's file: what a check finds, and copies that are made while it is used."""

import asyncio
import hashlib
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from couchmodel import connect, upkeep
from couchmodel._embedded.storage.store import Store
from couchmodel.cli import app
from couchmodel.engine.changes import Changes
from couchmodel.errors import StoreFileError
from couchmodel.sync import replicate
from tests.embedded.conftest import Client

WRITE = """
import asyncio, sys
from couchmodel._embedded.server.router import Router
from couchmodel._embedded.storage.store import Store
from couchmodel.cli import app
from couchmodel._wire.messages import Request

async def write():
    router = Router(Store(sys.argv[1]))
    for n in range(1_000_000):
        await router.answer(Request("PUT", ("db", f"more-{n}"), {}, {"content-type": "application/json"}, b"{}"))
        if n == 10:
            print("open", flush=True)

asyncio.run(write())
"""


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """The file of a store with a document in conflict, a tombstone, old revisions, attachments and a local document."""
    store = Store(tmp_path / "store.db")
    client = Client(store)
    await client.ask("PUT", "/db")
    for rev in ("1-a", "1-b"):
        await client.ask("PUT", "/db/torn?new_edits=false", {"_rev": rev})
    rev = (await client.json("PUT", "/db/pie", {"n": 1}))["rev"]
    await client.ask("PUT", f"/db/pie?rev={rev}", {"n": 2})
    rev = (await client.json("PUT", "/db/gone", {}))["rev"]
    await client.ask("DELETE", f"/db/gone?rev={rev}")
    for name in ("photo", "copy"):
        await client.ask("PUT", f"/db/{name}/file", bytes(600_000), headers={"content-type": "image/png"})
    await client.ask("PUT", "/db/_local/note", {})
    await client.ask("POST", "/db/_index", {"ddoc": "app", "index": {"fields": ["n"]}})
    view = (await client.json("GET", "/db/_design/app"))["views"].popitem()[0]
    assert (await client.ask("GET", f"/db/_design/app/_view/{view}?reduce=false")).status == 200
    await client.ask("PUT", "/dropped")
    await client.ask("DELETE", "/dropped")
    await store.close()
    return tmp_path / "store.db"


def spoil(path: Path, statements: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(statements)
    connection.close()


async def problems(path: Path) -> list[str]:
    return [str(problem) for problem in (await upkeep.check(path)).problems]


async def test_a_whole_store_has_no_problems(path: Path) -> None:
    counts, problems = await upkeep.check(path)
    assert problems == []
    assert (counts.documents, counts.deleted, counts.attachments) == (5, 1, 1)


@pytest.mark.parametrize(
    ("statements", "problem"),
    [
        ("UPDATE database SET living = 7", "db: it counts 7 documents, and has 5"),
        ("UPDATE database SET deleted = 0", "db: it counts 0 deleted documents, and has 1"),
        ("UPDATE database SET update_seq = 1", "db: its last change is number"),
        ("UPDATE document SET rev = '1-x' WHERE id = 'photo'", "db: photo: its row has revision 1-x"),
        ("UPDATE document SET deleted = 1 WHERE id = 'pie'", "db: pie: its row says that it is deleted"),
        ("UPDATE document SET tree = '[]' WHERE id = 'pie'", "db: pie: its revision tree cannot be read"),
        ("UPDATE document SET tree = 'x' WHERE id = 'pie'", "db: pie: its revision tree cannot be read"),
        ("UPDATE document SET body = '[]' WHERE id = 'pie'", "is no JSON object"),
        ("UPDATE document SET attachments = '[[1]]' WHERE id = 'photo'", "cannot be read"),
        ("DELETE FROM revision WHERE rev = '1-a'", "db: torn: revision 1-a is missing"),
        ("UPDATE revision SET deleted = 1 WHERE rev = '1-a'", "db: torn: revision 1-a is deleted"),
        ("UPDATE revision SET rev = '1-x' WHERE rev = '1-a'", "db: torn: revision 1-x is stored, and not"),
        ("UPDATE revision SET body = '{' WHERE rev = '1-a'", "db: torn: revision 1-a is no JSON object"),
        ("DELETE FROM document WHERE id = 'torn'", "a revision (1-a) of no document"),
        ("DELETE FROM database WHERE name = 'db'", "of no database"),
        ("UPDATE local_document SET body = '{'", "db: _local/note: it is no JSON object"),
        ("DELETE FROM chunk WHERE position = 1", "db: photo: attachment 'file': 337856 bytes are stored of 600000"),
        (
            "UPDATE chunk SET position = position + 9",
            "db: copy: attachment 'file': 0 of 3 pieces are where they belong",
        ),
        ("UPDATE chunk SET data = randomblob(length(data))", "db: photo: attachment 'file': its bytes are not"),
        ("DELETE FROM blob", "is missing"),
        ("DELETE FROM attachment_use", "db: photo: nothing keeps the attachment 'file'"),
        ("DELETE FROM view_row", "db: _design/app: its view number 0 counts 1 rows, and has 0"),
        ("UPDATE view_row SET emitted = '[7]'", "db: _design/app: its rows of the document pie are not those"),
        (
            "UPDATE document SET body = CAST('{\"n\":8}' AS BLOB) WHERE id = 'pie'",
            "rows of the document pie are not those",
        ),
        ("DELETE FROM view_document", "rows of the document pie are not those"),
        ("UPDATE view_index SET update_seq = 99", "db: _design/app: it has changes up to number 99"),
        ("UPDATE view_index SET database = 99", "an index (number 1) of no database"),
        ("DELETE FROM view_index", "rows of an index (number 1) that is not there"),
        ("UPDATE view_document SET document = 99", "it has rows of 1 documents that are not there"),
        ("UPDATE document SET attachments = NULL WHERE id = 'copy'", "db: copy: an attachment (number 1) is kept"),
    ],
)
async def test_what_is_wrong_is_named(path: Path, statements: str, problem: str) -> None:
    spoil(path, statements)
    found = await problems(path)
    assert any(problem in each for each in found), found


async def test_a_torn_page_is_a_problem_and_no_error(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for page in range(len(content) // 2 & ~4095, len(content), 4096):  # behind the schema
        content[page : page + 100] = bytes(range(100))
    path.write_bytes(content)
    assert await problems(path)


async def test_only_so_many_problems_are_looked_for(path: Path) -> None:
    spoil(path, "UPDATE document SET tree = 'x'")
    assert len((await upkeep.check(path, most=2)).problems) == 2


async def test_a_copy_is_the_store_as_it_was(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "copies of pie" / "50%?#.db"
    target.parent.mkdir()
    await upkeep.backup(path, target)
    assert await problems(target) == []
    store = Store(target)
    answer = await Client(store).ask("GET", "/db/photo/file")
    await answer.collect()
    await store.close()
    assert answer.body == bytes(600_000)
    assert [each.name for each in target.parent.iterdir()] == [target.name, f"{target.name}.lock"]


async def test_a_store_in_use_in_this_process_is_checked_and_copied(path: Path, tmp_path: Path) -> None:
    store = Store(path)
    client = Client(store)
    await client.ask("PUT", "/db/unwritten", {"in": "the log"})
    for target in (tmp_path / "one.db", tmp_path / "two.db"):
        await upkeep.backup(path, target)
        assert await problems(path) == []
        assert (await client.ask("PUT", f"/db/{target.name}", {})).status == 201
    await store.close()
    assert (await upkeep.check(tmp_path / "one.db")).counts.documents == 6
    assert (await upkeep.check(tmp_path / "two.db")).counts.documents == 7


async def test_a_store_that_another_process_writes_is_checked_and_copied(path: Path, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITE, path], stdout=subprocess.PIPE, text=True) as child:  # noqa: S603 - our own words
        assert child.stdout is not None
        assert await asyncio.to_thread(child.stdout.readline) == "open\n"
        for n in range(5):
            assert await problems(path) == []
            await upkeep.backup(path, tmp_path / f"copy-{n}.db")
        child.kill()
    for n in range(5):
        assert await problems(tmp_path / f"copy-{n}.db") == []
    assert await problems(path) == []


async def test_a_check_changes_nothing_and_leaves_nothing_behind(path: Path) -> None:
    before = hashlib.sha256(path.read_bytes()).digest()
    await upkeep.check(path)
    assert hashlib.sha256(path.read_bytes()).digest() == before
    assert sorted(each.name for each in path.parent.iterdir()) == ["store.db", "store.db.lock"]


async def test_a_copy_does_not_take_the_place_of_anything(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "diary.txt"
    target.write_text("Dear diary")
    with pytest.raises(StoreFileError, match="is there already"):
        await upkeep.backup(path, target)
    with pytest.raises(StoreFileError, match="is there already"):
        await upkeep.backup(path, path)
    assert target.read_text() == "Dear diary"


async def test_a_copy_that_cannot_be_written_leaves_nothing_behind(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreFileError, match="cannot be written"):
        await upkeep.backup(path, tmp_path / "nowhere" / "copy.db")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("content", [None, b"", b"Dear diary", b"SQLite format 3\0" + bytes(100)])
async def test_what_is_no_store_is_refused_and_left_alone(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StoreFileError):
        await upkeep.check(path)
    with pytest.raises(StoreFileError):
        await upkeep.backup(path, tmp_path / "copy.db")
    assert [each.read_bytes() for each in tmp_path.iterdir()] == ([] if content is None else [content])


@pytest.mark.parametrize(
    ("statements", "status", "output"),
    [
        ("", 0, "5 documents and 1 deleted, 1 stored attachment: all is well"),
        ("UPDATE database SET living = 7 WHERE name = 'db'", 1, "store.db: 1 problem\n"),
    ],
)
def test_the_command_says_what_it_has_found(path: Path, statements: str, status: int, output: str) -> None:
    spoil(path, statements)
    result = CliRunner().invoke(app, ["check", str(path)])
    assert (result.exit_code, output in result.output) == (status, True), result.output


def test_the_commands_name_what_they_cannot_do(path: Path, tmp_path: Path) -> None:
    missing = CliRunner().invoke(app, ["check", str(tmp_path / "missing.db")])
    assert (missing.exit_code, "there is no store" in missing.output) == (2, True)
    refused = CliRunner().invoke(app, ["backup", str(path), str(path)])
    assert (refused.exit_code, "is there already" in refused.output) == (1, True)


def test_the_command_makes_a_copy(path: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["backup", str(path), str(tmp_path / "copy.db")])
    assert (result.exit_code, "copied to" in result.output) == (0, True), result.output
    assert CliRunner().invoke(app, ["check", str(tmp_path / "copy.db")]).exit_code == 0


async def put_back(path: Path, copy: Path, *, by_hand: bool) -> None:
    shutil.copyfile(copy, path)
    if by_hand:
        assert await upkeep.renew(path) == 4


@pytest.mark.parametrize("by_hand", [False, True])
async def test_who_follows_a_store_that_was_put_back_misses_nothing(tmp_path: Path, by_hand: bool) -> None:
    path, copy = tmp_path / "store.db", tmp_path / "copy.db"
    async with connect("memory:") as elsewhere:
        target = await elsewhere.create("target")
        async with connect(f"sqlite:{path}") as couch:
            source = await couch.create("source")
            await couch.create("other")
            await (await source.create("early")).save()
            await replicate(source, target)
            if not by_hand:
                await upkeep.backup(path, copy)
        if by_hand:
            shutil.copyfile(path, copy)
        since: str | None = None
        for round in range(3 if by_hand else 2):
            if round:
                await put_back(path, copy, by_hand=by_hand)
            async with connect(f"sqlite:{path}") as couch:
                source = couch.database("source")
                late = [f"late-{round}-{n}" for n in range(5 - round)]
                for id in late:
                    await (await source.create(id)).save()
                feed = Changes(source, since=since)
                assert [event.id async for event in feed] == ["early", *late]
                since = feed.last_seq
                await replicate(source, target)
                assert set(late) <= {id async for id in target.akeys()}


async def test_a_store_that_is_open_or_not_there_gets_no_new_ids(path: Path, tmp_path: Path) -> None:
    async with connect(f"sqlite:{path}") as couch:
        await couch.keys()
        refused = await asyncio.to_thread(CliRunner().invoke, app, ["renew", str(path)])
    assert (refused.exit_code, str(path) in refused.output) == (1, True)
    assert (await asyncio.to_thread(CliRunner().invoke, app, ["renew", str(path)])).exit_code == 0
    missing = tmp_path / "none.db"
    assert (await asyncio.to_thread(CliRunner().invoke, app, ["renew", str(missing)])).exit_code == 1
    assert not missing.exists()
