"""Define the document of the benchmarks: about 1 KB, with an embedded model, a list of models, and instants."""

from datetime import UTC, datetime

from pydantic import BaseModel

from couchmodel import CouchModel


class Author(BaseModel):
    name: str
    country: str | None = None
    born: int | None = None


class Ingredient(BaseModel):
    name: str
    amount: float
    unit: str


class Plain(BaseModel):
    """The floor: the same document as a model of pydantic alone."""

    id: str
    rev: str | None = None
    title: str
    author: Author
    ingredients: list[Ingredient]
    created: datetime
    updated: datetime
    published: datetime | None = None
    rating: float = 0.0
    tags: list[str] = []
    text: str = ""


class Recipe(CouchModel, database="benchmark"):
    title: str
    author: Author
    ingredients: list[Ingredient]
    created: datetime
    updated: datetime
    published: datetime | None = None
    rating: float = 0.0
    tags: list[str] = []
    text: str = ""


def recipe(id: str = "apple_pie") -> Recipe:
    """Return a recipe of about 1 KB."""
    return Recipe(
        id=id,
        title="Apple pie with a crust",
        author=Author(name="Ada", country="UK", born=1815),
        ingredients=[Ingredient(name=f"ingredient {n}", amount=n * 1.5, unit="g") for n in range(10)],
        created=datetime(2024, 5, 1, 12, 30, 0, 418_043, UTC),
        updated=datetime(2024, 6, 1, 12, 30, 5, 250_000, UTC),
        published=datetime(2024, 7, 1, 8, 15, 59, 999_001, UTC),
        rating=4.5,
        tags=["sweet", "fruit", "baked"],
        text="Peel and core the apples. " * 5,
    )
