"""The models of these tests, and contents for them."""

from collections.abc import AsyncIterator

from pydantic import BaseModel

from couchmodel import (
    Attachment,
    Attachments,
    CouchModel,
    Field,
    JSONAttachment,
    Mapped,
    TextAttachment,
    attachment,
)

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(range(256)) * 20
TEXT = "Crust: Käse\n" * 2_000


class Exif(BaseModel):
    camera: str
    iso: int


class Picture(CouchModel, database="pictures"):
    title: Mapped[str] = Field(default="Pie")
    stars: Mapped[int] = Field(default=0, merge="sum")
    image: Attachment = attachment(content_types=["image/*"], max_size="3 MiB")
    notes: TextAttachment = attachment()
    exif: JSONAttachment[Exif] = attachment()
    sizes: Attachments = attachment(prefix="sizes/", content_types=["image/PNG", "image/jpeg"])
    others: Attachments = attachment()


async def in_pieces(data: bytes = PNG, size: int = 1000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def failing(data: bytes = PNG) -> AsyncIterator[bytes]:
    yield data
    raise OSError("the disk is gone")
