"""Create, read, change and find recipes, handle a conflict, and store a picture as an attachment.

Without an argument, the recipes are stored in ./couchmodel.db. With a URL, they are stored there:

    python examples/01_recipes.py [memory: | sqlite:FILE | http://user:password@host:5984]
"""

import asyncio
import struct
import sys
import zlib

from pydantic import BaseModel

from couchmodel import Attachment, ConflictError, CouchModel, Field, Index, Mapped, attachment, col, connect


class Author(BaseModel):
    name: Mapped[str]
    country: Mapped[str | None] = Field(default=None)


class Recipe(CouchModel, database="recipes", indexes=[Index("rating", "title")]):
    title: Mapped[str]
    author: Mapped[Author]
    ingredients: Mapped[list[str]] = Field(default_factory=list)
    rating: Mapped[int] = Field(default=0)
    photo: Attachment = attachment(content_types=["image/*"], max_size="5 MB")


async def main(url: str | None) -> None:
    async with connect(url) as couch:
        await couch.apply(Recipe)
        await delete_old_recipes()

        print("1. Create")
        ada = Author(name="Ada", country="UK")
        pie = Recipe(id="apple_pie", title="Apple pie", author=ada, ingredients=["apples", "flour"], rating=5)
        await pie.save()
        print(f"   saved {pie.id!r} as revision {pie.rev}")
        await Recipe.save_all(
            [
                Recipe(id="scones", title="Scones", author=ada, rating=4),
                Recipe(id="porridge", title="Porridge", author=Author(name="Bob"), rating=2),
                Recipe(id="trifle", title="Trifle", author=Author(name="Bob", country="UK"), rating=4),
            ]
        )

        print("2. Read and change")
        pie = await Recipe.get("apple_pie")
        pie.ingredients.append("cinnamon")
        await pie.save()
        print(f"   {pie.title} by {pie.author.name}: {', '.join(pie.ingredients)}")
        rev = pie.rev
        await pie.save()
        print(f"   a save without changes keeps the revision: {pie.rev == rev}")

        print("3. Conflict")
        other = await Recipe.get("apple_pie")
        other.rating = 3
        await other.save()
        pie.rating = 4
        try:
            await pie.save()
        except ConflictError as conflict:
            print(
                f"   {conflict.document_id!r}: my rating is {conflict.mine.rating}, theirs is {conflict.theirs.rating}"
            )
            pie = conflict.theirs
            pie.rating = 4
            await pie.save()

        print("4. Find")
        good = Recipe.find(Recipe.rating >= 4, Recipe.author.name == "Ada")
        async for recipe in good.sort(Recipe.rating.desc(), Recipe.title.desc()):
            print(f"   {recipe.rating} {recipe.title}")
        without_country = await Recipe.find(Recipe.author.country.is_none()).to_list()
        print(f"   by an author without a country: {[recipe.title for recipe in without_country]}")

        print("5. Attach a picture and read it back")
        await pie.photo.save(draw_pie(), "image/png")
        again = await Recipe.get("apple_pie")
        picture = await again.photo.fetch()
        print(f"   {again.photo.content_type}, {again.photo.length} bytes, the same: {picture == draw_pie()}")


async def delete_old_recipes() -> None:
    """Delete the recipes of an earlier run."""
    async for recipe in Recipe.find(col(Recipe.id).in_(["apple_pie", "scones", "porridge", "trifle"])):
        await recipe.delete()


def draw_pie(size: int = 64) -> bytes:
    """Return a PNG of a brown circle on white, ``size`` pixels wide and high."""
    crust, table = b"\xb5\x65\x1d", b"\xff\xff\xff"
    middle = (size - 1) / 2
    rows = (
        b"\0" + b"".join(crust if (x - middle) ** 2 + (y - middle) ** 2 < middle**2 else table for x in range(size))
        for y in range(size)
    )
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
