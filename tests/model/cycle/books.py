from __future__ import annotations

from typing import TYPE_CHECKING

from couchmodel import CouchModel, Field, Link, Links, Mapped

if TYPE_CHECKING:
    from tests.model.cycle.authors import Author


class Book(CouchModel, database="cycle", type="book"):
    title: Mapped[str]
    author: Link[Author]
    readers: Links[Author] = Field(default_factory=list)
