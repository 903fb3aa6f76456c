"""Many uploads and downloads at once, some of them cancelled, and what is left afterwards."""

import asyncio
import random
import sqlite3
from pathlib import Path

import pytest

from couchmodel import Attachment, CouchModel, File, attachment, connect, using
from tests.model.attachments.pictures import PNG, Picture, failing, in_pieces

LARGE = PNG * 200


async def finish(tasks: list[asyncio.Task[None]], chance: random.Random) -> None:
    """Cancel half of the tasks at random moments, and wait for all."""
    for task in chance.sample(tasks, len(tasks) // 2):
        for _ in range(chance.randrange(20)):
            await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("way", ["assigned", "saved"])
async def test_uploads_are_whole_or_absent(pictures: type[Picture], way: str) -> None:
    chance = random.Random(way)
    contents = {f"pie-{n}": chance.randbytes(chance.choice([10, 10_000, 1_500_000])) for n in range(50)}

    async def store(id: str, content: bytes) -> None:
        pie = pictures(id=id)
        if way == "assigned":
            pie.image = File(in_pieces(content, 50_000), "image/png")
            await pie.save()
        else:
            await pie.save()
            await pie.image.save(in_pieces(content, 50_000), "image/png")

    await finish([asyncio.create_task(store(*each)) for each in contents.items()], chance)
    found = 0
    for pie in await pictures.get_many(list(contents)):
        if pie is not None and pie.image:
            found += 1
            assert await pie.image.fetch() == contents[pie.id]
    assert found >= 25


async def test_downloads_that_are_cancelled_disturb_no_others(pie: Picture) -> None:
    pie.image = File(LARGE)
    await pie.save()
    chance = random.Random(1)
    whole = []

    async def read() -> None:
        whole.append(b"".join([piece async for piece in pie.image.stream()]) == LARGE)

    await finish([asyncio.create_task(read()) for _ in range(50)], chance)
    assert len(whole) >= 25
    assert all(whole)
    assert await pie.image.fetch() == LARGE


async def test_a_stream_may_be_left_early(pie: Picture) -> None:
    pie.image = File(LARGE)
    await pie.save()
    for _ in range(200):
        stream = pie.image.stream()
        async for _ in stream:
            break
        await stream.aclose()  # type: ignore[attr-defined]
    assert await pie.image.read(0, 10) == LARGE[:10]


class Film(CouchModel):
    reel: Attachment = attachment()


async def test_what_is_replaced_deleted_or_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "store.db"

    def chunks() -> int:
        with sqlite3.connect(file) as connection:
            count: int = connection.execute("SELECT count(*) FROM chunk").fetchone()[0]
        connection.close()
        return count

    async with connect(f"sqlite:{file}") as couch:
        database = await couch.create("films")
        with using(database):
            for n in range(3):
                film = Film(id=f"film-{n}")
                film.reel = File(in_pieces(LARGE + bytes([n]), 50_000), "video/mp4")
                await film.save()
                await film.reel.save(in_pieces(LARGE + bytes([n, n])), "video/mp4")
                film.reel = File(failing(LARGE), "video/mp4")
                with pytest.raises(ValueError, match="the disk is gone"):
                    await film.save()
                with pytest.raises(ValueError, match="the disk is gone"):
                    await film.reel.save(failing(LARGE * 2), "video/mp4")
                film.reel = None
                await film.save()
                await film.delete()
            await database.compact()
    assert chunks() == 0
