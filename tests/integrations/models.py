"""The models of the applications that are tested."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, field_validator, model_validator

from couchmodel import Attachment, CouchModel, Field, Index, Mapped, attachment


class Author(BaseModel):
    name: Mapped[str]
    country: Mapped[str | None] = Field(default=None)
    checked: Mapped[bool] = Field(default=False, read_only=True)
    email: Mapped[str] = Field(default="", write_only=True)


class Dish(CouchModel, indexes=[Index("rating"), Index("title"), Index("tags")]):
    title: Mapped[str] = Field(min_length=1)
    rating: Mapped[int] = Field(default=0, ge=0, le=5)
    note: Mapped[str | None] = Field(default=None)
    tags: Mapped[list[str]] = Field(default_factory=list)
    scores: Mapped[dict[str, int]] = Field(default_factory=dict)
    author: Mapped[Author | None] = Field(default=None)
    kind: Mapped[Literal["sweet", "salty"] | None] = Field(default=None)
    created: Mapped[datetime | None] = Field(default=None)
    views: Mapped[int] = Field(default=0, read_only=True, merge="sum")
    secret: Mapped[str] = Field(default="", write_only=True)
    photo: Attachment = attachment(content_types=["image/*"], max_size="1 KB")

    @field_validator("title")
    @classmethod
    def refuse_digits(cls, title: str) -> str:
        if title.isdecimal():
            raise ValueError("a title is no number")
        return title

    @model_validator(mode="after")
    def check_kind(self) -> "Dish":
        if self.kind == "sweet" and "meat" in self.tags:
            raise ValueError("no meat in what is sweet")
        return self


class Page(CouchModel, extra="allow"):
    title: Mapped[str]


class Book(CouchModel, id="book:{slug}"):
    slug: Mapped[str]
    pages: Mapped[int] = Field(default=0)


class Place(CouchModel):
    id: str = Field(max_length=40)
    name: Mapped[str] = Field(default="")


class Guest(CouchModel, type="guest"):
    id: str = Field(max_length=40)
    name: Mapped[str] = Field(default="")


def json_of(**members: Any) -> dict[str, Any]:
    """Return the body of a new dish."""
    return {"title": "Pie", **members}
