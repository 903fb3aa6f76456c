"""Import 3,201 records in bulk: save the valid ones, print why each invalid one was refused, and run three queries.

python examples/02_import_movies.py examples/data/movies.json [memory: | sqlite:FILE | http://user:password@host:5984]
"""

import asyncio
import json
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, ValidationError
from rich.console import Console
from rich.progress import track

from couchmodel import ConflictError, CouchModel, Field, Index, Mapped, connect

console = Console()


def read_date(value: object) -> object:
    """Convert a date of the file, such as ``Jun 12 1998``. Other values are returned unchanged."""
    if isinstance(value, str) and value[:1].isalpha():
        return datetime.strptime(value, "%b %d %Y").replace(tzinfo=UTC).date()
    return value


# The collection ends in 2011. A later year is an error in the file: a year of the 20th century with two digits.
ReleaseDate = Annotated[date, BeforeValidator(read_date), Field(le=date(2011, 12, 31))]


class Movie(CouchModel, database="movies", indexes=[Index("imdb_rating"), Index("production_budget")]):
    model_config = ConfigDict(coerce_numbers_to_str=True)  # the titles 1776 and 1941 are numbers in the file

    title: Mapped[str] = Field(min_length=1)
    release_date: Mapped[ReleaseDate]
    director: Mapped[str | None] = Field(default=None)
    major_genre: Mapped[str | None] = Field(default=None)
    production_budget: Mapped[int | None] = Field(default=None, gt=0)
    worldwide_gross: Mapped[int | None] = Field(default=None, ge=0)
    rotten_tomatoes_rating: Mapped[int | None] = Field(default=None, ge=0, le=100)
    imdb_rating: Mapped[float | None] = Field(default=None, ge=0, le=10)
    imdb_votes: Mapped[int | None] = Field(default=None, ge=0)


async def main(file: Path, url: str | None) -> None:
    movies, refused = read(file)
    async with connect(url) as couch:
        await couch.apply(Movie)
        stored = await save(movies)
        console.print(f"{stored} movies saved, {len(movies) - stored} existed already, {len(refused)} records refused:")
        report(refused)
        await run_queries()


def read(file: Path) -> tuple[list[Movie], list[tuple[int, str, str]]]:
    """Return the movies, and the row, title and errors of each refused record."""
    movies, refused = [], []
    for row, record in enumerate(json.loads(file.read_text(encoding="utf-8")), start=1):
        fields: dict[str, Any] = {name.lower().replace(" ", "_"): value for name, value in record.items()}
        try:
            movies.append(Movie.model_validate({"id": f"movie-{row:04}", **fields}))
        except ValidationError as error:
            why = "; ".join(f"{each['loc'][0]}: {each['msg']} (it is {each['input']!r})" for each in error.errors())
            refused.append((row, str(record["Title"]), why))
    return movies, refused


async def save(movies: list[Movie]) -> int:
    """Save movies in bulk, and return the number of new ones."""
    stored = 0
    parts = [movies[start : start + 200] for start in range(0, len(movies), 200)]
    for part in track(parts, "saving", console=console):
        stored += len(part)
        try:
            await Movie.save_all(part)
        except* ConflictError as there:
            stored -= len(there.exceptions)
    return stored


def report(refused: list[tuple[int, str, str]]) -> None:
    for row, title, why in refused:
        console.print(f"  row {row:4} {title}: {why}", markup=False, highlight=False, soft_wrap=True)


async def run_queries() -> None:
    console.print("\n[bold]The highest ratings with more than 100,000 votes")
    best = Movie.find(Movie.imdb_votes > 100_000).sort(Movie.imdb_rating.desc()).limit(5)
    async for movie in best:
        console.print(f"  {movie.imdb_rating} {movie.title} ({movie.release_date.year})")

    console.print("\n[bold]Cost more than 100 million, earned less than 33 million")
    flops = Movie.find(Movie.production_budget > 100_000_000, Movie.worldwide_gross < 33_000_000)
    async for movie in flops.sort(Movie.production_budget.desc()):
        console.print(f"  {movie.title} ({movie.release_date.year}) by {movie.director or 'somebody'}")

    console.print("\n[bold]Spielberg's movies with a rating of 90 or more")
    loved = Movie.find(Movie.director == "Steven Spielberg", Movie.rotten_tomatoes_rating >= 90)
    console.print(f"  {await loved.count()} of {await Movie.find(Movie.director == 'Steven Spielberg').count()}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None))
