"""Attachments that are pictures."""

import io
import sys
import threading

import pytest
from PIL import Image

from couchmodel import (
    AttachmentError,
    ConfigurationError,
    CouchModel,
    File,
    ImageAttachment,
    attachment,
    before_save,
    using,
)
from couchmodel.engine import Database


class Picture(CouchModel):
    image: ImageAttachment = attachment(content_types=["image/*"])
    small: ImageAttachment = attachment(content_types=["image/webp"])

    @before_save
    async def make_small(self) -> None:
        if "image" in self.changed_fields() and self.image:
            small = await self.image.fetch()
            small.thumbnail((8, 8))
            self.small = small


RED = Image.new("RGB", (40, 20), "red")


async def test_a_hook_sets_another_attachment_in_the_same_revision(database: Database) -> None:
    with using(database):
        pie = Picture(id="pie")
        pie.image = RED
        await pie.save()
        again = await Picture.get("pie")
        assert (again.image.revpos, again.small.revpos) == (1, 1)
        small = await again.small.fetch()
        assert (small.size, again.small.content_type, again.image.content_type) == ((8, 4), "image/webp", "image/png")
        assert (await again.image.fetch()).getpixel((0, 0)) == (255, 0, 0)
        again.small = None
        await again.save()
        assert (again.image.revpos, bool(again.small)) == (1, False)


async def test_a_picture_that_the_hook_cannot_read_stores_nothing(database: Database) -> None:
    with using(database):
        pie = Picture(id="pie")
        pie.image = File(b"<svg/>", "image/svg+xml")
        with pytest.raises(AttachmentError, match="'image' of 'pie' cannot be read: Pillow reads no such"):
            await pie.save()
        assert await Picture.get_or_none("pie") is None
        assert not pie.small


async def test_a_picture_is_saved_in_the_format_of_its_type(database: Database) -> None:
    with using(database):
        pie = Picture(id="pie")
        await pie.save()
        await pie.image.save(RED, "image/jpeg")
        assert Image.open(io.BytesIO(b"".join([piece async for piece in pie.image.stream()]))).format == "JPEG"


@pytest.mark.parametrize(
    ("picture", "kind", "said"),
    [
        (RED, "image/x-unknown", "Pillow writes no pictures of the type 'image/x-unknown'"),
        (Image.new("RGBA", (1, 1)), "image/jpeg", "cannot write mode RGBA"),
        ("red", "image/png", "a picture or a File"),
    ],
)
async def test_what_pillow_cannot_write_is_told(database: Database, picture: object, kind: str, said: str) -> None:
    with using(database):
        pie = Picture(id="pie")
        await pie.save()
        with pytest.raises(AttachmentError, match=rf"'image' of 'pie': {said}"):
            await pie.image.save(picture, kind)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ConfigurationError, match=r"couchmodel\[images\]"):
        Picture(id="pie").image = RED


async def test_a_picture_is_decoded_in_a_thread(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    load = Image.Image.load

    def note(picture: Image.Image) -> object:
        threads.append(threading.current_thread())
        return load(picture)

    with using(database):
        pie = Picture(id="pie")
        await pie.save()
        await pie.image.save(RED, "image/bmp")
        monkeypatch.setattr("PIL.BmpImagePlugin.BmpImageFile.load", note, raising=False)
        assert (await pie.image.fetch()).size == RED.size
    assert threads
    assert threading.main_thread() not in threads
