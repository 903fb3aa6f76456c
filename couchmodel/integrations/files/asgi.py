"""The application of ASGI that serves files. It needs no framework, and can be mounted in any."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence
from contextlib import aclosing
from typing import Any, TypeAlias
from urllib.parse import parse_qs, quote, unquote

from couchmodel.integrations.files.answers import FileAnswer, FileServer
from couchmodel.integrations.files.served import Finder

__all__ = ["FileApp"]

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class FileApp:
    """An application of ASGI that serves the files of a finder, such as that of ``files_of(bucket)``.

    ``inline_types`` are media types that a browser may show although they can have scripts, such as ``text/html``; it
    saves them otherwise. It saves any file with ``?download=1``. ``cache_control`` is the header of that name.
    """

    def __init__(self, find: Finder, *, inline_types: Collection[str] = (), cache_control: str = "no-cache") -> None:
        self._server = FileServer(find, inline_types, cache_control)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            raise RuntimeError(f"files are served by http, not by {scope['type']}")
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        answer = await self._server.answer(
            scope["method"], _path_of(scope), headers, is_download=bool(query.get("download"))
        )
        # The server tells of a client that has gone by a message, and takes pieces for it in silence.
        sending = asyncio.create_task(_send_answer(answer, send))
        leaving = asyncio.create_task(_wait_for_leaving(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not sending.done():
                sending.cancel()
            # Both have to end here, because they use ``receive`` and ``send`` of this request.
            await asyncio.gather(sending, leaving, return_exceptions=True)
        if not sending.cancelled():
            # An error of the answer is the server's to log.
            sending.result()


async def _send_answer(answer: FileAnswer, send: Send) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
    start = {"type": "http.response.start", "status": answer.status, "headers": headers}
    if answer.body is None:
        await send(start)
    else:
        async with aclosing(answer.body) as pieces:
            await send(start)
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _wait_for_leaving(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _path_of(scope: MutableMapping[str, Any]) -> list[str]:
    """Return the segments of the path below the place where the application is mounted."""
    raw = scope.get("raw_path")
    # The raw path tells a slash inside an id from one between two segments.
    path = quote(scope["path"]) if raw is None else raw.decode("latin-1").partition("?")[0]
    segments = path.split("/")
    below = segments[_count_root_segments(segments, scope.get("root_path", "").rstrip("/")) :]
    return [unquote(segment) for segment in "/".join(below).lstrip("/").split("/")]


def _count_root_segments(segments: Sequence[str], root: str) -> int:
    """Return how many quoted segments lead to the place of the application. Clients quote more or less of a path."""
    roots = (root, unquote(root))
    return next((n for n in range(1, len(segments) + 1) if unquote("/".join(segments[:n])) in roots), 0)
