"""Files that are found, and the cursor over them: what Motor's find and GridOutCursor do."""

import asyncio
import copy
import gc
import weakref
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from couchmodel.bucket import Bucket, GridOut, InvalidOperation
from couchmodel.engine import Database
from tests.bucket.files import names, upload

SONGS = [("c", 3, "Ada", 1840), ("a", 1, "Bob", 1900), ("b", 2, "Ada", 1850), ("a", 4, None, 1700)]


@pytest.fixture
async def songs(bucket: Bucket) -> Bucket:
    """A bucket of four files, of the names c, a, b, a and the lengths 3, 1, 2, 4."""
    for name, length, artist, year in SONGS:
        metadata = {"artist": artist, "year": year, "tags": [name, "all"]} if artist else None
        async with bucket.open_upload_stream(name, 100 + length, metadata) as file:
            await file.write(b"x" * length)
            await file.set("year", year)
    return bucket


async def lengths(files: Any) -> list[int]:
    return [file.length async for file in files]


async def test_find_everything(songs: Bucket) -> None:
    assert sorted(await lengths(songs.find())) == [1, 2, 3, 4]
    assert sorted(await lengths(songs.find({}))) == [1, 2, 3, 4]


async def test_a_cursor_that_is_given_up_needs_no_garbage_collector(songs: Bucket) -> None:
    cursor = songs.find({})
    await anext(cursor)
    given_up = weakref.ref(cursor)
    gc.disable()
    try:
        del cursor
        assert given_up() is None
    finally:
        gc.enable()


async def test_find_by_filename_gives_every_version(songs: Bucket) -> None:
    assert sorted(await lengths(songs.find({"filename": "a"}))) == [1, 4]


async def test_find_by_dotted_metadata(songs: Bucket) -> None:
    assert sorted(await lengths(songs.find({"metadata.artist": "Ada"}))) == [2, 3]
    await upload(songs, b"x" * 9, metadata={"artist": "Cleo", "year": 1850})
    assert await lengths(songs.find({"metadata": {"artist": "Cleo", "year": 1850}})) == [9]
    assert await lengths(songs.find({"metadata": {"artist": "Cleo"}})) == []
    assert await lengths(songs.find({"metadata": {"artist": "Cleo", "year": 1851}})) == []
    assert await lengths(songs.find({"metadata": {"artist": "Ada", "year": 1844}})) == []  # these have tags, too
    await upload(songs, b"x" * 11, metadata={"a.b": 1, "$c": {"d": None, "e": [1]}})
    assert await lengths(songs.find({"metadata.$c": {"d": None, "e": [1]}})) == [11]
    assert await lengths(songs.find({"metadata": {"a.b": 1, "$c": {"d": None, "e": [1]}}})) == [11]
    assert await lengths(songs.find({"metadata": {"a.b": 1, "$c": {"d": None, "e": [2]}}})) == []
    assert await lengths(songs.find({"metadata": None})) == [4]


OPERATORS: list[tuple[dict[str, Any], list[int]]] = [
    ({"length": {"$gt": 1, "$lt": 4}}, [2, 3]),
    ({"length": {"$in": [1, 4, 9]}}, [1, 4]),
    ({"filename": {"$ne": "a"}}, [2, 3]),
    ({"filename": {"$regex": "^[ab]$"}}, [1, 2, 4]),
    ({"metadata": {"$exists": False}}, [4]),
    ({"metadata.tags": {"$all": ["all", "c"]}}, [3]),
    ({"$or": [{"length": 1}, {"filename": "c"}]}, [1, 3]),
    ({"$and": [{"length": {"$gte": 2}}, {"filename": "a"}]}, [4]),
    ({"$nor": [{"length": 1}, {"filename": "c"}]}, [2, 4]),
    ({"filename": "a", "length": {"$not": {"$eq": 1}}}, [4]),
]


@pytest.mark.parametrize(("filter", "expected"), OPERATORS)
async def test_find_by_operators(songs: Bucket, filter: dict[str, Any], expected: list[int]) -> None:
    assert sorted(await lengths(songs.find(filter))) == expected


async def test_find_by_id(songs: Bucket) -> None:
    ids = [file._id async for file in songs.find()]
    assert [file._id async for file in songs.find({"_id": ids[2]})] == [ids[2]]
    assert sorted([file._id async for file in songs.find({"_id": {"$in": ids[:2]}})]) == sorted(ids[:2])


async def test_find_by_chunk_size_and_custom_field(songs: Bucket) -> None:
    assert await lengths(songs.find({"chunkSize": 103})) == [3]
    assert await lengths(songs.find({"year": 1900})) == [1]


async def test_find_by_upload_date(songs: Bucket) -> None:
    dates = sorted([file.upload_date async for file in songs.find()])
    assert await lengths(songs.find({"uploadDate": dates[1]})) == [1]
    elsewhere = dates[1].astimezone(timezone(timedelta(hours=5)))
    naive = dates[1].replace(tzinfo=None)
    for date in (dates[1], elsewhere, naive):
        assert sorted(await lengths(songs.find({"uploadDate": {"$gt": date}}))) == [2, 4]
    assert await lengths(songs.find({"uploadDate": {"$gt": datetime.now(UTC)}})) == []


async def test_find_sort_one_key(songs: Bucket) -> None:
    assert await lengths(songs.find().sort("length")) == [1, 2, 3, 4]
    assert await lengths(songs.find().sort("length", -1)) == [4, 3, 2, 1]
    assert await lengths(songs.find(sort=[("length", -1)], skip=1, limit=2)) == [3, 2]


async def test_find_sort_two_keys_mixed_direction(songs: Bucket) -> None:
    assert await lengths(songs.find().sort([("filename", 1), ("length", -1)])) == [4, 1, 2, 3]
    assert await lengths(songs.find().sort([("filename", -1), ("length", 1)])) == [3, 2, 1, 4]


async def test_find_sort_without_the_field_in_the_filter(songs: Bucket) -> None:
    assert await lengths(songs.find({"filename": "a"}).sort("metadata.artist")) == [4, 1]


async def test_find_sort_last_call_wins(songs: Bucket) -> None:
    assert await lengths(songs.find().sort("filename").sort("length", -1)) == [4, 3, 2, 1]


async def test_find_skip_and_limit(songs: Bucket) -> None:
    everything = await lengths(songs.find())
    assert await lengths(songs.find().skip(1).limit(2)) == everything[1:3]
    assert await lengths(songs.find(None, 2, 1)) == everything[2:3]
    assert await lengths(songs.find().sort("length").skip(1).limit(2)) == [2, 3]
    assert await lengths(songs.find().limit(0)) == everything
    assert await lengths(songs.find().skip(4)) == []


async def test_find_more_than_a_page(bucket: Bucket) -> None:
    for start in range(0, 120, 20):
        await asyncio.gather(*(bucket.upload_from_stream(f"{start + n:03}", b"") for n in range(20)))
    assert sorted(await names(bucket.find())) == [f"{n:03}" for n in range(120)]


async def test_find_batch_size(songs: Bucket) -> None:
    assert await lengths(songs.find(batch_size=1).batch_size(2).sort("length")) == [1, 2, 3, 4]


async def test_find_is_lazy_and_plain(bucket: Bucket) -> None:
    files = bucket.find()
    await bucket.upload_from_stream("f", b"")
    assert await names(files) == ["f"]


async def test_find_chaining_returns_the_cursor(bucket: Bucket) -> None:
    files = bucket.find()
    assert files.sort("length").skip(1).limit(2).batch_size(3) is files


@pytest.mark.parametrize("change", ["sort", "skip", "limit", "batch_size"])
async def test_find_chaining_after_start_is_refused(songs: Bucket, change: str) -> None:
    files = songs.find()
    await anext(files)
    with pytest.raises(InvalidOperation, match="the cursor has begun"):
        getattr(files, change)("length" if change == "sort" else 1)


BAD: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception]]] = [
    (("filename",), {}, TypeError),
    ((["filename"],), {}, TypeError),
    (({}, {"filename": 1}), {}, TypeError),
    (({},), {"projection": {"filename": 1}}, TypeError),
    (({},), {"skip": -1}, ValueError),
    (({},), {"limit": "2"}, TypeError),
    (({},), {"limit": -1}, ValueError),
    (({},), {"batch_size": -1}, ValueError),
    (({},), {"sort": 5}, TypeError),
    (({},), {"sort": [("length", 2)]}, ValueError),
    (({},), {"sort": []}, ValueError),
    (({},), {"sort": ["length"]}, TypeError),
]


@pytest.mark.parametrize(("arguments", "options", "error"), BAD)
async def test_find_bad_arguments(
    bucket: Bucket, arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        bucket.find(*arguments, **options)


# --- the cursor


async def test_cursor_next_and_end(songs: Bucket) -> None:
    files = songs.find().sort("length")
    assert [(await files.next()).length for _ in range(4)] == [1, 2, 3, 4]
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await files.next()


async def test_cursor_empty(bucket: Bucket) -> None:
    assert await bucket.find().to_list() == []
    assert not await bucket.find().fetch_next


async def test_cursor_items_can_be_read(songs: Bucket) -> None:
    assert [await file.read() async for file in songs.find().sort("length")] == [b"x" * n for n in range(1, 5)]


async def test_cursor_items_are_async_gridouts(songs: Bucket) -> None:
    async for file in songs.find():
        assert type(file) is GridOut
        assert await file.read(1) == b"x"


async def test_cursor_to_list(songs: Bucket) -> None:
    files = songs.find().sort("length")
    assert [file.length for file in await files.to_list(2)] == [1, 2]
    assert await files.to_list(0) == []
    assert [file.length for file in await files.to_list(None)] == [3, 4]
    assert await files.to_list() == []


async def test_cursor_to_list_gives_gridouts(songs: Bucket) -> None:
    assert {type(file) for file in await songs.find().to_list()} == {GridOut}


@pytest.mark.parametrize(("length", "error"), [(-1, ValueError), ("2", TypeError), (1.5, TypeError)])
async def test_cursor_to_list_bad_length(bucket: Bucket, length: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        await bucket.find().to_list(length)


async def test_cursor_rewind(songs: Bucket) -> None:
    files = songs.find().sort("length")
    await files.to_list(3)
    assert files.rewind() is files
    assert await lengths(files) == [1, 2, 3, 4]
    assert await lengths(files.rewind().limit(1)) == [1]


async def test_cursor_clone(songs: Bucket) -> None:
    files = songs.find({"length": {"$gt": 1}}).sort("length", -1).skip(1).limit(1)
    await files.to_list()
    for twin in (files.clone(), copy.copy(files), copy.deepcopy(files)):
        assert await lengths(twin) == [3]


async def test_cursor_each(songs: Bucket) -> None:
    calls: list[Any] = []
    await songs.find().sort("length").each(lambda file, error: calls.append((file and file.length, error)))
    assert calls == [(1, None), (2, None), (3, None), (4, None), (None, None)]


async def test_cursor_each_stops_on_false(songs: Bucket) -> None:
    calls: list[Any] = []

    def callback(file: Any, error: Any) -> bool:
        calls.append(file.length)
        return len(calls) < 2

    await songs.find().sort("length").each(callback)
    assert calls == [1, 2]


async def test_cursor_each_tells_an_error(songs: Bucket) -> None:
    calls: list[Any] = []
    await songs.find({"length": {"$nothing": 1}}).each(lambda file, error: calls.append((file, type(error).__name__)))
    assert calls == [(None, "BadRequestError")]


async def test_cursor_each_needs_a_callable(bucket: Bucket) -> None:
    callback: Any = "no function"
    with pytest.raises(TypeError):
        await bucket.find().each(callback)


async def test_cursor_fetch_next_and_next_object(songs: Bucket) -> None:
    files = songs.find().sort("length")
    assert files.next_object() is None
    found = []
    while await files.fetch_next:
        assert await files.fetch_next
        file = files.next_object()
        assert file is not None
        found.append(file.length)
    assert found == [1, 2, 3, 4]
    assert files.next_object() is None


async def test_cursor_close_and_alive(songs: Bucket) -> None:
    files = songs.find()
    assert files.alive
    await anext(files)
    await files.close()
    await files.close()
    assert not files.alive
    assert await files.to_list() == []
    over = songs.find()
    await over.to_list()
    assert not over.alive


async def test_cursor_async_with(songs: Bucket) -> None:
    async with songs.find().sort("length") as files:
        assert (await files.next()).length == 1
    assert not files.alive


async def test_cursor_distinct(songs: Bucket) -> None:
    assert sorted(await songs.find().distinct("filename")) == ["a", "b", "c"]
    assert sorted(await songs.find().distinct("metadata.tags")) == ["a", "all", "b", "c"]
    assert await songs.find({"length": 4}).distinct("metadata.tags") == []


async def test_cursor_options_are_not_supported(bucket: Bucket) -> None:
    for option in (bucket.find().add_option, bucket.find().remove_option):
        with pytest.raises(InvalidOperation):
            option(2)


async def test_files_are_found_without_the_right_to_create_an_index(
    bucket: Bucket, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket._storage, "_is_indexed", True)
    await upload(bucket, b"first", name="f")
    await upload(bucket, b"second", name="f")
    assert len(await database.indexes()) == 1
    assert await (await bucket.open_download_stream_by_name("f")).read() == b"second"


async def test_a_name_is_looked_up_by_an_index(bucket: Bucket, database: Database) -> None:
    await upload(bucket, b"first", name="f")
    selector = {"$and": [bucket._storage._scope(), {"bucket_file.filename": {"$eq": "f"}}]}
    assert (await database.explain(selector))["index"]["name"] == "files-by-name"
