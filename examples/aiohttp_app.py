"""Recipes as JSON with aiohttp.web: create, list, read, change, delete, photos, and changes as they happen.

    python examples/aiohttp_app.py

The recipes are stored at $COUCHMODEL_URL, else in ./couchmodel.db. Try it with curl:

    curl localhost:8080/recipes -d '{"title": "Apple pie", "rating": 5}'
    curl localhost:8080/recipes?rating=4
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from couchmodel import (
    Attachment,
    AttachmentError,
    ConflictError,
    CouchModel,
    DocumentError,
    Field,
    Index,
    Mapped,
    QueryError,
    ResponseError,
    TransportError,
    attachment,
    connect,
)


class Recipe(CouchModel, database="recipes", indexes=[Index("rating")]):
    title: Mapped[str] = Field(min_length=1)
    rating: Mapped[int] = Field(default=0, ge=0, le=5)
    photo: Attachment = attachment(content_types=["image/*"], max_size="5 MB")


routes = web.RouteTableDef()


@routes.post("/recipes")
async def create(request: web.Request) -> web.Response:
    members = await read_object(request)
    recipe = Recipe.model_validate({name: members[name] for name in members if name not in {"id", "rev"}})
    await recipe.save()
    return show(recipe, status=201, headers={"location": f"/recipes/{recipe.id}"})


@routes.get("/recipes")
async def list_best(request: web.Request) -> web.Response:
    query = request.query
    found = Recipe.find(Recipe.rating >= int(query.get("rating", "0"))).sort(Recipe.rating.desc())
    page = await found.page(20, after=query.get("after"))
    return web.Response(text=page.model_dump_json(), content_type="application/json")


@routes.get("/recipes/{id}")
async def read(request: web.Request) -> web.Response:
    return show(await Recipe.get(request.match_info["id"]))


@routes.patch("/recipes/{id}")
async def change(request: web.Request) -> web.Response:
    recipe = await Recipe.get(request.match_info["id"])
    await recipe.update(await read_object(request))  # merged with what others change meanwhile
    return show(recipe)


@routes.delete("/recipes/{id}")
async def delete(request: web.Request) -> web.Response:
    recipe = await Recipe.get(request.match_info["id"])
    await recipe.delete()
    return web.Response(status=204)


@routes.put("/recipes/{id}/photo")
async def store_photo(request: web.Request) -> web.Response:
    recipe = await Recipe.get(request.match_info["id"])
    await recipe.photo.save(request.content.iter_chunked(65536), request.content_type)
    return web.Response(status=204)


@routes.get("/recipes/{id}/photo")
async def send_photo(request: web.Request) -> web.StreamResponse:
    recipe = await Recipe.get(request.match_info["id"])
    pieces = recipe.photo.stream()  # raises NotFoundError if there is none
    response = web.StreamResponse(headers={"content-type": recipe.photo.content_type or ""})
    response.content_length = recipe.photo.length
    await response.prepare(request)
    async for piece in pieces:
        await response.write(piece)
    return response


@routes.get("/changes")
async def send_changes(request: web.Request) -> web.StreamResponse:
    since = request.headers.get("last-event-id", request.query.get("since", "now"))
    response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-store"})
    await response.prepare(request)
    async with aclosing(Recipe.changes(since=since)) as changes:
        async for change in changes:
            document = change.document.model_dump_json() if change.document else "null"
            await response.write(f"id: {change.seq}\ndata: {document}\n\n".encode())
    return response


async def read_object(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        raise web.HTTPBadRequest(text="The body is not JSON.") from None
    if not isinstance(body, dict):
        raise web.HTTPUnprocessableEntity(text="The body is not an object.")
    return body


def show(recipe: Recipe, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(text=recipe.model_dump_json(), status=status, headers=headers, content_type="application/json")


@web.middleware
async def answer_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer errors of models and of the database by their status, and never with a trace."""
    try:
        return await handler(request)
    except (ValidationError, DocumentError) as error:
        errors = error.errors() if isinstance(error, ValidationError) else error.errors
        told = [{"loc": each["loc"], "msg": each["msg"]} for each in errors]
        return web.json_response({"errors": told}, status=422)
    except ConflictError as error:
        return web.json_response(
            {"detail": "The recipe was changed meanwhile.", "fields": sorted(error.fields)}, status=409
        )
    except (AttachmentError, QueryError, ValueError) as error:
        return web.json_response({"detail": str(error)}, status=400)
    except ResponseError as error:
        return web.json_response({"detail": error.reason}, status=error.status)
    except TransportError:
        return web.json_response({"detail": "The recipes cannot be reached."}, status=503)


async def database(app: web.Application) -> AsyncGenerator[None]:
    async with connect() as couch:
        await couch.apply(Recipe)
        yield


def make_app() -> web.Application:
    app = web.Application(middlewares=[answer_errors], client_max_size=2**20)
    app.add_routes(routes)
    app.cleanup_ctx.append(database)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8080)
