"""Files that are assigned to a document and saved with it."""

import asyncio
import io
import secrets
from pathlib import Path
from typing import Any

import pytest

from couchmodel import AttachmentError, ConflictError, Connection, File, NotFoundError, Repository
from couchmodel._model.schema.attachments import AttachmentLabel
from couchmodel.engine import Database
from tests.model.attachments.pictures import JPEG, PNG, TEXT, Exif, Picture, failing, in_pieces

LARGE = PNG * 200


async def test_fields_and_files_are_one_revision(pictures: type[Picture], tmp_path: Path) -> None:
    (tmp_path / "pie.png").write_bytes(PNG)
    pie = pictures(id="pie", title="Apple pie")
    pie.image = File(tmp_path / "pie.png")
    pie.notes = TEXT
    pie.exif = Exif(camera="Box", iso=100)
    pie.sizes["small"] = File(PNG[:100], "image/png")
    await pie.save()
    assert (pie.rev or "").startswith("1-")
    again = await pictures.get("pie")
    assert (again.title, again.rev) == ("Apple pie", pie.rev)
    assert (again.image.content_type, again.image.length) == ("image/png", len(PNG))
    assert await again.image.fetch() == PNG
    assert await again.notes.fetch() == TEXT
    assert await again.exif.fetch() == Exif(camera="Box", iso=100)
    assert {name: await each.fetch() for name, each in again.sizes.items()} == {"small": PNG[:100]}


@pytest.mark.parametrize("form", ["path", "file", "iterator", "bytes"])
async def test_large_files_are_streamed_with_their_document(pictures: type[Picture], form: str, tmp_path: Path) -> None:
    (tmp_path / "pie.png").write_bytes(LARGE)
    forms: dict[str, Any] = {
        "path": tmp_path / "pie.png",
        "file": io.BytesIO(LARGE),
        "iterator": in_pieces(LARGE),
        "bytes": LARGE,
    }
    pie = pictures(id="pie")
    pie.image = File(forms[form])
    await pie.save()
    assert (pie.image.content_type, pie.image.length, pie.image.revpos) == ("image/png", len(LARGE), 1)
    again = await pictures.get("pie")
    assert (again.image.digest, await again.image.fetch()) == (pie.image.digest, LARGE)


async def test_files_that_are_not_touched_stay(pictures: type[Picture]) -> None:
    pie = pictures(id="pie")
    pie.image, pie.notes = File(PNG), TEXT
    await pie.save()
    pie.notes = "short"
    await pie.save()
    pie.stars = 5
    await pie.save()
    again = await pictures.get("pie")
    assert (again.stars, again.image.revpos, again.notes.revpos) == (5, 1, 2)
    assert (await again.image.fetch(), await again.notes.fetch()) == (PNG, "short")


async def test_none_removes_a_file_with_the_next_save(pictures: type[Picture], database: Database) -> None:
    pie = pictures(id="pie")
    pie.image, pie.notes, pie.sizes["s"] = File(PNG), TEXT, File(PNG)
    await pie.save()
    pie.image = None
    del pie.sizes["s"]
    assert (bool(pie.image), list(pie.sizes)) == (False, [])
    assert await pie.image.exists()
    await pie.save()
    assert list((await database.get("pie"))["_attachments"]) == ["notes"]
    pie.notes = None
    await pie.save()
    assert "_attachments" not in await database.get("pie")


async def test_nothing_is_sent_when_there_is_nothing_to_remove(pie: Picture) -> None:
    rev = pie.rev
    pie.image = None
    assert not pie.is_changed
    await pie.save()
    assert pie.rev == rev


async def test_an_assigned_file_is_an_unsaved_change(pie: Picture) -> None:
    pie.image = File(PNG)
    pie.sizes["s"] = File(PNG)
    assert pie.is_changed
    assert pie.changed_fields() == {"image", "sizes"}
    pie.rollback()
    assert (pie.is_changed, bool(pie.image), list(pie.sizes)) == (False, False, [])


async def test_what_is_assigned_is_read_before_it_is_saved(pie: Picture) -> None:
    pie.image, pie.notes = File(in_pieces()), TEXT
    assert await pie.image.fetch() == PNG
    assert await pie.image.read(8, 16) == PNG[8:16]
    assert await pie.notes.fetch() == TEXT
    await pie.save()
    assert (await pie.image.fetch(), await pie.notes.fetch()) == (PNG, TEXT)


async def test_a_source_that_fails_stores_nothing(pictures: type[Picture]) -> None:
    pie = pictures(id="pie")
    pie.notes, pie.image = TEXT, File(failing(), "image/png")
    with pytest.raises(AttachmentError, match=r"attachment 'image' of 'pie' could not be read after byte 10,248"):
        await pie.save()
    assert await pictures.get_or_none("pie") is None
    pie.image = None
    await pie.save()
    assert await (await pictures.get("pie")).notes.fetch() == TEXT


@pytest.mark.parametrize("change", [-1, 1])
async def test_a_file_that_changes_while_it_is_sent_stores_nothing(
    pictures: type[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: int
) -> None:
    path = tmp_path / "pie.png"
    path.write_bytes(LARGE)
    pie = pictures(id="pie")
    pie.image = File(path)
    find_type = File.find_type

    async def write(file: File, label: AttachmentLabel) -> None:
        await find_type(file, label)
        path.write_bytes((LARGE + b"!")[: len(LARGE) + change])

    monkeypatch.setattr(File, "find_type", write)
    with pytest.raises(AttachmentError, match=r"'image' of 'pie' .* 2,049,600 bytes"):
        await pie.save()
    assert await pictures.get_or_none("pie") is None


async def test_a_file_that_is_not_there_is_named(pictures: type[Picture], tmp_path: Path) -> None:
    pie = pictures(id="pie")
    pie.image = File(tmp_path / "none.png")
    with pytest.raises(AttachmentError, match=r"'image' of 'pie'.*none.png"):
        await pie.save()


async def test_a_conflict_keeps_what_was_assigned(pie: Picture, pictures: type[Picture]) -> None:
    other = await pictures.get("pie")
    other.image = File(JPEG)
    await other.save()
    pie.image = File(in_pieces())
    with pytest.raises(ConflictError) as caught:
        await pie.save()
    assert caught.value.fields == {"image"}
    assert await (await pictures.get("pie")).image.fetch() == JPEG
    await caught.value.merged(prefer="mine").save()
    assert await (await pictures.get("pie")).image.fetch() == PNG


async def test_a_conflict_may_take_the_other_file(pie: Picture, pictures: type[Picture]) -> None:
    other = await pictures.get("pie")
    other.image = File(JPEG)
    await other.save()
    pie.image, pie.stars = File(PNG), 1
    with pytest.raises(ConflictError) as caught:
        await pie.save()
    merged = caught.value.merged(prefer="theirs")
    await merged.save()
    assert (merged.stars, await merged.image.fetch()) == (1, JPEG)


async def test_edits_merge_files_that_one_side_has_changed(pie: Picture, pictures: type[Picture]) -> None:
    pie.notes = "old"
    await pie.save()
    async with pictures.edit("pie") as edited:
        edited.image, edited.stars = File(in_pieces()), 2
        other = await pictures.get("pie")
        other.notes, other.stars = "new", 1
        await other.save()
    again = await pictures.get("pie")
    assert (again.stars, await again.notes.fetch(), await again.image.fetch()) == (3, "new", PNG)


async def test_a_file_that_both_sides_have_changed_is_a_clash(pie: Picture, pictures: type[Picture]) -> None:
    async with pictures.edit("pie") as edited:
        edited.sizes["s"] = File(PNG)
        other = await pictures.get("pie")
        other.sizes["l"] = File(JPEG)
        await other.save()
    assert list((await pictures.get("pie")).sizes) == ["l", "s"]
    editing = pictures.edit("pie")
    edited = await editing.__aenter__()
    edited.sizes["s"] = File(JPEG)
    other = await pictures.get("pie")
    del other.sizes["s"]
    await other.save()
    with pytest.raises(ConflictError) as caught:
        await editing.__aexit__(None, None, None)
    assert caught.value.fields == {"sizes"}


async def test_what_is_assigned_during_a_save_is_kept(pie: Picture, pictures: type[Picture]) -> None:
    pie.image = File(LARGE)
    saving = asyncio.create_task(pie.save())
    while pie.rev == (await pictures.get("pie")).rev and not saving.done():
        pie.notes = "later"
        await asyncio.sleep(0)
    await saving
    assert await pie.notes.fetch() == "later"
    await pie.save()
    assert await (await pictures.get("pie")).notes.fetch() == "later"


async def test_a_cancelled_save_stores_all_or_nothing(pictures: type[Picture]) -> None:
    for steps in range(0, 60, 3):
        pie = pictures(id=f"pie-{steps}")
        pie.image, pie.notes = File(in_pieces(LARGE, 50_000)), TEXT
        saving = asyncio.create_task(pie.save())
        for _ in range(steps):
            await asyncio.sleep(0)
        saving.cancel()
        await asyncio.wait([saving])
        stored = await pictures.get_or_none(pie.id)
        if stored is not None:
            assert (await stored.image.fetch(), await stored.notes.fetch()) == (LARGE, TEXT)


async def test_a_copy_takes_its_files_along(pie: Picture, pictures: type[Picture], couch: Connection) -> None:
    pie.image, pie.notes, pie.sizes["s"] = File(LARGE), TEXT, File(PNG)
    await pie.save()
    pie = await pictures.get("pie")
    cake = pie.model_copy(update={"id": "cake", "rev": None})
    cake.notes = "changed"
    del cake.sizes["s"]
    await cake.save()
    again = await pictures.get("cake")
    assert (again.image.revpos, list(again.sizes), await again.notes.fetch()) == (1, [], "changed")
    assert await again.image.fetch() == LARGE
    await pie.image.save(JPEG)
    other = Repository(Picture, await couch.create(f"test-{secrets.token_hex(6)}"))
    await other.save(again.model_copy(update={"rev": None}))
    assert await (await other.get("cake")).image.fetch() == LARGE
    await other.database.delete()


async def test_a_deleted_document_has_no_files(pictures: type[Picture]) -> None:
    pie = pictures(id="pie")
    pie.image, pie.sizes["s"] = File(PNG), File(PNG)
    await pie.save()
    await pie.delete()
    assert (bool(pie.image), list(pie.sizes)) == (False, [])
    with pytest.raises(NotFoundError, match="'image' of 'pie'"):
        await pie.image.fetch()
    await pie.save()
    assert not await pie.image.exists()
