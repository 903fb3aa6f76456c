"""Files of documents that are saved together."""

import pytest

from couchmodel import AttachmentError, ConflictError, File
from tests.model.attachments.pictures import JPEG, PNG, TEXT, Picture, failing, in_pieces

LARGE = PNG * 20


async def test_small_and_large_files_are_saved_with_their_documents(pictures: type[Picture]) -> None:
    pies = [pictures(id=f"pie-{n}") for n in range(4)]
    pies[0].image, pies[0].notes = File(PNG), TEXT[:100]
    pies[1].image, pies[1].stars = File(in_pieces(LARGE)), 1
    pies[2].sizes["s"] = File(JPEG)
    report = await pictures.save_all(pies)
    assert (report.saved, report.refused) == (pies, [])
    found = await pictures.get_many([pie.id for pie in pies])
    assert [each and each.rev for each in found] == [pie.rev for pie in pies]
    one, two, three, four = [each for each in found if each is not None]
    assert (await one.image.fetch(), await one.notes.fetch()) == (PNG, TEXT[:100])
    assert (two.stars, await two.image.fetch()) == (1, LARGE)
    assert (await three.sizes["s"].fetch(), bool(four.image)) == (JPEG, False)
    for pie, again in zip(pies, [one, two, three, four], strict=True):
        assert (pie.is_changed, pie.image.length, pie.image.revpos) == (False, again.image.length, again.image.revpos)


async def test_files_stay_when_their_document_is_saved_with_others(pictures: type[Picture]) -> None:
    pie, cake = pictures(id="pie"), pictures(id="cake")
    pie.image, pie.notes, cake.image = File(PNG), TEXT, File(PNG)
    await pictures.save_all([pie, cake])
    pie.notes, cake.image, cake.stars = "short", None, 1
    await pictures.save_all([pie, cake])
    again, other = await pictures.get("pie"), await pictures.get("cake")
    assert (await again.image.fetch(), await again.notes.fetch(), bool(other.image)) == (PNG, "short", False)


async def test_a_file_that_cannot_be_stored_refuses_its_document_only(pictures: type[Picture]) -> None:
    pie, cake = pictures(id="pie"), pictures(id="cake")
    pie.image, cake.image = File(failing(), "image/png"), File(PNG)
    report = await pictures.save_all([pie, cake], on_error="collect")
    assert [(each.id, type(error)) for each, error in report.refused] == [("pie", AttachmentError)]
    assert [each and each.id for each in await pictures.get_many(["pie", "cake"])] == [None, "cake"]
    pie.image, cake.stars = File(failing(), "image/png"), 2
    with pytest.raises(AttachmentError, match="'image' of 'pie'"):
        await pictures.save_all([cake, pie])
    assert (await pictures.get("cake")).stars == 0


@pytest.mark.parametrize("data", [PNG, LARGE], ids=["small", "large"])
async def test_a_conflict_keeps_the_files_to_be_saved(pie: Picture, pictures: type[Picture], data: bytes) -> None:
    other = await pictures.get("pie")
    other.stars = 1
    await other.save()
    pie.image = File(data)
    report = await pictures.save_all([pie], on_error="collect")
    assert [type(error) for _, error in report.refused] == [ConflictError]
    assert pie.changed_fields() == {"image"}
    await pie.update(title="Pear pie")
    assert await (await pictures.get("pie")).image.fetch() == data
