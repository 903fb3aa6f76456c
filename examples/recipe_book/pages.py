"""The pages for readers: the list with its search, and a recipe."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import Response

from .models import Recipe, current_sequence
from .web import page

router = APIRouter()

_PAGE_SIZE: Final = 24
_HIGHEST: Final = "\ufff0"
"""A character behind all letters in the order of CouchDB."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A page of what a search has found. ``next`` leads to the next page."""

    ids: list[str]
    count: int
    next: str | None


@router.get("/")
async def show_list(request: Request, q: str = "", tag: str = "", after: str | None = None) -> Response:
    since = await current_sequence()
    q, tag = q.strip(), tag.strip().lower()
    found = await _search(q, tag, after)
    recipes = await Recipe.get_many(found.ids)
    return page(
        request,
        "list.html",
        here="list",
        since=since,
        query=q,
        tag=tag,
        count=found.count,
        recipes=[recipe for recipe in recipes if recipe is not None],
        next=found.next and urlencode({"q": q, "tag": tag, "after": found.next}),
        tags=[(group.key[0], group.value) async for group in Recipe.by_tag.groups(level=1)],
        conflicted=[recipe async for recipe in Recipe.repository().conflicted()],
    )


@router.get("/recipes/{id}")
async def show_recipe(request: Request, id: str) -> Response:
    since = await current_sequence()
    recipe = await Recipe.get(id)
    others = await Recipe.repository().conflicts(recipe)
    return page(request, "recipe.html", since=since, recipe=recipe, others=others)


async def _search(prefix: str, tag: str, after: str | None) -> _Found:
    """Return a page of the recipes with a tag, if one is given, whose title begins with a prefix."""
    # CouchDB sorts small letters before capitals of the same word, so a range that begins with small ones has both.
    first, last = prefix.lower(), prefix.lower() + _HIGHEST
    if tag:
        tagged = await Recipe.by_tag.page(_PAGE_SIZE, after, start=(tag, first), end=(tag, last))
        count = await Recipe.by_tag.total(start=(tag, first), end=(tag, last))
        return _Found([row.id for row in tagged.items], count or 0, tagged.next)
    rows = await Recipe.by_title.page(_PAGE_SIZE, after, start=first, end=last)
    count = await Recipe.by_title.total(start=first, end=last)
    return _Found([row.id for row in rows.items], count or 0, rows.next)
