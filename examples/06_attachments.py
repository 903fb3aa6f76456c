"""A film of 64 MiB goes into a document and comes back, and memory holds a few pieces of it at a time.

    python examples/06_attachments.py

The document is where $COUCHMODEL_URL says, else in ./couchmodel.db.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator

from couchmodel import Attachment, AttachmentError, CouchModel, attachment, connect, using

MIB = 2**20


class Film(CouchModel):
    title: str
    reel: Attachment = attachment(content_types=["video/*"], max_size="100 MiB")


async def shoot() -> AsyncGenerator[bytes]:
    """The frames, as they come from a camera."""
    for number in range(64):
        yield bytes([number]) * MIB


async def main() -> None:
    async with connect() as couch:
        database = await couch.create(f"films-{secrets.token_hex(4)}")
        with using(database):
            film = Film(title="The pie")
            await film.save()

            await film.reel.save(shoot(), "video/mp4")
            print(f"stored {film.reel.length:,} bytes in {film.title!r}")

            received = 0
            async for piece in film.reel.stream():  # its length and its digest are checked on the way
                received += len(piece)
            print(f"read   {received:,} bytes")

            try:
                await film.reel.save(b"<svg/>", "image/svg+xml")
            except AttachmentError as error:
                print("refused:", error)
        await database.delete()


asyncio.run(main())
