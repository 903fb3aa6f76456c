"""Transfers that break off, are resumed, cancelled or swept, and what is left of them."""

import asyncio
import io
import random
import secrets
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from couchmodel._wire.messages import Request, Response
from couchmodel.bucket import Bucket, CorruptGridFile, FileExists, NoFile
from couchmodel.engine import CouchDB, Database, Session
from couchmodel.errors import ConfigurationError, DocumentError, ProtocolError, ResponseError
from tests.bucket.files import LONG, Source, names, random_bytes, read, stored_ids, upload

Send = Callable[[Session, Request], Any]
AT_ONCE = timedelta(0)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """The requests that are sent from here on."""
    seen: list[Request] = []
    send = Session.send

    async def spy(session: Session, request: Request) -> Response:
        seen.append(request)
        return await send(session, request)

    monkeypatch.setattr(Session, "send", spy)
    return seen


def break_off(monkeypatch: pytest.MonkeyPatch, method: str, count: int, *, carried_out: bool) -> None:
    """Make the next ``count`` requests for parts fail, whether or not they are carried out."""
    left = count
    send = Session.send

    async def broken(session: Session, request: Request) -> Response:
        nonlocal left
        if request.method != method or "/part/" not in request.path[1] or not left:
            return await send(session, request)
        left -= 1
        if carried_out:
            await send(session, request)
        raise ProtocolError("the connection broke off")

    monkeypatch.setattr(Session, "send", broken)


# --- requests that fail


@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_part_is_sent_again_if_no_answer_comes(
    bucket: Bucket, database: Database, small_parts: int, monkeypatch: pytest.MonkeyPatch, carried_out: bool
) -> None:
    break_off(monkeypatch, "PUT", 2, carried_out=carried_out)
    assert await read(bucket, await bucket.upload_from_stream("f", LONG)) == LONG
    assert len(await stored_ids(database)) == 1 + len(LONG) // small_parts


async def test_an_upload_that_cannot_be_sent_leaves_nothing(
    bucket: Bucket, database: Database, small_parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_off(monkeypatch, "PUT", 30, carried_out=False)
    with pytest.raises(ProtocolError, match="broke off"):
        await bucket.upload_from_stream("f", LONG)
    assert await stored_ids(database) == []


@pytest.mark.parametrize("length", [10, 1024])
async def test_a_file_whose_answer_was_lost_is_stored_once(
    bucket: Bucket, database: Database, small_parts: int, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    send = Session.send
    errors = [ProtocolError("the answer was lost")]

    async def lossy(session: Session, request: Request) -> Response:
        response = await send(session, request)
        if request.method == "PUT" and "/file/" in request.path[1] and errors:
            raise errors.pop()
        return response

    monkeypatch.setattr(Session, "send", lossy)
    assert await read(bucket, await bucket.upload_from_stream("f", LONG[:length])) == LONG[:length]
    assert await names(bucket.find()) == ["f"]


@pytest.mark.parametrize("length", [10, 1024])
async def test_bytes_that_change_on_their_way_are_refused(
    bucket: Bucket, database: Database, small_parts: int, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    send = Session.send

    async def damaging(session: Session, request: Request) -> Response:
        if request.method == "PUT" and isinstance(request.body, bytes):
            request.body = request.body.replace(LONG[3:8], b"other")
        return await send(session, request)

    monkeypatch.setattr(Session, "send", damaging)
    with pytest.raises(ResponseError):  # CouchDB does not say why
        await bucket.upload_from_stream("f", LONG[:length])
    assert await stored_ids(database) == []


# --- resumed transfers


async def test_an_upload_is_resumed_where_it_broke_off(
    bucket: Bucket, database: Database, small_parts: int, requests: list[Request]
) -> None:
    with pytest.raises(OSError, match="broke off"):
        await bucket.upload_from_stream("f", Source(LONG, 700), resume="tape 1")
    assert await names(bucket.find()) == []
    kept = len(await stored_ids(database))
    assert kept == 700 // small_parts
    requests.clear()
    file_id = await bucket.upload_from_stream("f", LONG, resume="tape 1")
    sent = [request for request in requests if request.method == "PUT" and "/part/" in request.path[1]]
    assert len(sent) == len(LONG) // small_parts - kept
    assert await read(bucket, file_id) == LONG


async def test_an_upload_is_not_resumed_with_another_content(
    bucket: Bucket, database: Database, small_parts: int
) -> None:
    with pytest.raises(OSError, match="broke off"):
        await bucket.upload_from_stream("f", Source(LONG, 700), resume="tape 1")
    other = b"x" * 100 + LONG[100:]
    with pytest.raises(ConfigurationError, match=r"bytes 0 to 64 .* give it another name"):
        await bucket.upload_from_stream("f", other, resume="tape 1")


@pytest.mark.parametrize("length", [10, 1024])
async def test_a_named_upload_that_is_repeated_stores_nothing(
    bucket: Bucket, database: Database, small_parts: int, length: int
) -> None:
    content = LONG[:length]
    file_id = await bucket.upload_from_stream("f", content, resume="tape 1")
    before = await stored_ids(database)
    assert await bucket.upload_from_stream("f", content, resume="tape 1") == file_id
    with pytest.raises((ConfigurationError, FileExists)):
        await bucket.upload_from_stream("f", b"x" + content, resume="tape 1")
    assert await read(bucket, file_id) == content
    assert await stored_ids(database) == before


async def test_a_resumed_upload_may_have_become_small(bucket: Bucket, database: Database, small_parts: int) -> None:
    with pytest.raises(OSError, match="broke off"):
        await bucket.upload_from_stream("f", Source(LONG, 700), resume="tape 1")
    assert await read(bucket, await bucket.upload_from_stream("f", b"tiny", resume="tape 1")) == b"tiny"
    assert len(await stored_ids(database)) == 1


async def test_a_download_is_resumed_where_it_broke_off(bucket: Bucket, small_parts: int, tmp_path: Path) -> None:
    file = await upload(bucket)
    path = tmp_path / "file"
    path.write_bytes(LONG[:333])
    with path.open("ab") as destination:
        await bucket.download_to_stream(file._id, destination, start=333)
    assert path.read_bytes() == LONG
    target = io.BytesIO()
    await bucket.download_to_stream(file._id, target, start=len(LONG))
    assert target.getvalue() == b""


async def test_progress_is_told_both_ways(bucket: Bucket, small_parts: int) -> None:
    calls: list[tuple[int, int | None]] = []
    file_id = await bucket.upload_from_stream("f", LONG[:200], progress=lambda *call: calls.append(call))
    assert calls[-2:] == [(200, None), (200, 200)]
    assert len(calls) == 5
    calls.clear()
    await bucket.download_to_stream(file_id, io.BytesIO(), progress=lambda *call: calls.append(call))
    assert calls[0] == (16, 200)
    assert calls[-1] == (200, 200)


# --- sweeps


async def leave_parts(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the parts of an upload as a program does that is killed."""
    with monkeypatch.context() as patch:
        patch.setattr("couchmodel.bucket.content_writer.PROCESS", "another process")
        file = bucket.open_upload_stream("f")
        await file.write(LONG)
        await file._writer.stop()


async def test_a_sweep_removes_what_a_killed_upload_left(
    bucket: Bucket, database: Database, small_parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = await upload(bucket)
    whole = await stored_ids(database)
    await leave_parts(bucket, monkeypatch)
    assert await bucket.sweep() == 0
    assert await bucket.sweep(AT_ONCE) == len(LONG) // small_parts - 1
    assert await stored_ids(database) == whole
    assert await file.read() == LONG


async def test_a_sweep_removes_what_this_process_has_given_up(
    bucket: Bucket, database: Database, small_parts: int
) -> None:
    file = bucket.open_upload_stream("f")
    await file.write(LONG)
    await file._writer.stop()
    assert await bucket.sweep() > 0
    assert await stored_ids(database) == []


async def test_a_sweep_leaves_running_uploads_of_this_process(bucket: Bucket, small_parts: int) -> None:
    file = bucket.open_upload_stream("f")
    await file.write(LONG)
    assert await bucket.sweep(AT_ONCE) == 0
    await file.close()
    assert await read(bucket, file._id) == LONG


async def test_a_sweep_removes_what_a_killed_deletion_left(
    bucket: Bucket, database: Database, small_parts: int
) -> None:
    file_id = await bucket.upload_from_stream("f", LONG)
    (document,) = [await database[id] for id in await stored_ids(database) if "/file/" in id]
    await document.delete()
    assert await bucket.sweep() == len(LONG) // small_parts
    assert await stored_ids(database) == []
    with pytest.raises(NoFile):
        await bucket.delete(file_id)


async def test_a_sweep_removes_the_parts_of_an_upload_whose_id_another_file_has(
    bucket: Bucket, database: Database, small_parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = bucket.open_upload_stream_with_id("mine", "slow")
    await slow.write(LONG)
    await slow._writer.stop()
    await bucket.upload_from_stream_with_id("mine", "fast", LONG)
    assert await bucket.sweep() > 0
    assert await read(bucket, "mine") == LONG
    assert len(await stored_ids(database)) == 1 + len(LONG) // small_parts


async def test_an_upload_that_was_swept_is_told_so_and_makes_no_file(
    bucket: Bucket, database: Database, small_parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = bucket.open_upload_stream("f")
    await file.write(LONG)
    monkeypatch.setattr("couchmodel.bucket.sweep.running_uploads", set)
    await bucket.sweep()
    with pytest.raises(CorruptGridFile, match="removed by a sweep: upload it again"):
        await file.close()
    assert await stored_ids(database) == []


async def test_claims_of_a_killed_sweep_are_released(bucket: Bucket, database: Database) -> None:
    assert await bucket._storage.claim("mine", "upload") is not None
    with pytest.raises(CorruptGridFile, match="are being removed by a sweep"):
        await bucket.upload_from_stream_with_id("mine", "f", b"x")
    assert await names(bucket.find()) == []
    assert await bucket.sweep(AT_ONCE) == 0
    assert await stored_ids(database) == []


async def test_a_sweep_of_many_uploads(bucket: Bucket, database: Database, small_parts: int) -> None:
    files = [bucket.open_upload_stream_with_id(f"{n:03}/é", "f") for n in range(110)]
    for file in files:
        await file.write(LONG[:130])
    await asyncio.gather(*(file._writer.stop() for file in files[5:]))
    assert await bucket.sweep() == 210
    await asyncio.gather(*(file.close() for file in files[:5]))
    assert len(await names(bucket.find())) == 5


# --- cancellation


async def test_transfers_that_are_cancelled_at_random_leave_whole_files_or_nothing(
    bucket: Bucket, database: Database, small_parts: int
) -> None:
    generator = random.Random(7)
    contents = [random_bytes(generator.choice([0, 10, 64, 100, 1000, 3000])) for _ in range(24)]
    before = await bucket.upload_from_stream("before", LONG)

    async def transfer(number: int) -> None:
        async with bucket.open_upload_stream_with_id(f"{number}", "f") as file:
            for start in range(0, len(contents[number]), 50):
                await file.write(contents[number][start : start + 50])
                assert await read(bucket, before) == LONG

    tasks = [asyncio.create_task(transfer(number)) for number in range(24)]
    for task in tasks[::2]:
        await asyncio.sleep(generator.random() / 50)
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    stored = {file._id for file in await bucket.find({"filename": "f"}).to_list()}
    assert stored == {f"{number}" for number, result in enumerate(results) if result is None}
    for file_id in stored:
        assert await read(bucket, file_id) == contents[int(file_id)]
    await bucket.sweep()
    for file_id in (before, *stored):
        await bucket.delete(file_id)
    assert await stored_ids(database) == []


@pytest.mark.parametrize("turns", range(0, 60, 4))
async def test_an_upload_that_is_cancelled_at_any_turn_is_whole_or_absent(
    bucket: Bucket, database: Database, small_parts: int, turns: int
) -> None:
    task = asyncio.create_task(bucket.upload_from_stream_with_id("mine", "f", LONG))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    if task.cancelled():
        await bucket.sweep()
        assert await stored_ids(database) == []
    else:
        assert await read(bucket, "mine") == LONG


async def test_a_read_that_is_cancelled_can_be_repeated(bucket: Bucket, small_parts: int) -> None:
    file = await upload(bucket)
    for turns in range(12):
        position = file.tell()
        task = asyncio.create_task(file.read(200))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(result, bytes):
            assert result == LONG[position : position + 200]
        file.seek(position)
        assert await file.read(10) == LONG[position : position + 10]


# --- metadata of a model


class PhotoMeta(BaseModel):
    camera: str
    iso: int = 100


async def test_metadata_are_a_model(database: Database) -> None:
    photos = Bucket[PhotoMeta](database, "photos")
    file_id = await photos.upload_from_stream("pie.jpg", b"x", metadata=PhotoMeta(camera="Box"))
    await photos.upload_from_stream("cake.jpg", b"x", metadata={"camera": "Reflex", "iso": 400})
    assert (await photos.open_download_stream(file_id)).metadata == PhotoMeta(camera="Box", iso=100)
    (fast,) = await photos.find({"metadata.iso": {"$gt": 100}}).to_list()
    assert fast.metadata == PhotoMeta(camera="Reflex", iso=400)
    async with photos.open_upload_stream("f") as file:
        await file.set("metadata", {"camera": "Later"})
    assert file.metadata == PhotoMeta(camera="Later")


class Photos(Bucket[PhotoMeta]):
    """A bucket of a class of its own."""


async def test_a_subclass_has_metadata_of_a_model(database: Database) -> None:
    photos = Photos(database, "photos")
    file_id = await photos.upload_from_stream("pie.jpg", b"x", metadata=PhotoMeta(camera="Box"))
    assert (await photos.open_download_stream(file_id)).metadata == PhotoMeta(camera="Box", iso=100)


async def test_a_partitioned_database_has_buckets(couch: CouchDB, small_parts: int) -> None:
    database = await couch.create(f"test-{secrets.token_hex(6)}", partitioned=True)
    try:
        bucket = Bucket(database)
        file_id = await bucket.upload_from_stream("f", LONG)
        assert await read(bucket, file_id) == LONG
        assert await (await bucket.open_download_stream_by_name("f")).read() == LONG
        await bucket.rename(file_id, "g")
        assert await names(bucket.find({"filename": "g"})) == ["g"]
        await bucket.delete(file_id)
        assert await stored_ids(database) == []
    finally:
        await database.delete()


async def test_metadata_that_do_not_fit_are_refused(database: Database) -> None:
    photos = Bucket[PhotoMeta](database, "photos")
    with pytest.raises(DocumentError, match="the metadata do not fit PhotoMeta"):
        _ = photos.open_upload_stream("f", metadata={"iso": 400})
    file_id = await Bucket(database, "photos").upload_from_stream("f", b"x", metadata={"iso": 400})
    with pytest.raises(DocumentError, match=f"the metadata of the file '{file_id}' do not fit PhotoMeta"):
        _ = (await photos.open_download_stream(file_id)).metadata
