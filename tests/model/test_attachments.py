"""Attachments as fields."""

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from couchmodel import AttachmentError, ConfigurationError, ConflictError, NotFoundError, attachment
from couchmodel.engine import Database
from couchmodel.engine._io.sources import Content
from tests.models import Recipe

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(200))


@pytest.fixture
async def pie(recipes: type[Recipe]) -> Recipe:
    """A stored recipe without a photo."""
    pie = recipes(id="pie", title="Apple pie")
    await pie.save()
    return pie


async def in_pieces() -> AsyncIterator[bytes]:
    for start in range(0, len(PNG), 50):
        yield PNG[start : start + 50]


@pytest.mark.parametrize("form", ["bytes", "bytearray", "file", "path", "iterator"])
async def test_what_is_saved_is_fetched(pie: Recipe, form: str, tmp_path: Path) -> None:
    (tmp_path / "pie.png").write_bytes(PNG)
    forms: dict[str, Content] = {
        "bytes": PNG,
        "bytearray": bytearray(PNG),
        "file": io.BytesIO(PNG),
        "path": tmp_path / "pie.png",
        "iterator": in_pieces(),
    }
    await pie.photo.save(forms[form], "image/png")
    assert await pie.photo.fetch() == PNG
    assert b"".join([piece async for piece in pie.photo.stream()]) == PNG


async def test_a_loaded_document_knows_of_its_attachment(pie: Recipe, recipes: type[Recipe]) -> None:
    assert (pie.photo.content_type, pie.photo.length, pie.photo.digest) == (None, None, None)
    await pie.photo.save(PNG, "image/png")
    again = await recipes.get("pie")
    assert (again.photo.content_type, again.photo.length) == ("image/png", len(PNG))
    assert (again.photo.digest or "").startswith("md5-")
    assert again == pie or again.rev == pie.rev


async def test_the_media_type_of_a_path_is_guessed(pie: Recipe, recipes: type[Recipe], tmp_path: Path) -> None:
    (tmp_path / "pie.png").write_bytes(PNG)
    await pie.photo.save(tmp_path / "pie.png")
    assert (await recipes.get("pie")).photo.content_type == "image/png"


async def test_it_exists_until_it_is_deleted(pie: Recipe) -> None:
    assert not await pie.photo.exists()
    await pie.photo.save(PNG, "image/png")
    assert await pie.photo.exists()
    await pie.photo.delete()
    assert not await pie.photo.exists()
    with pytest.raises(NotFoundError):
        await pie.photo.fetch()


async def test_a_change_of_the_document_keeps_it(pie: Recipe, recipes: type[Recipe]) -> None:
    await pie.photo.save(PNG, "image/png")
    pie.rating = 5
    await pie.save()
    again = await recipes.get("pie")
    assert (again.rating, await again.photo.fetch()) == (5, PNG)


async def test_saving_it_leaves_unsaved_changes_to_be_saved(pie: Recipe, recipes: type[Recipe]) -> None:
    pie.rating = 4
    await pie.photo.save(PNG, "image/png")
    assert (await recipes.get("pie")).rating == 0
    await pie.save()
    assert (await recipes.get("pie")).rating == 4


async def test_a_document_built_with_a_revision_keeps_it(pie: Recipe, recipes: type[Recipe]) -> None:
    await pie.photo.save(PNG, "image/png")
    await recipes(id="pie", rev=pie.rev, title="from a form").save()
    assert await (await recipes.get("pie")).photo.fetch() == PNG


async def test_another_revision_is_a_conflict(pie: Recipe, recipes: type[Recipe]) -> None:
    other = await recipes.get("pie")
    other.rating = 1
    await other.save()
    with pytest.raises(ConflictError) as caught:
        await pie.photo.save(PNG, "image/png")
    assert (caught.value.document_id, caught.value.mine, caught.value.theirs) == ("pie", pie, other)
    assert not await pie.photo.exists()


@pytest.mark.parametrize(
    ("data", "kind"), [(PNG, "text/plain"), (bytes(1001), "image/png"), (PNG, "image/png\r\nX: y")]
)
async def test_what_the_field_does_not_take_is_not_stored(pie: Recipe, data: bytes, kind: str) -> None:
    with pytest.raises(AttachmentError, match="photo"):
        await pie.photo.save(data, kind)
    assert not await pie.photo.exists()


async def test_a_stream_that_grows_too_large_is_not_stored(pie: Recipe) -> None:
    with pytest.raises(AttachmentError, match="1,000"):
        await pie.photo.save(io.BytesIO(bytes(300_000)), "image/png")
    assert not await pie.photo.exists()
    await pie.photo.save(PNG, "image/png")


async def test_an_unsaved_document_has_no_place_for_it(recipes: type[Recipe]) -> None:
    with pytest.raises(ConfigurationError, match="save it before"):
        await recipes(title="x").photo.save(PNG, "image/png")


async def test_it_is_no_part_of_the_document(pie: Recipe, database: Database) -> None:
    assert pie.model_dump()["photo"] is None
    assert "photo" not in Recipe.model_json_schema()["properties"]
    assert "photo" not in (await database.get("pie")).json


def test_it_cannot_be_assigned() -> None:
    with pytest.raises(ValueError, match="photo"):
        Recipe(title="x").photo = PNG  # type: ignore[assignment]


@pytest.mark.parametrize("size", ["", "5 parsecs", "-1", "MB"])
def test_a_size_that_cannot_be_read_is_refused(size: str) -> None:
    with pytest.raises(ConfigurationError, match="not a size"):
        attachment(max_size=size)


async def test_a_deleted_document_has_none(pie: Recipe) -> None:
    await pie.photo.save(PNG, "image/png")
    await pie.delete()
    assert (pie.photo.content_type, pie.photo.length) == (None, None)
    await pie.save()
    assert not await pie.photo.exists()
