"""The two doors through which files are served, and clients of both."""

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import httpx2 as httpx
import pytest
from aiohttp import ClientSession, web
from yarl import URL

from couchmodel.integrations.files import FileApp, Finder, file_handler


class Answer(NamedTuple):
    """An answer as a client gets it. Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Fetch = Callable[..., Coroutine[Any, Any, Answer]]
Serve = Callable[..., Coroutine[Any, Any, Fetch]]


@pytest.fixture(params=["asgi", "aiohttp"])
async def serve(request: pytest.FixtureRequest) -> AsyncIterator[Serve]:
    """Serves the files of a finder, and returns a function that asks for one: by method, path and headers."""
    async with AsyncExitStack() as stack:

        async def serve_asgi(find: Finder, **options: Any) -> Fetch:
            transport = httpx.ASGITransport(FileApp(find, **options))
            client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://files"))

            async def fetch(path: str, method: str = "GET", **headers: str) -> Answer:
                response = await client.request(method, path, headers=_names(headers))
                return Answer(response.status_code, dict(response.headers), response.content)

            return fetch

        async def serve_aiohttp(find: Finder, **options: Any) -> Fetch:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", file_handler(find, **options))
            runner = web.AppRunner(app)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            (host, port), *_ = runner.addresses
            session = await stack.enter_async_context(ClientSession(f"http://{host}:{port}", auto_decompress=False))

            async def fetch(path: str, method: str = "GET", **headers: str) -> Answer:
                async with session.request(method, URL(path, encoded=True), headers=_names(headers)) as response:
                    own = {name.lower(): value for name, value in response.headers.items()}
                    return Answer(response.status, own, await response.read())

            return fetch

        yield serve_asgi if request.param == "asgi" else serve_aiohttp


def _names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
