"""The models of bulk writes, and what their tests share."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, ClassVar

from couchmodel import (
    BackLink,
    CouchModel,
    DocumentError,
    Field,
    Link,
    Mapped,
    Repository,
    before_delete,
    before_save,
)

LENGTH = 10


class Note(CouchModel):
    text: Mapped[str] = Field(default="")
    rank: Mapped[int] = Field(default=0, ge=0)


class Hooked(Note):
    saves: Mapped[int] = Field(default=0)

    @before_save
    def count(self) -> None:
        self.saves += 1
        if self.text == "bad":
            raise ValueError("a bad text")
        if self.text == "refused":
            raise DocumentError("a text to refuse", model="Hooked", document_id=self.id, errors=[])

    @before_delete
    def mark(self) -> None:
        self.saves = -1
        if self.text == "kept":
            raise ValueError("it is kept")


class Careful(Note):
    """A model with verbs of its own."""

    async def save(self, *, force: bool = False) -> None:
        self.rank += 1
        await super().save(force=force)

    async def delete(self) -> None:
        self.text = "deleted with care"
        await super().save()
        await super().delete()


class Author(CouchModel, type="author"):
    books: ClassVar[BackLink["Book"]] = BackLink("author", on_delete="refuse")


class Book(CouchModel, type="book"):
    author: Link[Author]


def make(count: int) -> list[Note]:
    return [Note(id=f"n{n:03}", rank=n) for n in range(count)]


async def one_by_one(documents: Iterable[Any]) -> AsyncIterator[Any]:
    for document in documents:
        await asyncio.sleep(0)
        yield document


async def names(repository: Repository[Any]) -> list[str]:
    return [each.id async for each in repository.find().sort("id")]
