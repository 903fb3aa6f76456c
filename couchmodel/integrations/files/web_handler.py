"""The handler of aiohttp that serves files."""

from collections.abc import Awaitable, Callable, Collection
from contextlib import aclosing, suppress
from urllib.parse import unquote

from aiohttp import web

from couchmodel.integrations.files.answers import FileServer
from couchmodel.integrations.files.served import Finder

__all__ = ["file_handler"]


def file_handler(
    find: Finder, *, inline_types: Collection[str] = (), cache_control: str = "no-cache"
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return a handler of aiohttp that serves the files of a finder, for a route such as ``/songs/{path:.+}``.

    The options are those of :class:`FileApp`.
    """
    server = FileServer(find, inline_types, cache_control)

    async def handle(request: web.Request) -> web.StreamResponse:
        is_download = bool(request.query.get("download"))
        answer = await server.answer(request.method, _path_of(request), request.headers, is_download=is_download)
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        if answer.body is None:
            await response.prepare(request)
            return response
        async with aclosing(answer.body) as pieces:
            await response.prepare(request)
            with suppress(ConnectionResetError):  # the client has gone
                async for piece in pieces:
                    await response.write(piece)
        return response

    return handle


def _path_of(request: web.Request) -> list[str]:
    """Return the segments of the part of the path that the route calls ``path``."""
    path = request.match_info["path"]
    segments = request.rel_url.raw_path.split("/")
    # The raw path tells a slash inside an id from one between two segments.
    for start in range(len(segments)):
        if unquote("/".join(segments[start:])) == path:
            return [unquote(segment) for segment in segments[start:]]
    return path.split("/")
