"""Versions side by side: of a recipe that others have saved meanwhile, or that two databases have changed."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from couchmodel import ConflictError

from .fields import FIELDS, FormField, texts_of
from .forms import RecipeForm
from .models import Recipe
from .web import User, go_to, page, recipe_url, say

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Choice:
    """A version that can be picked for a field."""

    key: str
    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Clash:
    """A field that the versions have changed in different ways. ``base`` is None if it is not known."""

    field: FormField
    base: str | None
    choices: list[Choice]


@dataclass(frozen=True, slots=True)
class Merged:
    """A field that only one side has changed, or both in the same way."""

    field: FormField
    text: str
    origin: str


def show_save_conflict(request: Request, conflict: ConflictError) -> Response:
    """Return the page for a save that came after that of another visitor."""
    theirs: Recipe = conflict.theirs
    versions = {"mine": ("Yours", conflict.mine), "theirs": (_label(theirs), theirs)}
    return page(
        request,
        "conflict.html",
        status=409,
        explanation=f"While you were writing, {theirs.changed_by or 'somebody'} has saved this recipe, too.",
        action=f"{recipe_url(theirs.id)}/edit",
        **_compare(conflict.base, versions, conflict.fields, conflict.merged(prefer="mine")),
        recipe=theirs,
        picks={},
        texts={},
        errors={},
    )


@router.post("/recipes/{id}/resolve")
async def resolve(request: Request, id: str, user: User) -> Response:
    """Merge the versions that replication has brought. What clashes is picked on a page."""
    repository = Recipe.repository()
    recipe = await Recipe.get(id)
    versions = [recipe, *await repository.conflicts(recipe)]
    keys = [f"version{number}" for number in range(len(versions))]
    async with request.form() as sent:
        form = RecipeForm(sent)
    faults = {name: said for name, said in form.errors.items() if name in form.picks}
    try:
        if form.picks.get("photo") in keys and not faults:
            kept = versions[keys.index(form.picks["photo"])]
            await _keep_photo(kept, versions, {**form.values, "changed_by": user})
        else:
            names = [] if faults else FIELDS.keys() & form.picks.keys()
            texts = [Recipe.fields[name].set(form.values[name]) for name in names]
            await repository.resolve(recipe, Recipe.changed_by.set(user), *texts)
    except ConflictError as conflict:
        named = {key: (_label(version), version) for key, version in zip(keys, versions, strict=True)}
        return page(
            request,
            "conflict.html",
            status=422 if faults else 409,
            explanation="This recipe was changed in two places that did not know of each other.",
            action=f"{recipe_url(id)}/resolve",
            **_compare(conflict.base, named, conflict.fields, conflict.theirs or recipe),
            recipe=recipe,
            picks=form.picks,
            texts=form.texts,
            errors=faults,
        )
    say(request, "The versions are one recipe again.")
    return go_to(recipe_url(id))


async def _keep_photo(kept: Recipe, versions: list[Recipe], values: dict[str, object]) -> None:
    """Store the picked texts in the version whose photo was picked, and delete the other versions."""
    await kept.update(**values)
    for version in versions:
        if version is not kept:
            await version.delete()


def _label(version: Recipe) -> str:
    return f"By {version.changed_by or 'somebody'}, {version.updated_at:%H:%M} UTC"


def _compare(
    base: Recipe | None, versions: Mapping[str, tuple[str, Recipe]], paths: Collection[str], merged: Recipe
) -> dict[str, Any]:
    """Return what the page shows of some versions, given the paths that clash and the merge of all others."""
    clashing = {path.partition(".")[0] for path in paths}
    before = texts_of(base) if base is not None else {}
    texts = {key: texts_of(version) for key, (_, version) in versions.items()}
    after = texts_of(merged)
    clashes, agreed = list[Clash](), list[Merged]()
    for name, field in FIELDS.items():
        if name in clashing:
            choices = [Choice(key, label, texts[key][name]) for key, (label, _) in versions.items()]
            clashes.append(Clash(field, before.get(name), choices))
        else:
            changed = [label for key, (label, _) in versions.items() if texts[key][name] != before.get(name)]
            origin = "" if after[name] == before.get(name) else " and ".join(changed)
            agreed.append(Merged(field, after[name], origin))
    photos = [Choice(key, label, "") for key, (label, _) in versions.items()] if "photo" in clashing else []
    merged_fields = [each for each in agreed if each.origin]
    return {"clashes": clashes, "agreed": agreed, "merged": merged_fields, "photos": photos}
