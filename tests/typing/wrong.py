"""Mistakes that a type checker finds. Each line that ends in ``# E`` is an error, and no other line is."""

from pydantic import BaseModel

from couchmodel import Attachment, Change, CouchModel, Field, JSONAttachment, Mapped, TextAttachment, attachment


class Address(BaseModel):
    city: Mapped[str]


class Author(CouchModel, database="x"):
    name: Mapped[str]
    address: Mapped[Address]


class Recipe(CouchModel, database="x"):
    title: Mapped[str]
    rating: Mapped[int] = Field(default=0)
    tags: Mapped[list[str]] = Field(default_factory=list)
    photo: Attachment = attachment()
    notes: TextAttachment = attachment()
    address: JSONAttachment[Address] = attachment()


r = Recipe(title="x")
Recipe.rating >= "four"  # E
Recipe.find(Recipe.rating == "four")  # E
Recipe.find((Recipe.rating == 4) & (Recipe.title == 4))  # E
Recipe.find(r.rating >= 4)  # E
Recipe.find("rating > 4")  # E
Recipe.ratng  # E
Recipe.rating.startswith("x")  # E
Recipe.rating.contains(1)  # E
Recipe.tags.contains(3)  # E
Recipe.tags.contains_all([3])  # E
Recipe.tags.has_key("x")  # E
Author.address.town  # E
Recipe(title=3)  # E
Recipe(titel="x")  # E
Recipe()  # E
r.rating = "x"  # E
r.photo = "pie.jpg"  # E
r.notes = 3  # E
r.address = r  # E
r.photo.size  # E


async def consumers_are_asynchronous_and_of_their_model(change: Change[Author]) -> None:
    await Recipe.repository().consume("x", consumers_are_asynchronous_and_of_their_model)  # E
    await Recipe.repository().consume("x", lambda change: None)  # E
    Recipe.changes(since=5)  # E
    await r.delete(reason="x")  # E


async def assignments_have_the_type_of_their_field() -> None:
    await Recipe.find().update(Recipe.rating.set("x"))  # E
    await Recipe.find().sum(Recipe.title)  # E
