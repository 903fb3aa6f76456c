"""The same recipes as JSON, for other programs: everybody may read, and who has signed in may write."""

from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Request

from couchmodel.integrations.fastapi import Create, Found, Patch, Read, add_problem_details, crud_router

from .models import Recipe

api = FastAPI(title="Recipe book", description="The recipes as JSON. Sign in on the pages to write.")
add_problem_details(api)


def _require_writer(request: Request) -> str:
    user: str | None = request.session.get("user")
    if user is None:
        raise HTTPException(401, "Sign in first.")
    return user


Writer = Annotated[str, Depends(_require_writer)]


@api.post("/recipes", status_code=201)
async def create_recipe(recipe: Create[Recipe], writer: Writer) -> Read[Recipe]:
    recipe.changed_by = writer
    await recipe.save()
    return recipe


@api.patch("/recipes/{id}")  # noqa: FAST003  Found takes the id
async def change_recipe(recipe: Found[Recipe], patch: Patch[Recipe], writer: Writer) -> Read[Recipe]:
    recipe.changed_by = writer
    await recipe.update(patch)
    return recipe


api.include_router(
    crud_router(Recipe, exclude={"create", "replace", "patch", "delete", "upload", "delete_attachment"}),
    prefix="/recipes",
)
