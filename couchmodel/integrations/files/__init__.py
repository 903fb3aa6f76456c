"""Files over HTTP: attachments and files of buckets, as an application of ASGI and as a handler of aiohttp.

::

    app.mount("/photos", FileApp(attachments_of(database)))                              # FastAPI, Starlette, any ASGI
    app.router.add_get("/songs/{path:.+}", file_handler(files_of(bucket)))               # aiohttp

Both answer ``GET`` and ``HEAD``, with ranges, conditions and names, and stop to read when the client goes. Neither asks
who the client is: put them behind what does, or write a finder of your own. A finder is an asynchronous function that
returns the file of a path, or None::

    async def find(path: Sequence[str]) -> ServedFile | None:
        song = await Song.get_or_none(path[0])
        return None if song is None else bucket_file(await bucket.open_download_stream(song.file))
"""

from typing import TYPE_CHECKING, Any

from couchmodel.integrations.files.asgi import FileApp
from couchmodel.integrations.files.finders import attachment_file, attachments_of, bucket_file, files_of
from couchmodel.integrations.files.served import Finder, ServedFile

if TYPE_CHECKING:
    from couchmodel.integrations.files.web_handler import file_handler

__all__ = [
    "FileApp",
    "Finder",
    "ServedFile",
    "attachment_file",
    "attachments_of",
    "bucket_file",
    "file_handler",
    "files_of",
]


def __getattr__(name: str) -> Any:
    if name == "file_handler":
        # Applications of other frameworks use this package too, and the server of aiohttp takes 60 ms to import.
        from couchmodel.integrations.files.web_handler import file_handler  # noqa: PLC0415

        return file_handler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
