"""The models of the tests of views."""

from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel

from couchmodel import CouchModel, Field, Link, Links, Mapped, Stats, View

LENGTHS = "function (doc) { if (doc.type === 'book') { emit([doc.title, doc.title.length], doc.title.length); } }"


class Shape(StrEnum):
    SMALL = "small"
    LARGE = "large"


class Author(CouchModel, database="views", type="author"):
    name: Mapped[str]


class Print(BaseModel):
    """What is known of a book's printing."""

    year: int
    shape: Shape = Shape.SMALL


class Book(CouchModel, database="views", type="book"):
    title: Mapped[str]
    author: Link[Author]
    editor: Link[Author | None] = Field(default=None)
    readers: Links[Author] = Field(default_factory=list)
    published: Mapped[date]
    pages: Mapped[int] = Field(default=0)
    weight: Mapped[float | None] = Field(default=None, stored_as="grams")
    tags: Mapped[list[str]] = Field(default_factory=list)
    printed: Mapped[Print | None] = Field(default=None)

    by_author: ClassVar[View[tuple[str, date], int, Stats]] = View(
        key=("author", "published"), value="pages", reduce="_stats"
    )
    by_tag: ClassVar[View[str, None, int]] = View(key="tags", each=True, reduce="_count")
    by_tag_and_day: ClassVar[View[tuple[str, date], int, int]] = View(
        key=("tags", "published"), value="pages", each=True, reduce="_sum"
    )
    by_title: ClassVar[View[str, date, None]] = View(key="title", value="published")
    by_shape: ClassVar[View[tuple[Shape, int], None, int]] = View(
        key=("printed.shape", "printed.year"), reduce="_count"
    )
    weights: ClassVar[View[str, float, Stats]] = View(key="title", value="weight", reduce="_stats")
    lengths: ClassVar[View[int, None, None]] = View(
        key="pages", where=lambda book: (book.pages > 30) & ~(book.author == "bob")
    )
    editors: ClassVar[View[str, str | None, None]] = View(key="title", value="editor")
    by_reader: ClassVar[View[str, None, int]] = View(key="readers", each=True, reduce="_count")


class Novel(Book, type="novel"):
    hero: Mapped[str] = Field(default="")


class Scripted(CouchModel, database="views", type="book"):
    """The books once more, with views of JavaScript."""

    title: Mapped[str]

    lengths: ClassVar[View[tuple[str, int], int, int]] = View(map=LENGTHS, reduce="_sum")
    longest: ClassVar[View[str, int, int]] = View(map=Path("longest.js"), reduce=Path("longest_of.js"))
    plain: ClassVar[View[str, None, int]] = View(key="title", reduce="_count")
