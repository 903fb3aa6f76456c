"""What types promise: mypy and pyright check the statements, and nothing here is run."""

from collections.abc import AsyncIterator
from typing import assert_type

from couchmodel import Condition, FieldExpression, Ordering, Query, Repository, col
from couchmodel.engine import Database
from tests.models import Author, Recipe


class Cake(Recipe):
    layers: int = 1


async def documents_have_the_type_of_their_model() -> None:
    assert_type(await Cake.get("x"), Cake)
    assert_type(await Cake.get_or_none("x"), Cake | None)
    assert_type(Cake.find(Cake.layers > 1), Query[Cake])
    assert_type(await Cake.find().first(), Cake | None)
    assert_type(await Cake.find().sort(col(Cake.rating)).limit(3).to_list(), list[Cake])
    assert_type([cake async for cake in Cake.find()], list[Cake])
    assert_type(Cake.repository(), Repository[Cake])


async def a_repository_has_the_type_of_its_model(database: Database) -> None:
    assert_type(await Repository(Recipe, database).get("x"), Recipe)
    assert_type(Repository(Recipe, database).find(), Query[Recipe])


def fields_have_the_types_that_were_declared(pie: Recipe) -> None:
    assert_type(pie.id, str)
    assert_type(pie.rev, str | None)
    assert_type(pie.author, Author)
    assert_type(pie.photo.stream(), AsyncIterator[bytes])
    assert_type(pie.photo.length, int | None)


def col_gives_a_field_the_type_it_has_on_the_class() -> None:
    assert_type(col(Recipe.rating), FieldExpression[int])
    assert_type(col(Recipe.rating) >= 4, Condition)
    assert_type(col(Recipe.rating).desc(), Ordering)
    assert_type(col(Recipe.ingredients)[0], FieldExpression[str])
    assert_type(col(Recipe.ingredients).contains("salt") & ~col(Recipe.rating).in_([1]), Condition)


def mistakes_are_found() -> None:
    Recipe(titel="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Recipe(title=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Recipe(title="x", photo=b"")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    col(Recipe.rating) >= "four"  # type: ignore[operator]  # pyright: ignore[reportOperatorIssue, reportUnusedExpression]  # noqa: B015
    col(Recipe.rating).contains(3)  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    Recipe.find("rating > 4")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_the_statements_are_there_to_be_checked() -> None:
    assert Cake(title="x").layers == 1
