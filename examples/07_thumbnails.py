"""Keep a small copy of each picture beside it, in the same revision.

It needs an extra: pip install 'couchmodel[images]'

    python examples/07_thumbnails.py

The pictures are stored at $COUCHMODEL_URL, else in ./couchmodel.db.
"""

import asyncio
import secrets

from PIL import Image

from couchmodel import (
    AttachmentError,
    CouchModel,
    File,
    ImageAttachment,
    Mapped,
    attachment,
    before_save,
    connect,
    using,
)


class Picture(CouchModel):
    title: Mapped[str]
    image: ImageAttachment = attachment(content_types=["image/*"], max_size="5 MB", required=True)
    thumbnail: ImageAttachment = attachment(content_types=["image/webp"])

    @before_save
    async def make_thumbnail(self) -> None:
        if "image" in self.changed_fields():
            small = await self.image.fetch()
            small.thumbnail((64, 64))
            self.thumbnail = small


async def main() -> None:
    async with connect() as couch:
        database = await couch.create(f"pictures-{secrets.token_hex(4)}")
        with using(database):
            pie = Picture(id="pie", title="Apple pie")
            pie.image = Image.new("RGB", (800, 600), "orange")
            await pie.save()
            print(f"stored {pie.title!r} as {pie.rev}")

            pie = await Picture.get("pie")
            for attachment in (pie.image, pie.thumbnail):
                picture = await attachment.fetch()
                print(f"{attachment.content_type}: {picture.width} by {picture.height}, {attachment.length:,} bytes")

            try:
                pie.image = File(b"<svg/>", "image/svg+xml")
                await pie.save()
            except AttachmentError as error:
                print("refused:", error)
            print(f"still {(await Picture.get('pie')).rev}")
        await database.delete()


asyncio.run(main())
