"""What the tests of buckets share: contents, sources, and a look at what is stored."""

import secrets
from typing import Any

from couchmodel.bucket import Bucket, GridOut
from couchmodel.engine import Database

LONG = bytes(range(256)) * 4


async def read(bucket: Bucket[Any], file_id: str) -> bytes:
    """Return the content of a file."""
    return await (await bucket.open_download_stream(file_id)).read()


async def stored_ids(database: Database) -> list[str]:
    """Return the ids of all documents but design documents."""
    return [id async for id in database.akeys() if not id.startswith("_design/")]


async def names(files: Any) -> list[str]:
    """Return the names of the files of a cursor."""
    return [file.filename async for file in files]


async def upload(bucket: Bucket[Any], content: bytes = LONG, name: str = "f", **options: Any) -> GridOut[Any]:
    """Store a file and return it opened."""
    return await bucket.open_download_stream(await bucket.upload_from_stream(name, content, **options))


def random_bytes(length: int) -> bytes:
    """Return bytes that no compression and no deduplication makes smaller."""
    return secrets.token_bytes(length)


class Source:
    """A source that records the sizes that are asked for, and fails behind ``good`` bytes."""

    def __init__(self, content: bytes, good: int | None = None) -> None:
        self.content = content
        self.good = good
        self.position = 0
        self.sizes: list[int] = []

    def read(self, size: int = -1) -> bytes:
        self.sizes.append(size)
        if self.good is not None and self.position >= self.good:
            raise OSError("the source broke off")
        piece = self.content[self.position : self.position + size]
        self.position += len(piece)
        return piece


class AsyncSource(Source):
    """A source whose ``read`` is asynchronous."""

    async def read(self, size: int = -1) -> bytes:  # type: ignore[override]
        return super().read(size)
