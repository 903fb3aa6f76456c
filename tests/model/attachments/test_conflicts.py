"""Attachments of versions that replication has brought, and their merge."""

import secrets
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from couchmodel import ConflictError, Connection, File, NotFoundError, Repository
from couchmodel.sync import synchronize
from tests.model.attachments.pictures import JPEG, PNG, TEXT, Picture

Sides = tuple[Repository[Picture], Repository[Picture]]
LARGE = PNG * 300


@pytest.fixture
async def sides(couch: Connection) -> AsyncIterator[Sides]:
    """Two databases that have the same picture."""
    databases = [await couch.create(f"test-{secrets.token_hex(6)}", q=1) for _ in range(2)]
    one, other = (Repository(Picture, database) for database in databases)
    pie = Picture(id="pie")
    pie.image, pie.notes, pie.sizes["old"] = File(PNG), TEXT, File(PNG)
    await one.save(pie)
    await synchronize(one.database, other.database)
    yield one, other
    for database in databases:
        with suppress(NotFoundError):
            await database.delete()


async def resolved(sides: Sides) -> list[Picture]:
    """Replicate, resolve the conflict on both sides, and return what each has then."""
    await synchronize(*[side.database for side in sides])
    for side in sides:
        await side.resolve(await side.get("pie"))
    found = [await side.get("pie") for side in sides]
    assert found[0].rev == found[1].rev
    return found


@pytest.mark.parametrize("extra", [0, 1], ids=["one is shown", "the other is shown"])
async def test_files_that_one_side_has_changed_are_taken(sides: Sides, extra: int) -> None:
    one, other = [await side.get("pie") for side in sides]
    one.image, one.notes, one.stars = File(LARGE, "image/png"), "new", 1
    await one.save()
    other.sizes["new"], other.stars = File(JPEG), 2
    del other.sizes["old"]
    await other.save()
    for n in range(extra):
        other.title = f"title {n}"
        await other.save()
    for pie in await resolved(sides):
        assert (pie.stars, await pie.notes.fetch(), list(pie.sizes)) == (3, "new", ["new"])
        assert await pie.image.fetch() == LARGE
        assert await pie.sizes["new"].fetch() == JPEG


async def test_only_files_may_differ(sides: Sides) -> None:
    one, other = [await side.get("pie") for side in sides]
    one.image, other.notes = File(JPEG), None
    await one.save()
    await other.save()
    for pie in await resolved(sides):
        assert (await pie.image.fetch(), bool(pie.notes), list(pie.sizes)) == (JPEG, False, ["old"])


async def test_a_file_that_both_sides_have_changed_is_a_clash(sides: Sides) -> None:
    one, other = [await side.get("pie") for side in sides]
    one.sizes["old"], other.sizes["old"] = File(JPEG), File(PNG[:100])
    await one.save()
    await other.save()
    await synchronize(*[side.database for side in sides])
    shown = await sides[0].get("pie")
    with pytest.raises(ConflictError, match="differ in sizes") as caught:
        await sides[0].resolve(shown)
    assert caught.value.fields == {"sizes"}
    (unwanted,) = await sides[0].conflicts(shown)
    await sides[0].delete(unwanted)
    assert await (await sides[0].get("pie")).sizes["old"].fetch() in (JPEG, PNG[:100])


async def test_the_same_file_on_both_sides_is_no_clash(sides: Sides) -> None:
    for stars, side in enumerate(sides):
        pie = await side.get("pie")
        pie.stars = stars + 1
        await pie.save()
        await pie.image.save(JPEG)
    for pie in await resolved(sides):
        assert (pie.stars, await pie.image.fetch()) == (3, JPEG)
