"""Store and read an attachment of 64 MiB in pieces.

    python examples/06_attachments.py

The document is stored at $COUCHMODEL_URL, else in ./couchmodel.db.
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
    """Yield the content in pieces of 1 MiB, as a camera would."""
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
            async for piece in film.reel.stream():  # checks the length and the digest at the end
                received += len(piece)
            print(f"read   {received:,} bytes")

            try:
                await film.reel.save(b"<svg/>", "image/svg+xml")
            except AttachmentError as error:
                print("refused:", error)
        await database.delete()


asyncio.run(main())
