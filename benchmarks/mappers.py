"""Measure how other mappers load the document of the benchmarks, from what their drivers give. No server is used."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import beanie
import mongoengine  # type: ignore[import-untyped]
import odmantic
from beanie.odm.settings.document import DocumentSettings
from beanie.odm.utils.parsing import parse_obj

from benchmarks.measure import Row, best_of
from benchmarks.models import Author, Ingredient, Plain, Recipe, recipe
from couchmodel._model.codec import codec


class BeanieRecipe(beanie.Document):
    id: str  # type: ignore[assignment]
    title: str
    author: Author
    ingredients: list[Ingredient]
    created: datetime
    updated: datetime
    published: datetime | None = None
    rating: float = 0.0
    tags: list[str] = []
    text: str = ""


class OdmanticAuthor(odmantic.EmbeddedModel):
    name: str
    country: str | None = None
    born: int | None = None


class OdmanticIngredient(odmantic.EmbeddedModel):
    name: str
    amount: float
    unit: str


class OdmanticRecipe(odmantic.Model):
    id: str = odmantic.Field(primary_field=True)
    title: str
    author: OdmanticAuthor
    ingredients: list[OdmanticIngredient]
    created: datetime
    updated: datetime
    published: datetime | None = None
    rating: float = 0.0
    tags: list[str] = []
    text: str = ""


class EngineAuthor(mongoengine.EmbeddedDocument):  # type: ignore[misc]
    name = mongoengine.StringField()
    country = mongoengine.StringField()
    born = mongoengine.IntField()


class EngineIngredient(mongoengine.EmbeddedDocument):  # type: ignore[misc]
    name = mongoengine.StringField()
    amount = mongoengine.FloatField()
    unit = mongoengine.StringField()


class EngineRecipe(mongoengine.Document):  # type: ignore[misc]
    id = mongoengine.StringField(primary_key=True)
    title = mongoengine.StringField()
    author = mongoengine.EmbeddedDocumentField(EngineAuthor)
    ingredients = mongoengine.EmbeddedDocumentListField(EngineIngredient)
    created = mongoengine.DateTimeField()
    updated = mongoengine.DateTimeField()
    published = mongoengine.DateTimeField()
    rating = mongoengine.FloatField()
    tags = mongoengine.ListField(mongoengine.StringField())
    text = mongoengine.StringField()


def rows() -> Iterator[Row]:
    """Yield a row for each mapper, against ``model_validate_json`` of the same document."""
    # beanie opens a server before a document can be made. Its settings are all that decoding needs.
    BeanieRecipe._document_settings = DocumentSettings.model_construct(pymongo_collection=object())  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    document = recipe()
    fields: dict[str, Any] = document.model_dump(exclude={"id", "rev"})
    # The driver gives these mappers dictionaries with instants without a zone.
    fields |= {name: value.replace(tzinfo=None) for name, value in fields.items() if isinstance(value, datetime)}
    given = {"_id": document.id, **fields}
    text = Plain.model_validate(document.model_dump()).model_dump_json().encode()
    stored = codec.prepend_members({"_id": document.id, "_rev": "1-a"}, codec.dump(document))
    found = best_of(
        lambda: Plain.model_validate_json(text),
        lambda: codec.load(Recipe, stored),
        lambda: parse_obj(BeanieRecipe, given),
        lambda: OdmanticRecipe.model_validate_doc(given),
        lambda: EngineRecipe._from_son(given),  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        rounds=30,
        calls=100,
    )
    floor = found[0]
    for name, ours in zip(("couchmodel", "Beanie", "ODMantic", "MongoEngine"), found[1:], strict=True):
        yield Row(f"load a document: {name}", "model_validate_json", floor, ours)
