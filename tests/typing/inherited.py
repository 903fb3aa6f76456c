"""What type checkers know of subclasses of models. pydantic's plugin for mypy loses the fields of a base class here."""

from typing import assert_type

from couchmodel import Field, FieldExpression, Mapped, Ordering, Query
from tests.models import Author, Recipe


class Cake(Recipe):
    layers: Mapped[int] = Field(default=1)


def fields_of_a_base_class_are_expressions() -> None:
    assert_type(Cake.rating, FieldExpression[int])
    assert_type(Cake.title.desc(), Ordering)
    assert_type(Cake.author.name, FieldExpression[str])
    _ = assert_type(Cake.find(Cake.layers > 1, Cake.rating > 1), Query[Cake])
    assert_type(Cake(title="x", layers=2), Cake)
    assert_type(Cake(title="x").author, Author)


async def documents_are_of_the_subclass() -> None:
    assert_type(await Cake.get("x"), Cake)
    assert_type(await Cake.find().to_list(), list[Cake])
