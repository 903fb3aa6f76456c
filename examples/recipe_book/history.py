"""The history of a recipe: its revisions, as far as the database still has them."""

from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import Response

from .fields import FIELDS, FormField, texts_of
from .models import Recipe, current_sequence
from .web import User, go_to, page, recipe_url, say

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that a revision has changed."""

    field: FormField
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A revision, and how it differs from the one before; ``differences`` is None for the oldest that is kept."""

    recipe: Recipe
    differences: list[Difference] | None
    has_new_photo: bool


@router.get("/recipes/{id}/history")
async def show_history(request: Request, id: str) -> Response:
    since = await current_sequence()
    recipe = await Recipe.get(id)
    revisions = [each async for each in Recipe.repository().revisions(recipe)]
    entries = [_entry(newer, older) for newer, older in zip(revisions, [*revisions[1:], None], strict=True)]
    return page(request, "history.html", since=since, recipe=recipe, entries=entries)


@router.post("/recipes/{id}/restore/{rev}")
async def restore(request: Request, id: str, rev: str, user: User) -> Response:
    """Give the recipe the texts of an older revision. The revisions in between stay in its history."""
    older = await Recipe.get(id, rev=rev)
    async with Recipe.edit(id) as recipe:
        for name in FIELDS:
            setattr(recipe, name, getattr(older, name))
        recipe.changed_by = user
    say(request, "The older version is back.")
    return go_to(recipe_url(id))


def _entry(recipe: Recipe, older: Recipe | None) -> Entry:
    if older is None:
        return Entry(recipe, None, has_new_photo=False)
    before, after = texts_of(older), texts_of(recipe)
    changed = [
        Difference(field, before[name], after[name]) for name, field in FIELDS.items() if before[name] != after[name]
    ]
    return Entry(recipe, changed, has_new_photo=older.photo.digest != recipe.photo.digest)
