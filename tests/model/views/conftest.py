"""Books in a database of their own, with their views."""

from datetime import date

import pytest

from couchmodel import Connection, Repository
from couchmodel.engine import Database
from tests.model.views.models import Author, Book, Novel, Print, Shape


@pytest.fixture
async def shelf(couch: Connection, database: Database) -> Repository[Book]:
    """Four books, one of them a novel, and an author."""
    repository = Repository(Book, database)
    await repository.apply()
    await repository.repository_of(Novel).apply()
    await repository.repository_of(Author).save_all([Author(id="ada", name="Ada"), Author(id="bob", name="Bob")])
    small, large = Print(year=1990), Print(year=1991, shape=Shape.LARGE)
    await repository.save_all(
        [
            Book(id="b1", title="Engines", author="ada", published=date(1843, 9, 1), pages=66, tags=["science"]),
            Book(
                id="b2",
                title="Notes",
                author="ada",
                published=date(1842, 1, 1),
                pages=20,
                weight=100.5,
                tags=["science", "short"],
                printed=small,
                readers=["ada", "bob"],
            ),
            Book(id="b3", title="engine", author="bob", published=date(1850, 1, 1), pages=40, printed=large),
            Novel(
                id="n1",
                title="The Sea",
                author="bob",
                editor="ada",
                published=date(1900, 1, 1),
                pages=300,
                weight=200,
                tags=["sea"],
            ),
        ]
    )
    return repository
