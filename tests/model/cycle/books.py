from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from couchmodel import CouchModel, Field, Link, Links, Mapped, View

if TYPE_CHECKING:
    from tests.model.cycle.authors import Author


class Book(CouchModel, database="cycle", type="book"):
    title: Mapped[str]
    author: Link[Author]
    readers: Links[Author] = Field(default_factory=list)

    by_author: ClassVar[View[tuple[str, str], None, int]] = View(key=("author", "title"), reduce="_count")
