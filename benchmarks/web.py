"""Measure what models add to a web application: requests to FastAPI against handlers that answer from a constant.

The handlers answer the same bytes. The store is in memory; uvicorn serves the application in the same process.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Response

from benchmarks.measure import Row, best_of_async
from couchmodel import Attachment, CouchModel, Field, Index, Mapped, attachment, connect
from couchmodel.integrations.fastapi import crud_router

Get = Callable[[str], Awaitable[bytes]]

LISTED = 50
READ_BAR = 1 / 0.6
LIST_BAR = 1 / 0.5


class Recipe(CouchModel, database=f"web-{secrets.token_hex(4)}", indexes=[Index("rating")]):
    title: Mapped[str] = Field(min_length=1)
    rating: Mapped[int] = Field(default=0, ge=0, le=5)
    photo: Attachment = attachment(content_types=["image/*"], max_size="5 MB")


async def rows() -> AsyncIterator[Row]:
    """Yield rows for a document and for a list."""
    async with connect("memory:") as couch:
        await couch.apply(Recipe)
        await Recipe.save_all([Recipe(id=f"recipe-{n}", title=f"Recipe {n}", rating=n % 6) for n in range(4 * LISTED)])
        app = FastAPI()
        app.include_router(crud_router(Recipe), prefix="/recipes")
        async with served(app) as port, opened(port) as get:
            listed = f"/recipes?rating__gte=2&sort=-rating&size={LISTED}"
            yield await measure(app, get, "/recipes/recipe-7", "FastAPI: a document", READ_BAR)
            yield await measure(app, get, listed, f"FastAPI: a list of {LISTED}, as before", LIST_BAR)
            name = f"FastAPI: a write, and a list of {LISTED}"
            yield await measure(app, get, listed, name, before=touch)


async def touch() -> None:
    """Change a document, so that no answer of the store is known any more."""
    recipe = await Recipe.get("recipe-0")
    recipe.title = secrets.token_hex(4)
    await recipe.save()


async def do_nothing() -> None:
    """Leave everything as it is."""


async def measure(
    app: FastAPI,
    get: Get,
    path: str,
    name: str,
    bar: float | None = None,
    *,
    before: Callable[[], Awaitable[None]] = do_nothing,
) -> Row:
    """Return the row of a path. ``before`` is done before each request, of both contenders."""
    body, constant = await get(path), f"/constant-{len(app.routes)}"

    @app.get(constant + "/{id}")
    async def answer(id: str) -> Response:
        return Response(body, media_type="application/json")

    async def ask(path: str) -> None:
        await before()
        await get(path)

    floor, ours = await best_of_async(lambda: ask(f"{constant}/x"), lambda: ask(path), calls=50)
    return Row(name, "a constant", floor, ours, bar)


@asynccontextmanager
async def served(app: FastAPI) -> AsyncGenerator[int]:
    """The port of a server of the application."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", ws="none", lifespan="off"))
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await task


@asynccontextmanager
async def opened(port: int) -> AsyncGenerator[Get]:
    """A function that gets the body of a path over one connection, with as little work of the client as possible."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def get(path: str) -> bytes:
        writer.write(b"GET %b HTTP/1.1\r\nhost: kitchen\r\n\r\n" % path.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        return await reader.readexactly(length)

    yield get
    writer.close()
