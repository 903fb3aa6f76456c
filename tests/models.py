"""The models that tests speak of."""

from datetime import datetime

from pydantic import BaseModel, Field

from couchmodel import Attachment, CouchModel, Index, attachment


class Author(BaseModel):
    name: str
    country: str | None = None


class Recipe(CouchModel, database="recipes", indexes=[Index("rating", "title")]):
    title: str
    author: Author = Author(name="Ada")
    ingredients: list[str] = []
    rating: int = Field(default=0, ge=0, le=5)
    created: datetime | None = None
    photo: Attachment = attachment(content_types=["image/*"], max_size="1 KB")
