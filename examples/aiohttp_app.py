"""Recipes as JSON with aiohttp.web: create, list, read, change, delete, photos, and changes as they happen.

    python examples/aiohttp_app.py

The recipes are stored at $COUCHMODEL_URL, else in ./couchmodel.db. Try it with curl:

    curl localhost:8080/recipes --json '{"title": "Apple pie", "rating": 4}'
    curl 'localhost:8080/recipes?rating__gte=4&sort=-rating'
    curl -X POST localhost:8080/recipes/ID/praise
    curl localhost:8080/recipes/_changes
"""

from aiohttp import web

from couchmodel import Attachment, CouchModel, Field, Index, Mapped, attachment
from couchmodel.integrations.aiohttp import add_problem_details, crud_routes, found, lifespan, respond


class Recipe(CouchModel, database="recipes", indexes=[Index("rating")]):
    title: Mapped[str] = Field(min_length=1)
    rating: Mapped[int] = Field(default=0, ge=0, le=5)
    photo: Attachment = attachment(content_types=["image/*"], max_size="5 MB")


async def praise(request: web.Request) -> web.Response:
    """Give a recipe one more star. An error of the model becomes the answer."""
    recipe = await found(request, Recipe)
    await recipe.update(rating=recipe.rating + 1)
    return respond(recipe)


def make_app() -> web.Application:
    app = web.Application()
    app.cleanup_ctx.append(lifespan(Recipe))
    add_problem_details(app)
    app.add_routes([web.post("/recipes/{id}/praise", praise), *crud_routes(Recipe, "/recipes")])
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8080)
