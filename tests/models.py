"""The models that tests speak of."""

from datetime import datetime

from pydantic import BaseModel

from couchmodel import Attachment, CouchModel, Field, Index, Mapped, attachment


class Author(BaseModel):
    name: Mapped[str]
    country: Mapped[str | None] = Field(default=None)


class Recipe(CouchModel, database="recipes", indexes=[Index("rating", "title")]):
    title: Mapped[str]
    author: Mapped[Author] = Field(default=Author(name="Ada"))
    ingredients: Mapped[list[str]] = Field(default_factory=list)
    rating: Mapped[int] = Field(default=0, ge=0, le=5)
    created: Mapped[datetime | None] = Field(default=None)
    photo: Attachment = attachment(content_types=["image/*"], max_size="1 KB")
