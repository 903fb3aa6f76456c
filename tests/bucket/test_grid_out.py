"""Stored files that are read: what Motor's GridOut does, and what it does with damaged files."""

import asyncio
import io
import os
from typing import Any

import pytest

from couchmodel.bucket import Bucket, CorruptGridFile
from couchmodel.engine import Database
from tests.bucket.files import LONG, random_bytes, stored_ids, upload

TEXT = b"first\n\nthird line is longer than a chunk of the bucket\nend"


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 63, 64, 65, 500, 1023, 1024, 1025])
async def test_gridout_read_sizes(bucket: Bucket, small_parts: int, size: int) -> None:
    file = await upload(bucket)
    assert await file.read(size) == LONG[:size]
    assert await file.read(size) == LONG[size : 2 * size]
    assert await file.read() == LONG[2 * size :]


async def test_gridout_read_gives_bytes(bucket: Bucket) -> None:
    file = await upload(bucket, b"abc")
    assert [type(await file.read(2)), type(await file.read()), type(await file.read())] == [bytes] * 3


async def test_gridout_unaligned_reads(bucket: Bucket, small_parts: int) -> None:
    file = await upload(bucket)
    pieces = [await file.read(37) for _ in range(len(LONG) // 37 + 1)]
    assert b"".join(pieces) == LONG


async def test_gridout_readline(bucket: Bucket, small_parts: int) -> None:
    file = await upload(bucket, TEXT)
    assert [await file.readline() for _ in range(3)] == [b"first\n", b"\n", TEXT.splitlines(keepends=True)[2]]
    assert [await file.readline(2), await file.readline(5), await file.readline()] == [b"en", b"d", b""]


async def test_gridout_readline_long_line_over_many_chunks(bucket: Bucket, small_parts: int) -> None:
    content = b"x" * 1000 + b"\nrest"
    file = await upload(bucket, content)
    assert await file.readline(300) == b"x" * 300
    assert await file.readline() == b"x" * 700 + b"\n"
    assert await file.read() == b"rest"


async def test_gridout_readchunk(bucket: Bucket, small_parts: int) -> None:
    file = await upload(bucket, LONG[:40])
    assert [await file.readchunk() for _ in range(4)] == [LONG[:16], LONG[16:32], LONG[32:40], b""]


async def test_gridout_readchunk_after_seek(bucket: Bucket, small_parts: int) -> None:
    file = await upload(bucket)
    file.seek(70)
    assert [await file.readchunk(), await file.readchunk()] == [LONG[70:80], LONG[80:96]]


@pytest.mark.parametrize(("position", "whence", "expected"), [(5, 0, 5), (5, 1, 15), (-3, 1, 7), (-5, 2, 1019)])
async def test_gridout_seek(bucket: Bucket, small_parts: int, position: int, whence: int, expected: int) -> None:
    file = await upload(bucket)
    await file.read(10)
    assert file.seek(position, whence) == expected
    assert await file.read() == LONG[expected:]


@pytest.mark.parametrize(("position", "whence"), [(-1, 0), (-1, 1), (-1025, 2), (0, 3), (0, -1)])
async def test_gridout_seek_errors(bucket: Bucket, position: int, whence: int) -> None:
    file = await upload(bucket)
    with pytest.raises(OSError, match="Invalid value"):
        file.seek(position, whence)
    assert file.tell() == 0


@pytest.mark.parametrize("position", [1.5, "1", None])
async def test_gridout_seek_to_no_number_is_a_type_error(bucket: Bucket, position: Any) -> None:
    file = await upload(bucket)
    with pytest.raises(TypeError, match="a position is a whole number of bytes"):
        file.seek(position)


async def test_gridout_seek_is_plain_and_returns_the_position(bucket: Bucket) -> None:
    assert (await upload(bucket)).seek(7) == 7


async def test_gridout_seek_past_the_end_reads_nothing(bucket: Bucket) -> None:
    file = await upload(bucket)
    assert file.seek(10, os.SEEK_END) == 1034
    assert [await file.read(), await file.read(5), await file.readchunk(), await file.readline()] == [b""] * 4
    file.seek(0)
    assert await file.read(3) == LONG[:3]


async def test_gridout_tell(bucket: Bucket, small_parts: int) -> None:
    file = await upload(bucket)
    positions = [file.tell()]
    for size in (10, 100, -1):
        await file.read(size)
        positions.append(file.tell())
    assert positions == [0, 10, 110, 1024]


async def test_gridout_async_for_gives_chunks(bucket: Bucket, small_parts: int) -> None:
    file = await upload(bucket)
    assert [chunk async for chunk in file] == [LONG[start : start + 16] for start in range(0, 1024, 16)]


async def test_gridout_plain_for_is_refused(bucket: Bucket) -> None:
    file: Any = await upload(bucket)
    with pytest.raises(TypeError):
        iter(file)


async def test_gridout_two_readers_are_independent(bucket: Bucket, small_parts: int) -> None:
    one = await upload(bucket)
    other = await bucket.open_download_stream(one._id)
    for position in range(0, 1000, 100):
        assert await one.read(100) == LONG[position : position + 100]
        assert await other.read(50) == LONG[position // 2 : position // 2 + 50]


async def test_gridout_ten_readers_ten_times(bucket: Bucket, small_parts: int) -> None:
    file_id = (await upload(bucket))._id

    async def read_often() -> set[bytes]:
        return {await (await bucket.open_download_stream(file_id)).read() for _ in range(10)}

    assert await asyncio.gather(*(read_often() for _ in range(10))) == [{LONG}] * 10


async def test_gridout_properties(bucket: Bucket) -> None:
    file = await upload(bucket, b"hello", name="song.ogg")
    assert (file.filename, file.name, file.length, file.chunk_size) == ("song.ogg", "song.ogg", 5, 16)
    assert (file.content_type, file.aliases, file.metadata) == (None, None, None)
    assert file.sha256 == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.mark.parametrize("name", ["_id", "id", "filename", "name", "length", "chunk_size", "upload_date", "metadata"])
async def test_gridout_properties_are_read_only(bucket: Bucket, name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(await upload(bucket), name, "x")


async def test_gridout_unknown_attribute(bucket: Bucket) -> None:
    with pytest.raises(AttributeError, match="the file has no 'artist'"):
        _ = (await upload(bucket)).artist


async def test_gridout_file_protocol(bucket: Bucket) -> None:
    file = await upload(bucket)
    assert (file.readable(), file.seekable(), file.writable()) == (True, True, False)
    with pytest.raises(io.UnsupportedOperation):
        file.write(b"x")


async def test_gridout_open_returns_itself(bucket: Bucket) -> None:
    file = await upload(bucket)
    assert await file.open() is file


async def test_gridout_close_is_allowed_midway_and_twice(bucket: Bucket, small_parts: int) -> None:
    file = await upload(bucket)
    await file.read(100)
    file.close()
    file.close()


class Handler:
    def __init__(self) -> None:
        self.calls: list[bytes | str] = []

    def write(self, chunk: bytes) -> None:
        self.calls.append(chunk)

    async def flush(self) -> None:
        self.calls.append("flush")


async def test_gridout_stream_to_handler(bucket: Bucket) -> None:
    handler = Handler()
    await (await upload(bucket, LONG[:20])).stream_to_handler(handler)
    assert handler.calls == [LONG[:16], "flush", LONG[16:20], "flush"]


async def test_gridout_async_with(bucket: Bucket) -> None:
    async with await upload(bucket) as file:
        assert await file.read() == LONG


async def test_gridout_readlines_and_to_list_as_in_pymongo_async(bucket: Bucket, small_parts: int) -> None:
    file = await upload(bucket, TEXT)
    assert await file.readlines() == TEXT.splitlines(keepends=True)
    file.seek(0)
    assert await file.to_list(2) == [b"first\n", b"\n"]
    assert await file.to_list() == TEXT.splitlines(keepends=True)[2:]


@pytest.mark.parametrize("length", [10, 1024])
async def test_gridout_of_a_deleted_file_raises(bucket: Bucket, small_parts: int, length: int) -> None:
    file = await upload(bucket, LONG[:length])
    await bucket.delete(file._id)
    with pytest.raises(CorruptGridFile, match=r"byte 0 to .*the file was deleted"):
        await file.read()


@pytest.mark.parametrize("length", [10, 1024])
async def test_gridout_survives_a_rename(bucket: Bucket, small_parts: int, length: int) -> None:
    file = await upload(bucket, LONG[:length])
    await bucket.rename(file._id, "g")
    assert await file.read() == LONG[:length]


async def test_gridout_survives_set_on_the_file(bucket: Bucket, small_parts: int) -> None:
    async with bucket.open_upload_stream("f") as upload:
        await upload.write(LONG)
    file = await bucket.open_download_stream(upload._id)
    assert await file.read(100) == LONG[:100]
    await upload.set("artist", "Ada")
    assert await file.read() == LONG[100:]


async def test_a_file_of_many_parts_is_read_at_any_place(database: Database) -> None:
    content = random_bytes(7_000_001)
    file = await upload(Bucket(database), content)
    for position in (0, 2**21 - 1, 2**21, 3_000_000, 6_999_990, 100):
        file.seek(position)
        assert await file.read(20) == content[position : position + 20]
        assert await file.read(3_000_000) == content[position + 20 :][:3_000_000]


# --- damage


async def parts(database: Database) -> list[str]:
    return [id async for id in database.akeys() if "/part/" in id]


async def damage(database: Database, id: str, content: bytes | None) -> None:
    """Replace the content of a part, or delete the part."""
    document = await database[id]
    if content is None:
        await document.delete()
    else:
        await document.attachment("content").save(content)


@pytest.mark.parametrize("number", [0, 7, 15])
async def test_damage_truncate_is_corrupt(bucket: Bucket, database: Database, small_parts: int, number: int) -> None:
    file = await upload(bucket)
    await damage(database, (await parts(database))[number], b"x" * 63)
    with pytest.raises(CorruptGridFile, match=rf"'f'.*from byte {64 * number} to .*63 bytes instead of 64"):
        await file.read()


async def test_damage_drop_middle_is_corrupt(bucket: Bucket, database: Database, small_parts: int) -> None:
    file = await upload(bucket)
    await damage(database, (await parts(database))[7], None)
    with pytest.raises(CorruptGridFile, match="from byte 448 to 512: they are missing"):
        await file.read()


async def test_damage_drop_last_is_corrupt(bucket: Bucket, database: Database, small_parts: int) -> None:
    file = await upload(bucket)
    await damage(database, (await parts(database))[-1], None)
    with pytest.raises(CorruptGridFile):
        async for _ in file:
            pass


async def add_part(database: Database, content: bytes) -> None:
    document = await database.create((await parts(database))[-1][:-2] + "16")
    await document.save()
    await document.attachment("content").save(content)


async def test_damage_extra_is_corrupt(bucket: Bucket, database: Database, small_parts: int) -> None:
    file = await upload(bucket)
    await add_part(database, b"x")
    with pytest.raises(CorruptGridFile, match="there is a part behind the end"):
        await file.read()


async def test_damage_extra_empty_piece_is_ignored(bucket: Bucket, database: Database, small_parts: int) -> None:
    file = await upload(bucket)
    await add_part(database, b"")
    assert await file.read() == LONG


async def test_damage_missing_length_counts_as_zero(bucket: Bucket, database: Database) -> None:
    file_id = (await upload(bucket))._id
    (document,) = [document async for document in database.docs() if "/file/" in document.id]
    del document["bucket_file"]["length"]
    await document.save()
    file = await bucket.open_download_stream(file_id)
    assert (file.length, await file.read()) == (0, b"")


@pytest.mark.parametrize("length", [40, 1024])
async def test_other_bytes_than_those_that_were_stored_are_corrupt(
    bucket: Bucket, database: Database, small_parts: int, length: int
) -> None:
    file = await upload(bucket, LONG[:length])
    damaged = (await parts(database))[0] if length == 1024 else (await stored_ids(database))[0]
    await damage(database, damaged, b"x" * min(64, length))
    with pytest.raises(CorruptGridFile, match="they are not those that were stored"):
        await file.read()
