"""Uploads, deletions and names of files: what Motor's GridFSBucket does."""

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest

from couchmodel.bucket import Bucket, FileExists, NoFile
from couchmodel.engine import Database
from tests.bucket.files import LONG, AsyncSource, Source, names, random_bytes, read, stored_ids, upload

AWKWARD = ["", " ", ".", "..", "_x", "a/b", "a%2Fb", "a+b?c#d&e", "Käse 🧀", "x" * 500, "\uffff\U0010ffff", "\x01\n"]
MISFITS: list[Any] = [None, "text", 5, io.StringIO("text")]


async def test_upload_then_download(bucket: Bucket) -> None:
    file_id = await bucket.upload_from_stream("f", b"hello")
    target = io.BytesIO()
    await bucket.download_to_stream(file_id, target)
    assert target.getvalue() == b"hello"


async def test_upload_ids_are_unique(bucket: Bucket) -> None:
    ids = await asyncio.gather(*(bucket.upload_from_stream("f", b"") for _ in range(20)))
    assert len(set(ids)) == 20


async def test_upload_returns_the_id_found_on_the_file(bucket: Bucket) -> None:
    file_id = await bucket.upload_from_stream("f", b"hello")
    assert (await bucket.open_download_stream(file_id))._id == file_id
    assert [file._id async for file in bucket.find()] == [file_id]


async def test_open_download_stream_missing_id_is_nofile_at_open(bucket: Bucket) -> None:
    with pytest.raises(NoFile, match="'fs' has no file 'nothing'"):
        await bucket.open_download_stream("nothing")


async def test_delete_removes_file(bucket: Bucket) -> None:
    file_id = await bucket.upload_from_stream("f", b"hello")
    await bucket.delete(file_id)
    with pytest.raises(NoFile):
        await bucket.open_download_stream(file_id)
    assert await names(bucket.find()) == []


async def test_delete_missing_is_nofile(bucket: Bucket) -> None:
    with pytest.raises(NoFile):
        await bucket.delete("nothing")


async def test_delete_twice_is_nofile(bucket: Bucket) -> None:
    file_id = await bucket.upload_from_stream("f", b"hello")
    await bucket.delete(file_id)
    with pytest.raises(NoFile):
        await bucket.delete(file_id)


async def test_delete_leaves_nothing_stored(bucket: Bucket, database: Database, small_parts: int) -> None:
    file_id = await bucket.upload_from_stream("f", LONG)
    assert len(await stored_ids(database)) > len(LONG) // small_parts
    await bucket.delete(file_id)
    assert await stored_ids(database) == []


async def test_delete_touches_only_that_file(bucket: Bucket, small_parts: int) -> None:
    first, second = [await bucket.upload_from_stream("f", LONG) for _ in range(2)]
    await bucket.delete(first)
    assert await read(bucket, second) == LONG


async def test_empty_file(bucket: Bucket) -> None:
    file = await upload(bucket, b"")
    assert (file.length, await file.read(), [chunk async for chunk in file]) == (0, b"", [])


async def test_empty_file_can_be_deleted_and_listed(bucket: Bucket) -> None:
    file_id = await bucket.upload_from_stream("f", b"")
    assert [file.length async for file in bucket.find()] == [0]
    await bucket.delete(file_id)
    assert await names(bucket.find()) == []


@pytest.mark.parametrize("length", [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 200])
async def test_sizes_around_the_chunk_boundary(bucket: Bucket, small_parts: int, length: int) -> None:
    content = random_bytes(length)
    file = await upload(bucket, content)
    chunks = [chunk async for chunk in file]
    assert b"".join(chunks) == content
    assert [len(chunk) for chunk in chunks[:-1]] == [16] * ((length - 1) // 16)


async def test_default_chunk_size_is_255_kib_and_many_chunks_work(database: Database) -> None:
    content = random_bytes(5_000_000)
    file = await upload(Bucket(database), content)
    assert file.chunk_size == 255 * 1024
    assert await file.read() == content
    file.seek(0)
    chunks = [chunk async for chunk in file]
    assert b"".join(chunks) == content
    assert {len(chunk) for chunk in chunks[:-1]} == {255 * 1024}


async def test_bucket_chunk_size_is_used_and_can_be_overridden(bucket: Bucket) -> None:
    assert (await upload(bucket)).chunk_size == 16
    assert (await upload(bucket, chunk_size_bytes=7)).chunk_size == 7
    assert bucket.open_upload_stream("f", 5).chunk_size == 5


async def test_chunk_size_one(bucket: Bucket) -> None:
    assert [chunk async for chunk in await upload(bucket, b"abc", chunk_size_bytes=1)] == [b"a", b"b", b"c"]


@pytest.mark.parametrize(("size", "error"), [(0, ValueError), (-1, ValueError), ("5", TypeError), (True, TypeError)])
async def test_a_chunk_has_a_size(bucket: Bucket, database: Database, size: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        _ = bucket.open_upload_stream("f", size)
    with pytest.raises(error):
        Bucket(database, "fs", size)


async def test_metadata_absent_is_none(bucket: Bucket) -> None:
    assert (await upload(bucket)).metadata is None


async def test_metadata_round_trip(bucket: Bucket) -> None:
    metadata = {"artist": "Ada", "_id": 1, "nested": {"list": [1, None, "é"], "$x": True, "a.b": 0.5}}
    assert (await upload(bucket, metadata=metadata)).metadata == metadata


async def test_metadata_positional_order(bucket: Bucket) -> None:
    first = await bucket.upload_from_stream("f", b"", 7, {"n": 1})
    await bucket.upload_from_stream_with_id("two", "f", b"", 8, {"n": 2})
    for file_id, expected in ((first, (7, {"n": 1})), ("two", (8, {"n": 2}))):
        file = await bucket.open_download_stream(file_id)
        assert (file.chunk_size, file.metadata) == expected


async def test_source_bytesio(bucket: Bucket) -> None:
    assert await read(bucket, await bucket.upload_from_stream("f", io.BytesIO(LONG))) == LONG


async def test_source_real_file_and_from_its_position(bucket: Bucket, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(LONG)
    with path.open("rb") as file:
        file.seek(10)
        file_id = await bucket.upload_from_stream("f", file)
        assert not file.closed
    assert await read(bucket, file_id) == LONG[10:]
    assert await read(bucket, await bucket.upload_from_stream("f", path)) == LONG


async def test_source_is_read_in_bounded_pieces(bucket: Bucket) -> None:
    source = Source(LONG)
    await bucket.upload_from_stream("f", source)
    assert set(source.sizes) == {16}


@pytest.mark.parametrize("source", MISFITS)
async def test_source_of_a_wrong_type_is_typeerror(bucket: Bucket, database: Database, source: Any) -> None:
    with pytest.raises(TypeError):
        await bucket.upload_from_stream("f", source)
    assert await stored_ids(database) == []


@pytest.mark.parametrize("good", [0, 20, 500])
async def test_failing_source_leaves_no_visible_file(bucket: Bucket, small_parts: int, good: int) -> None:
    with pytest.raises(OSError, match="broke off"):
        await bucket.upload_from_stream("f", Source(LONG, good))
    assert await names(bucket.find()) == []


async def test_failing_source_leaves_nothing_stored(bucket: Bucket, database: Database, small_parts: int) -> None:
    with pytest.raises(OSError, match="broke off"):
        await bucket.upload_from_stream("f", Source(LONG, 700))
    assert await stored_ids(database) == []


async def test_with_id_returns_none_and_keeps_the_id(bucket: Bucket) -> None:
    upload_with_id: Any = bucket.upload_from_stream_with_id
    assert await upload_with_id("mine", "f", b"hello") is None
    assert await read(bucket, "mine") == b"hello"


@pytest.mark.parametrize("file_id", AWKWARD)
async def test_with_id_awkward_strings(bucket: Bucket, database: Database, small_parts: int, file_id: str) -> None:
    await bucket.upload_from_stream_with_id(file_id, "f", LONG)
    assert await read(bucket, file_id) == LONG
    assert [file._id async for file in bucket.find({"_id": file_id})] == [file_id]
    assert await bucket.sweep() == 0
    await bucket.delete(file_id)
    assert await stored_ids(database) == []


async def test_with_id_duplicate_is_fileexists_and_keeps_the_first(
    bucket: Bucket, database: Database, small_parts: int
) -> None:
    await bucket.upload_from_stream_with_id("mine", "f", LONG)
    before = await stored_ids(database)
    for content in (b"short", LONG * 2):
        with pytest.raises(FileExists, match="has a file 'mine' already"):
            await bucket.upload_from_stream_with_id("mine", "g", content)
    assert await read(bucket, "mine") == LONG
    assert await stored_ids(database) == before


async def test_with_id_duplicate_stream_is_fileexists_by_close(bucket: Bucket) -> None:
    await bucket.upload_from_stream_with_id("mine", "f", b"first")
    file = bucket.open_upload_stream_with_id("mine", "g")
    await file.write(b"second")
    with pytest.raises(FileExists):
        await file.close()
    assert await read(bucket, "mine") == b"first"


async def test_of_two_uploads_of_one_id_one_is_stored(bucket: Bucket, database: Database, small_parts: int) -> None:
    uploads = [bucket.upload_from_stream_with_id("mine", "f", bytes([n]) * 500) for n in range(8)]
    results = await asyncio.gather(*uploads, return_exceptions=True)
    assert [type(each) for each in results].count(FileExists) == 7
    assert await read(bucket, "mine") == bytes([results.index(None)]) * 500
    assert await bucket.sweep() == 0
    assert len(await stored_ids(database)) == 1 + 8


async def test_id_can_be_used_again_after_delete(bucket: Bucket) -> None:
    for content in (b"first", b"second"):
        await bucket.upload_from_stream_with_id("mine", "f", content)
        assert await read(bucket, "mine") == content
        await bucket.delete("mine")


@pytest.mark.parametrize("name", [None, 5, b"f"])
async def test_filename_must_be_a_string(bucket: Bucket, name: Any) -> None:
    for call in (bucket.open_upload_stream, bucket.open_download_stream_by_name, bucket.delete_by_name):
        with pytest.raises(TypeError, match="filename is a str"):
            await call(name)


@pytest.mark.parametrize("name", AWKWARD)
async def test_awkward_filenames(bucket: Bucket, name: str) -> None:
    await bucket.upload_from_stream(name, b"hello")
    file = await bucket.open_download_stream_by_name(name)
    assert (file.filename, await file.read()) == (name, b"hello")


async def test_buckets_are_isolated(database: Database) -> None:
    one, other = Bucket(database, "one"), Bucket(database, "other")
    await one.upload_from_stream_with_id("id", "f", b"one")
    await other.upload_from_stream_with_id("id", "f", b"other")
    await one.delete("id")
    assert await names(one.find()) == []
    assert await read(other, "id") == b"other"


@pytest.mark.parametrize("name", ["fs.files", "fs/file", "fs/file/", "f", "fs%2F", ""])
async def test_bucket_name_prefix_of_another_is_isolated(database: Database, small_parts: int, name: str) -> None:
    one, other = Bucket(database, "fs"), Bucket(database, name)
    await one.upload_from_stream_with_id("id", "f", LONG)
    await other.upload_from_stream_with_id("id", "g", LONG)
    assert await names(one.find()) == ["f"]
    assert await names(other.find()) == ["g"]
    await one.delete("id")
    assert (await one.sweep(), await other.sweep()) == (0, 0)
    assert await read(other, "id") == LONG


async def test_two_handles_see_the_same_files(bucket: Bucket, database: Database) -> None:
    file_id = await bucket.upload_from_stream("f", b"hello")
    assert await read(Bucket(database), file_id) == b"hello"


@pytest.mark.parametrize("database", [None, "db", object()])
def test_constructor_rejects_a_non_database(database: Any) -> None:
    with pytest.raises(TypeError, match="a bucket is in a Database"):
        Bucket(database)


async def test_source_gridout(bucket: Bucket, small_parts: int) -> None:
    assert await read(bucket, await bucket.upload_from_stream("g", await upload(bucket))) == LONG


async def test_source_with_async_read(bucket: Bucket) -> None:
    assert await read(bucket, await bucket.upload_from_stream("f", AsyncSource(LONG))) == LONG


@pytest.mark.parametrize("kind", [bytearray, memoryview])
async def test_source_bytearray_and_memoryview(bucket: Bucket, kind: Any) -> None:
    assert await read(bucket, await bucket.upload_from_stream("f", kind(LONG))) == LONG


async def test_source_async_iterator(bucket: Bucket) -> None:
    async def pieces() -> Any:
        for start in range(0, len(LONG), 100):
            yield LONG[start : start + 100]

    assert await read(bucket, await bucket.upload_from_stream("f", pieces())) == LONG
