"""Sample recipes and the two users, with which the book begins."""

import json
from typing import Final

from couchmodel import Connection, File

from .models import COOK, Recipe
from .web import HERE

USERS: Final = {"ada": "apples", "ben": "berries"}
_FOLDER: Final = HERE / "sample_data"


async def add_samples(couch: Connection) -> None:
    """Add the users that are missing, and the recipes if there are none yet."""
    known = {name async for name in couch.users.names()}
    for name in USERS.keys() - known:
        await couch.users.create(name, USERS[name], [COOK])
    if await Recipe.find().exists():
        return
    for sample in json.loads((_FOLDER / "recipes.json").read_text(encoding="utf-8")):
        photo = sample.pop("photo", None)
        recipe = Recipe.model_validate(sample)
        if photo:
            recipe.photo = File(_FOLDER / photo)
        await recipe.save()
