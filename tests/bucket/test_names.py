"""Revisions of a name, and downloads into a stream: what Motor's GridFSBucket does."""

import asyncio
import io
from typing import Any

import pytest

from couchmodel.bucket import Bucket, NoFile
from tests.bucket.files import LONG, names, read, upload


async def versions(bucket: Bucket, count: int = 3, name: str = "f") -> list[str]:
    return [await bucket.upload_from_stream(name, b"%d" % n) for n in range(count)]


async def by_name(bucket: Bucket, revision: int = -1, name: str = "f") -> bytes:
    return await (await bucket.open_download_stream_by_name(name, revision)).read()


async def test_by_name_gives_the_newest(bucket: Bucket) -> None:
    await versions(bucket)
    assert await by_name(bucket) == b"2"


@pytest.mark.parametrize(("revision", "content"), [(0, b"0"), (1, b"1"), (2, b"2"), (-1, b"2"), (-2, b"1"), (-3, b"0")])
async def test_by_name_every_revision(bucket: Bucket, revision: int, content: bytes) -> None:
    await versions(bucket)
    assert await by_name(bucket, revision) == content


@pytest.mark.parametrize("revision", [3, -4, 99])
async def test_by_name_missing_revision_is_nofile(bucket: Bucket, revision: int) -> None:
    await versions(bucket)
    with pytest.raises(NoFile, match=f"'f' has 3 revisions in 'fs', and no {revision}"):
        await by_name(bucket, revision)


async def test_by_name_missing_name_is_nofile(bucket: Bucket) -> None:
    with pytest.raises(NoFile):
        await by_name(bucket)


async def test_deleting_the_newest_uncovers_the_one_before(bucket: Bucket) -> None:
    ids = await versions(bucket)
    await bucket.delete(ids[-1])
    assert await by_name(bucket) == b"1"


async def test_revision_order_is_by_close_not_by_open(bucket: Bucket) -> None:
    first, second = bucket.open_upload_stream("f"), bucket.open_upload_stream("f")
    for file, content in ((second, b"closed first"), (first, b"closed last")):
        await file.write(content)
        await file.close()
    assert await by_name(bucket) == b"closed last"


async def test_by_name_stream_has_the_file_properties(bucket: Bucket) -> None:
    file_id = await bucket.upload_from_stream("f", LONG, metadata={"n": 1})
    file = await bucket.open_download_stream_by_name("f")
    assert (file._id, file.filename, file.length, file.metadata) == (file_id, "f", len(LONG), {"n": 1})


async def test_a_hundred_versions_in_quick_succession(bucket: Bucket) -> None:
    await versions(bucket, 100)
    assert [await by_name(bucket, n) for n in range(0, 100, 9)] == [b"%d" % n for n in range(0, 100, 9)]


async def test_same_millisecond_versions_keep_upload_order(bucket: Bucket) -> None:
    await versions(bucket, 30)
    files = await bucket.find({"filename": "f"}, sort="uploadDate").to_list()
    assert [await file.read() for file in files] == [b"%d" % n for n in range(30)]


async def test_rename_moves_the_name_only(bucket: Bucket) -> None:
    file = await upload(bucket, metadata={"n": 1})
    await bucket.rename(file._id, "g")
    renamed = await bucket.open_download_stream_by_name("g")
    assert {**renamed.members, "filename": "f"} == file.members
    assert await renamed.read() == LONG
    assert await names(bucket.find({"filename": "f"})) == []


async def test_rename_missing_is_nofile(bucket: Bucket) -> None:
    with pytest.raises(NoFile):
        await bucket.rename("nothing", "g")


async def test_rename_to_the_same_name_is_fine(bucket: Bucket) -> None:
    (file_id,) = await versions(bucket, 1)
    await bucket.rename(file_id, "f")
    assert await by_name(bucket) == b"0"


async def test_rename_one_revision_leaves_the_others(bucket: Bucket) -> None:
    ids = await versions(bucket)
    await bucket.rename(ids[1], "g")
    assert [await by_name(bucket, n) for n in range(2)] == [b"0", b"2"]


async def test_rename_joins_the_revisions_by_upload_date(bucket: Bucket) -> None:
    (early,) = await versions(bucket, 1, "g")
    await versions(bucket)
    await bucket.rename(early, "f")
    assert await by_name(bucket, 1) == b"0"
    assert (await bucket.open_download_stream_by_name("f", 0))._id == early


async def test_concurrent_renames_end_in_one_name(bucket: Bucket) -> None:
    (file_id,) = await versions(bucket, 1)
    await asyncio.gather(*(bucket.rename(file_id, f"name {n}") for n in range(8)))
    (name,) = await names(bucket.find())
    assert name.startswith("name ")
    assert await read(bucket, file_id) == b"0"


async def test_delete_by_name_takes_all_revisions(bucket: Bucket) -> None:
    await versions(bucket)
    await versions(bucket, 1, "g")
    await bucket.delete_by_name("f")
    assert await names(bucket.find()) == ["g"]
    with pytest.raises(NoFile):
        await bucket.delete_by_name("f")


async def test_rename_by_name_takes_all_revisions(bucket: Bucket) -> None:
    await versions(bucket)
    await bucket.rename_by_name("f", "g")
    assert await names(bucket.find()) == ["g"] * 3
    with pytest.raises(NoFile):
        await bucket.rename_by_name("f", "g")


# --- into a stream


class Target:
    """A destination that records its pieces, and fails at one of them."""

    def __init__(self, failing: int = -1) -> None:
        self.pieces: list[bytes] = []
        self._failing = failing

    def write(self, piece: bytes) -> None:
        if len(self.pieces) == self._failing:
            raise OSError("the destination is full")
        self.pieces.append(piece)


class AsyncTarget(Target):
    """A destination whose ``write`` is asynchronous."""

    async def write(self, piece: bytes) -> None:  # type: ignore[override]
        super().write(piece)


async def test_to_stream_writes_everything_and_leaves_it_open(bucket: Bucket, small_parts: int) -> None:
    target = io.BytesIO()
    await bucket.download_to_stream((await upload(bucket))._id, target)
    assert (target.getvalue(), target.closed) == (LONG, False)


async def test_to_stream_appends_at_the_current_position(bucket: Bucket) -> None:
    target = io.BytesIO(b"head")
    target.seek(4)
    await bucket.download_to_stream((await upload(bucket))._id, target)
    assert target.getvalue() == b"head" + LONG


async def test_to_stream_of_an_empty_file_writes_nothing(bucket: Bucket) -> None:
    target = Target()
    await bucket.download_to_stream((await upload(bucket, b""))._id, target)
    assert target.pieces == []


async def test_to_stream_missing_is_nofile_and_writes_nothing(bucket: Bucket) -> None:
    target = Target()
    for download in (bucket.download_to_stream, bucket.download_to_stream_by_name):
        with pytest.raises(NoFile):
            await download("nothing", target)
    assert target.pieces == []


async def test_to_stream_writes_piece_by_piece(bucket: Bucket, small_parts: int) -> None:
    target = Target()
    await bucket.download_to_stream((await upload(bucket, LONG[:-3]))._id, target)
    assert [len(piece) for piece in target.pieces] == [16] * 63 + [13]


async def test_to_stream_error_of_the_destination_propagates(bucket: Bucket, small_parts: int) -> None:
    file = await upload(bucket)
    target = Target(failing=7)
    with pytest.raises(OSError, match="the destination is full"):
        await bucket.download_to_stream(file._id, target)
    assert b"".join(target.pieces) == LONG[: 7 * 16]


async def test_to_stream_by_name_and_revision(bucket: Bucket) -> None:
    await versions(bucket)
    for revision, content in ((0, b"0"), (-1, b"2")):
        target = io.BytesIO()
        await bucket.download_to_stream_by_name("f", target, revision)
        assert target.getvalue() == content


async def test_to_stream_awaits_an_async_write(bucket: Bucket) -> None:
    target = AsyncTarget()
    await bucket.download_to_stream((await upload(bucket))._id, target)
    assert b"".join(target.pieces) == LONG


async def test_to_stream_of_a_text_file_is_refused(bucket: Bucket) -> None:
    target: Any = io.StringIO()
    with pytest.raises(TypeError):
        await bucket.download_to_stream((await upload(bucket))._id, target)
