"""Files that are being uploaded: what Motor's GridIn does."""

import asyncio
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from couchmodel.bucket import Bucket, GridIn, NoFile
from couchmodel.engine import Database
from tests.bucket.files import LONG, names, random_bytes, read, stored_ids, upload

READ_ONLY = ["_id", "id", "filename", "name", "content_type", "chunk_size", "closed", "length", "upload_date"]


async def test_gridin_opens_without_await_and_has_an_id(bucket: Bucket, database: Database) -> None:
    file = bucket.open_upload_stream("f")
    assert isinstance(file._id, str)
    assert file.id == file._id
    assert await stored_ids(database) == []


async def test_gridin_is_invisible_until_closed(bucket: Bucket, small_parts: int) -> None:
    file = bucket.open_upload_stream("f")
    await file.write(LONG)
    assert await names(bucket.find()) == []
    with pytest.raises(NoFile):
        await bucket.open_download_stream(file._id)
    await file.close()
    assert await names(bucket.find()) == ["f"]


async def test_gridin_close_twice_and_write_after_close(bucket: Bucket) -> None:
    file = bucket.open_upload_stream("f")
    await file.close()
    await file.close()
    with pytest.raises(ValueError, match="closed"):
        await file.write(b"x")


async def test_gridin_never_written_closes_to_an_empty_file(bucket: Bucket) -> None:
    file = bucket.open_upload_stream("f")
    await file.close()
    assert (file.length, await read(bucket, file._id)) == (0, b"")


async def test_gridin_many_odd_writes_concatenate(bucket: Bucket, small_parts: int) -> None:
    file = bucket.open_upload_stream("f")
    position = 0
    for size in (0, 1, 2, 3, 5, 7, 64, 11, 0, 128, 200, 63, 65, 1):
        await file.write(LONG[position : position + size])
        position += size
    await file.close()
    assert await read(bucket, file._id) == LONG[:position]


async def test_gridin_large_prechunked_writes(database: Database) -> None:
    content = random_bytes(6_000_000)
    async with Bucket(database).open_upload_stream("f") as file:
        for start in range(0, len(content), 255 * 1024):
            await file.write(content[start : start + 255 * 1024])
    assert await read(Bucket(database), file._id) == content


async def test_gridin_writelines(bucket: Bucket) -> None:
    async with bucket.open_upload_stream("f") as file:
        await file.writelines([b"one\n", io.BytesIO(b"two\n"), b"three"])
    assert await read(bucket, file._id) == b"one\ntwo\nthree"


async def test_gridin_write_file_like_between_bytes(bucket: Bucket) -> None:
    async with bucket.open_upload_stream("f") as file:
        await file.write(b"<")
        await file.write(io.BytesIO(LONG))
        await file.write(b">")
    assert await read(bucket, file._id) == b"<" + LONG + b">"


async def test_gridin_write_a_gridout(bucket: Bucket, small_parts: int) -> None:
    async with bucket.open_upload_stream("g") as file:
        await file.write(await upload(bucket))
    assert await read(bucket, file._id) == LONG


@pytest.mark.parametrize("data", [None, 5, "text", io.StringIO("text"), [b"x"]])
async def test_gridin_write_wrong_type_is_typeerror(bucket: Bucket, data: Any) -> None:
    with pytest.raises(TypeError):
        await bucket.open_upload_stream("f").write(data)


async def test_gridin_write_text_with_encoding_set(bucket: Bucket) -> None:
    async with bucket.open_upload_stream("f") as file:
        await file.set("encoding", "utf-16-le")
        await file.write("é")
    assert await read(bucket, file._id) == b"\xe9\x00"


async def test_gridin_abort_discards(bucket: Bucket) -> None:
    file = bucket.open_upload_stream("f")
    await file.write(LONG)
    await file.abort()
    assert file.closed
    assert await names(bucket.find()) == []


async def test_gridin_abort_leaves_nothing_stored(bucket: Bucket, database: Database, small_parts: int) -> None:
    file = bucket.open_upload_stream("f")
    await file.write(LONG)
    await file.abort()
    assert await stored_ids(database) == []


async def test_gridin_abort_then_close_makes_no_file(bucket: Bucket) -> None:
    file = bucket.open_upload_stream("f")
    await file.write(LONG)
    await file.abort()
    await file.close()
    assert await names(bucket.find()) == []


async def test_gridin_abort_before_any_write(bucket: Bucket, database: Database) -> None:
    await bucket.open_upload_stream("f").abort()
    assert await stored_ids(database) == []


async def test_gridin_abort_after_close_removes_the_file(bucket: Bucket, database: Database, small_parts: int) -> None:
    file = bucket.open_upload_stream("f")
    await file.write(LONG)
    await file.close()
    await file.abort()
    assert await stored_ids(database) == []


async def test_gridin_async_with_closes(bucket: Bucket) -> None:
    async with bucket.open_upload_stream("f") as file:
        await file.write(LONG)
    assert file.closed
    assert await read(bucket, file._id) == LONG


async def fail_within(file: GridIn) -> None:
    async with file:
        await file.write(LONG)
        raise ZeroDivisionError


async def test_gridin_async_with_exception_makes_no_file(bucket: Bucket, small_parts: int) -> None:
    file = bucket.open_upload_stream("f")
    with pytest.raises(ZeroDivisionError):
        await fail_within(file)
    assert file.closed
    assert await names(bucket.find()) == []


async def test_gridin_async_with_exception_leaves_nothing_stored(
    bucket: Bucket, database: Database, small_parts: int
) -> None:
    with pytest.raises(ZeroDivisionError):
        await fail_within(bucket.open_upload_stream("f"))
    assert await stored_ids(database) == []


async def test_gridin_accepts_the_documented_async_with_await(bucket: Bucket) -> None:
    async with await bucket.open_upload_stream("f") as file:
        await file.write(b"hello")
    assert await read(bucket, file._id) == b"hello"


async def test_gridin_length_and_date_only_after_close(bucket: Bucket) -> None:
    file = bucket.open_upload_stream("f")
    await file.write(b"hello")
    for name in ("length", "upload_date"):
        with pytest.raises(AttributeError, match="after the file was closed"):
            getattr(file, name)
    await file.close()
    assert file.length == 5
    stored = await bucket.open_download_stream(file._id)
    assert file.upload_date == stored.upload_date


@pytest.mark.parametrize("name", READ_ONLY)
async def test_gridin_read_only_properties(bucket: Bucket, name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(bucket.open_upload_stream("f"), name, "x")


async def test_gridin_unknown_attribute(bucket: Bucket) -> None:
    with pytest.raises(AttributeError, match=r"set it with `await file.set\('artist'"):
        _ = bucket.open_upload_stream("f").artist


@pytest.mark.parametrize("metadata", [[1], "artist", 7])
async def test_metadata_that_are_no_mapping_are_refused(bucket: Bucket, metadata: Any) -> None:
    with pytest.raises(TypeError, match="metadata are a dictionary"):
        _ = bucket.open_upload_stream("a", metadata=metadata)
    file = bucket.open_upload_stream("a")
    with pytest.raises(TypeError, match="metadata are a dictionary"):
        await file.set("metadata", metadata)
    await file.abort()


async def test_gridin_metadata_attribute(bucket: Bucket) -> None:
    assert bucket.open_upload_stream("f", metadata={"n": 1}).metadata == {"n": 1}
    with pytest.raises(AttributeError):
        _ = bucket.open_upload_stream("f").metadata


async def test_gridin_set_before_close_is_stored(bucket: Bucket) -> None:
    async with bucket.open_upload_stream("f") as file:
        await file.set("artist", "Ada")
        await file.set("content_type", "audio/ogg")
        assert (file.artist, file.content_type) == ("Ada", "audio/ogg")
    stored = await bucket.open_download_stream(file._id)
    assert (stored.artist, stored.content_type, stored.members["contentType"]) == ("Ada", "audio/ogg", "audio/ogg")


async def test_gridin_set_after_close_updates_the_stored_file(bucket: Bucket) -> None:
    async with bucket.open_upload_stream("f") as file:
        await file.write(b"hello")
    await file.set("artist", "Ada")
    stored = await bucket.open_download_stream(file._id)
    assert (stored.artist, file.artist, await stored.read()) == ("Ada", "Ada", b"hello")


@pytest.mark.parametrize("name", ["_id", "length", "chunk_size", "upload_date", "chunkSize", "uploadDate"])
async def test_gridin_set_of_a_read_only_name_is_attributeerror(bucket: Bucket, name: str) -> None:
    file = bucket.open_upload_stream("f")
    with pytest.raises(AttributeError):
        await file.set(name, 1)
    await file.close()
    with pytest.raises(AttributeError):
        await file.set(name, 1)


async def test_gridin_file_protocol(bucket: Bucket) -> None:
    file = bucket.open_upload_stream("f")
    assert (file.readable(), file.seekable(), file.writeable(), file.name) == (False, False, True, "f")
    with pytest.raises(io.UnsupportedOperation):
        file.read()


async def test_gridin_two_streams_at_once(bucket: Bucket, small_parts: int) -> None:
    files = [bucket.open_upload_stream("f"), bucket.open_upload_stream("f")]
    for start in range(0, len(LONG), 50):
        await asyncio.gather(*(file.write(bytes([n]) + LONG[start : start + 50]) for n, file in enumerate(files)))
    await asyncio.gather(*(file.close() for file in files))
    for n, file in enumerate(files):
        pieces = [bytes([n]) + LONG[start : start + 50] for start in range(0, len(LONG), 50)]
        assert await read(bucket, file._id) == b"".join(pieces)


async def test_upload_date_is_now_in_utc(bucket: Bucket) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    file = await upload(bucket)
    assert before <= file.upload_date <= datetime.now(UTC) + timedelta(seconds=1)
    assert file.upload_date.utcoffset() == timedelta(0)
