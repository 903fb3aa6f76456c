from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from couchmodel import BackLink, CouchModel, Link, Mapped

if TYPE_CHECKING:
    from tests.model.cycle.books import Book


class Author(CouchModel, database="cycle", type="author"):
    name: Mapped[str]
    favourite: Link[Book | None] = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    books: ClassVar[BackLink[Book]] = BackLink("author")
