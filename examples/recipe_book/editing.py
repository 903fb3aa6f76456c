"""Writing recipes: new ones, changes, and deletions."""

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response

from couchmodel import AttachmentError, ConflictError, File, NotFoundError, TransportError, UnavailableError

from .conflicts import show_save_conflict
from .fields import FIELDS, texts_of
from .forms import RecipeForm, photo_error
from .models import Recipe, current_sequence
from .web import User, go_to, page, recipe_url, say

router = APIRouter()

UNREACHABLE: Final = (TransportError, UnavailableError)
_DOWN: Final = "The recipes cannot be reached now. Your text is still here: try again in a moment."
_DELETED: Final = "This recipe was deleted meanwhile. Your text is still here: save it as a new recipe, or leave it."
_COMPACTED: Final = "The version that you began with is not kept any more. If you save, your text replaces this one."


@router.get("/recipes/new")
async def show_new(request: Request, user: User) -> Response:
    return _show_form(request, None, texts_of(None))


@router.post("/recipes/new")
async def create(request: Request, user: User) -> Response:
    async with request.form() as sent:
        form = RecipeForm(sent)
        if form.errors:
            return _show_faults(request, None, form)
        recipe = Recipe.model_validate(form.values)
        try:
            await _store(recipe, form, user)
        except AttachmentError as error:
            form.errors["photo"] = photo_error(error)
            return _show_faults(request, None, form)
        except UNREACHABLE:
            return _show_form(request, None, form.texts, warning=_DOWN, status=503)
    say(request, "The recipe is in the book.")
    return go_to(recipe_url(recipe.id))


@router.get("/recipes/{id}/edit")
async def show_edit(request: Request, id: str, user: User) -> Response:
    since = await current_sequence()
    recipe = await Recipe.get(id)
    return _show_form(request, recipe, texts_of(recipe), since=since)


@router.post("/recipes/{id}/edit")
async def change(request: Request, id: str, user: User) -> Response:
    async with request.form() as sent:
        form = RecipeForm(sent)
        try:
            return await _change(request, id, form, user)
        except UNREACHABLE:
            known = Recipe(id=id, rev=form.rev, title=form.texts["title"] or "-")
            return _show_form(request, known, form.texts, warning=_DOWN, status=503)


@router.post("/recipes/{id}/delete")
async def delete(request: Request, id: str, user: User) -> Response:
    recipe = await Recipe.get(id)
    await recipe.delete()
    say(request, f"“{recipe.title}” is deleted.")
    return go_to("/")


async def _change(request: Request, id: str, form: RecipeForm, user: str) -> Response:
    try:
        recipe = await Recipe.get(id, rev=form.rev)  # the one that the visitor saw, also if others have saved since
    except NotFoundError:
        return await _begin_again(request, id, form)
    if form.errors:
        return _show_faults(request, recipe, form)
    try:
        if form.photo or form.texts != texts_of(recipe):
            await _store(recipe, form, user)
    except AttachmentError as error:
        form.errors["photo"] = photo_error(error)
        return _show_faults(request, recipe, form)
    except ConflictError as conflict:
        if conflict.theirs is None:
            return await _begin_again(request, id, form)
        return show_save_conflict(request, conflict)
    say(request, "Saved.")
    return go_to(recipe_url(id))


async def _store(recipe: Recipe, form: RecipeForm, user: str) -> None:
    """Store what a form says. What others have changed since is merged, and raises ConflictError if it clashes."""
    if form.photo:
        recipe.photo = File(form.photo)
    await recipe.update(**form.values, changed_by=user)


async def _begin_again(request: Request, id: str, form: RecipeForm) -> Response:
    """Return the form with its texts if the recipe, or the version that the form began with, is gone."""
    recipe = await Recipe.get_or_none(id)
    said = _DELETED if recipe is None else _COMPACTED
    return _show_form(request, recipe, form.texts, form.errors, warning=said, status=409)


def _show_faults(request: Request, recipe: Recipe | None, form: RecipeForm) -> Response:
    return _show_form(request, recipe, form.texts, form.errors, status=422)


def _show_form(
    request: Request,
    recipe: Recipe | None,
    texts: dict[str, str],
    errors: dict[str, str] | None = None,
    *,
    warning: str = "",
    since: str = "",
    status: int = 200,
) -> Response:
    return page(
        request,
        "form.html",
        status=status,
        here=None if recipe else "new",
        recipe=recipe,
        action=f"{recipe_url(recipe.id)}/edit" if recipe else "/recipes/new",
        rev=recipe.rev if recipe else "",
        fields=FIELDS,
        texts=texts,
        errors=errors or {},
        warning=warning,
        since=since,
    )
