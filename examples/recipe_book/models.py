"""The model of the application: a recipe, with a photo and its thumbnail."""

import asyncio
from typing import Annotated, ClassVar, Final

from pydantic import StringConstraints

from couchmodel import Attachment, Field, File, Index, Mapped, Security, Timestamps, View, attachment, before_save

from .pictures import shrink

COOK: Final = "cook"
"""The role of users who may write."""

Tag = Annotated[str, StringConstraints(strip_whitespace=True, to_lower=True, min_length=1, max_length=24)]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class Recipe(
    Timestamps,
    database="recipes",
    indexes=[Index("title"), Index("rating")],
    guard=True,
    security=Security(member_roles=[COOK]),
):
    """A recipe. ``guard`` and ``security`` hold for browsers that synchronise with the database, too."""

    title: Mapped[str] = Field(min_length=1, max_length=80)
    summary: Mapped[str] = Field(default="", max_length=280)
    minutes: Mapped[int | None] = Field(default=None, ge=1, le=2880)
    servings: Mapped[int] = Field(default=4, ge=1, le=100)
    rating: Mapped[int] = Field(default=0, ge=0, le=5)
    tags: Mapped[list[Tag]] = Field(default_factory=list, max_length=8)
    ingredients: Mapped[list[Line]] = Field(default_factory=list, max_length=60)
    steps: Mapped[list[Line]] = Field(default_factory=list, max_length=40)
    changed_by: Mapped[str] = Field(default="", merge="mine", read_only=True)
    photo: Attachment = attachment(content_types=["image/jpeg", "image/png", "image/webp"], max_size="5 MB")
    thumbnail: Attachment = attachment(content_types=["image/jpeg"], max_size="200 kB")

    by_title: ClassVar[View[str, None, int]] = View(key="title", reduce="_count")
    by_tag: ClassVar[View[tuple[str, str], None, int]] = View(key=("tags", "title"), each=True, reduce="_count")

    @before_save
    async def make_thumbnail(self) -> None:
        """Make the thumbnail of a new photo. Both are stored in one request with the recipe."""
        if "photo" in self.changed_fields() and self.photo:
            small = await asyncio.to_thread(shrink, await self.photo.fetch())
            self.thumbnail = File(small, "image/jpeg")


async def current_sequence() -> str:
    """Return the sequence of the last change. A page that is made now wants to hear of the changes after it."""
    info = await Recipe.repository().database.info()
    return str(info["update_seq"])
