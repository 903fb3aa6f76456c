"""Attachments whose bytes a disk has damaged: each way to read them fails, and names the place."""

import io
import random
import sqlite3
from collections.abc import AsyncIterable, Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from couchmodel import ServerError, connect, upkeep
from couchmodel._embedded.server.http import serve
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request
from couchmodel.bucket import Bucket
from couchmodel.engine import Database
from couchmodel.errors import ProtocolError, TransportError
from couchmodel.sync import replicate

PHOTO = random.Random(5).randbytes(700_000)
LETTER = b"".join(b"%x, " % random.Random(seed).getrandbits(2000) for seed in range(1500))
DAMAGED = 400_000
"""The byte of the photo that is damaged: in the second of three chunks."""

MESSAGE = "the attachment 'photo' of the document 'pie' is damaged: its stored bytes 262144 to 524287 are not those"


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A store with a photo, one byte of which was damaged while nobody had it open, and with things that are whole."""
    path = tmp_path / "store.db"
    async with connect(f"sqlite:{path}") as couch:
        kitchen = await couch.create("kitchen")
        for id in ("apple", "pie", "quince"):
            document = await kitchen.create(id)
            await document.save()
            await document.attachment("photo").save(PHOTO if id == "pie" else b"whole", "image/png")
    damage(path, PHOTO[DAMAGED : DAMAGED + 32])
    return path


def damage(path: Path, needle: bytes) -> None:
    """Flip a bit of a file, in the first of these bytes."""
    content = bytearray(path.read_bytes())
    assert content.count(needle) == 1
    content[content.index(needle)] ^= 4
    path.write_bytes(content)


async def whole(kitchen: Database) -> None:
    await (await kitchen["pie"]).attachment("photo").fetch()


async def behind_a_range(kitchen: Database) -> None:
    await (await kitchen["pie"]).attachment("photo").fetch(300_000, 400_000)


async def inline(kitchen: Database) -> None:
    await kitchen.session.get((*kitchen.path, "pie"), {"attachments": "true"})


async def of_many(kitchen: Database) -> None:
    body = b'{"docs": [{"id": "pie"}]}'
    await kitchen.session.send(Request("POST", (*kitchen.path, "_bulk_get"), {"attachments": "true"}, body=body))


async def multipart(kitchen: Database) -> None:
    headers = {"accept": "multipart/related"}
    await kitchen.session.send(Request("GET", (*kitchen.path, "pie"), {"attachments": "true"}, headers))


async def several_ranges(kitchen: Database) -> None:
    headers = {"range": "bytes=0-9,300000-300009"}
    await kitchen.session.send(Request("GET", (*kitchen.path, "pie", "photo"), headers=headers))


async def collect(pieces: AsyncIterable[bytes], arrived: BinaryIO) -> None:
    async for piece in pieces:
        arrived.write(piece)


@pytest.mark.parametrize("read", [whole, behind_a_range, inline, of_many, multipart, several_ranges])
async def test_a_damaged_byte_is_found_by(path: Path, read: Callable[[Database], Awaitable[None]]) -> None:
    async with connect(f"sqlite:{path}") as couch:
        with pytest.raises(ServerError, match=MESSAGE):
            await read(await couch["kitchen"])


async def test_what_is_not_damaged_is_read(path: Path) -> None:
    async with connect(f"sqlite:{path}") as couch:
        photo = (await (await couch["kitchen"])["pie"]).attachment("photo")
        assert await photo.fetch(0, 262_144) == PHOTO[:262_144]
        assert await photo.fetch(524_288) == PHOTO[524_288:]
        assert await photo.exists()


async def test_a_replication_copies_everything_else(path: Path) -> None:
    async with connect(f"sqlite:{path}") as couch, connect("memory:") as elsewhere:
        target = await elsewhere.create("kitchen")
        done = await replicate(await couch["kitchen"], target)
        assert (list(done.refused), done.doc_write_failures) == (["pie"], 1)
        assert [id async for id in target.akeys()] == ["apple", "quince"]


async def test_a_damaged_content_that_is_compressed_is_found(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with connect(f"sqlite:{path}") as couch:
        document = await (await couch.create("kitchen")).create("pie")
        await document.save()
        await document.attachment("letter").save(LETTER, "text/plain")
    connection = sqlite3.connect(path)
    (stored,) = connection.execute("SELECT data FROM chunk WHERE position = 1").fetchone()
    connection.close()
    damage(path, stored[-40:-8])
    async with connect(f"sqlite:{path}") as couch:
        letter = (await (await couch["kitchen"])["pie"]).attachment("letter")
        for read in (letter.fetch(), letter.fetch(10, 1_500_000)):
            with pytest.raises(ServerError, match="'letter' of the document 'pie' is damaged: its stored bytes 262144"):
                await read


async def test_a_damaged_file_of_a_bucket_is_found(tmp_path: Path) -> None:
    async with connect(f"sqlite:{tmp_path / 'store.db'}") as couch:
        await Bucket(await couch.create("kitchen")).upload_from_stream_with_id("song", "song.ogg", PHOTO)
    damage(tmp_path / "store.db", PHOTO[DAMAGED : DAMAGED + 32])
    async with connect(f"sqlite:{tmp_path / 'store.db'}") as couch:
        with pytest.raises(ServerError, match="is damaged: its stored bytes 262144 to 524287"):
            await (await Bucket(await couch["kitchen"]).open_download_stream("song")).read()


@pytest.mark.parametrize(
    ("start", "error", "message"),
    [
        (262_144, ServerError, MESSAGE),  # the first chunk of the answer is read before its status is sent
        (0, TransportError, "pie/photo"),
    ],
)
async def test_a_server_sends_no_damaged_bytes(path: Path, start: int, error: type[Exception], message: str) -> None:
    store = Store(path)
    server = await serve(store, "127.0.0.1", 0)
    try:
        async with connect(server.url) as couch:
            photo = (await (await couch["kitchen"])["pie"]).attachment("photo")
            with pytest.raises(error, match=message):
                await photo.fetch(start)
    finally:
        await server.close()
        await store.close()


async def test_a_download_that_goes_on_is_told_why_it_cannot(path: Path) -> None:
    store = Store(path)
    server = await serve(store, "127.0.0.1", 0)
    arrived = io.BytesIO()
    try:
        async with connect(server.url) as couch:
            photo = (await (await couch["kitchen"])["pie"]).attachment("photo")
            with pytest.raises(ServerError, match=MESSAGE):
                await collect(photo.stream(resume=True), arrived)
    finally:
        await server.close()
        await store.close()
    assert arrived.getvalue() == PHOTO[:262_144]


async def test_a_check_names_the_damage(path: Path) -> None:
    found = [str(problem) for problem in (await upkeep.check(path)).problems]
    assert found == ["kitchen: pie: attachment 'photo': its bytes are not those that were stored, from byte 262144 on"]


async def test_a_check_tells_damaged_checksums_from_damaged_bytes(path: Path) -> None:
    damage(path, bytes([PHOTO[DAMAGED] ^ 4]) + PHOTO[DAMAGED + 1 : DAMAGED + 32])  # which mends it
    assert (await upkeep.check(path)).problems == []
    connection = sqlite3.connect(path)
    connection.execute("UPDATE blob SET checksums = zeroblob(12) WHERE length(checksums) = 12")
    connection.commit()
    connection.close()
    found = [str(problem) for problem in (await upkeep.check(path)).problems]
    assert found == ["kitchen: pie: attachment 'photo': its checksums are not those of its bytes"]


@pytest.mark.parametrize(
    "statement", ["DELETE FROM chunk WHERE position = 1", "UPDATE chunk SET position = position + 9"]
)
async def test_a_lost_chunk_is_found(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    async with connect(f"sqlite:{path}") as couch:
        with pytest.raises(ServerError, match=r"'photo' of the document 'pie' is damaged: its stored bytes .* missing"):
            await (await (await couch["kitchen"])["pie"]).attachment("photo").fetch(262_144)


@pytest.mark.parametrize("is_damaged", [False, True])
async def test_a_content_without_checksums_is_compared_with_its_digest(path: Path, is_damaged: bool) -> None:
    if not is_damaged:
        damage(path, bytes([PHOTO[DAMAGED] ^ 4]) + PHOTO[DAMAGED + 1 : DAMAGED + 32])
    connection = sqlite3.connect(path)
    connection.execute("UPDATE blob SET checksums = NULL")  # as the store of an older version is
    connection.commit()
    connection.close()
    async with connect(f"sqlite:{path}") as couch:
        kitchen = await couch["kitchen"]
        read = (await kitchen["pie"]).attachment("photo").fetch()
        if is_damaged:
            with pytest.raises(ProtocolError, match="its digest is"):
                await read
        else:
            assert await read == PHOTO
        # The same content is stored again, and gives the stored one its checksums.
        document = await kitchen.create("copy")
        await document.save()
        await document.attachment("photo").save(PHOTO, "image/png")
    connection = sqlite3.connect(path)
    (length,) = connection.execute("SELECT length(checksums) FROM blob WHERE checksums IS NOT NULL").fetchone()
    connection.close()
    assert length == 12


@pytest.mark.parametrize("size", [0, 2_000_000])
async def test_saving_the_same_content_again_repairs_it_everywhere(tmp_path: Path, size: int) -> None:
    photo = PHOTO + bytes(size)
    path = tmp_path / "store.db"
    async with connect(f"sqlite:{path}") as couch:
        kitchen = await couch.create("kitchen")
        for id in ("pie", "copy"):
            document = await kitchen.create(id)
            await document.save()
            await document.attachment("photo").save(photo, "image/png")
    damage(path, PHOTO[DAMAGED : DAMAGED + 32])
    async with connect(f"sqlite:{path}") as couch:
        kitchen = await couch["kitchen"]
        with pytest.raises(ServerError, match="is damaged"):
            await (await kitchen["copy"]).attachment("photo").fetch()
        await (await kitchen["pie"]).attachment("photo").save(photo, "image/png")
        for id in ("pie", "copy"):
            assert await (await kitchen[id]).attachment("photo").fetch() == photo
    assert (await upkeep.check(path)).problems == []
