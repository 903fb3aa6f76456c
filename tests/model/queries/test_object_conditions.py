"""Conditions whose operands are objects: embedded models, lists of them, and dictionaries.

CouchDB 3.5 answers 500 to an object of several members in a selector, if the database has an index.
"""

from typing import Any

import pytest
from pydantic import BaseModel

from couchmodel import Condition, CouchModel, Field, Mapped, QueryError, Repository, col
from couchmodel.engine import Database


class Address(BaseModel):
    street: str
    city: str


class Person(CouchModel):
    address: Mapped[Address | None]
    homes: Mapped[list[Address]] = Field(default_factory=list)
    notes: Mapped[dict[str, Any]] = Field(default_factory=dict)
    age: Mapped[int] = Field(default=30)


HIGH, LOW = Address(street="High", city="Rye"), Address(street="Low", city="Rye")
STORED: dict[str, dict[str, Any]] = {
    "high": {"address": {"street": "High", "city": "Rye"}},
    "low": {"address": {"street": "Low", "city": "Rye"}, "homes": [{"street": "High", "city": "Rye"}]},
    "order": {"address": {"city": "Rye", "street": "High"}},
    "more": {"address": {"street": "High", "city": "Rye", "zip": "TN31"}},
    "less": {"address": {"street": "High"}},
    "null": {"address": None, "homes": [{"street": "Low", "city": "Rye"}, {"street": "High", "city": "Rye"}]},
    "none": {"notes": {"a.b": 1, "c": {"$d": 1, "e": [{"f": 1, "g": None}]}}},
}

ADDRESS = Person.fields["address"]
AT_HIGH, AT_LOW = ADDRESS == HIGH, ADDRESS == LOW
OTHERS = {"low", "more", "less", "null"}


@pytest.fixture
async def people(database: Database) -> Repository[Person]:
    """Some people, in a database with an index."""
    for id, members in STORED.items():
        document = await database.create(id)
        document.update({"age": 30, **members})
        await document.save()
    await database.index({"fields": ["age"]})
    return Repository(Person, database)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (AT_HIGH, {"high", "order"}),
        (ADDRESS != HIGH, OTHERS),
        (~AT_HIGH, OTHERS),
        (~~AT_HIGH, {"high", "order"}),
        (~(AT_HIGH & (col(Person.age) == 30)), OTHERS),
        (~(AT_HIGH | AT_LOW), OTHERS - {"low"}),
        (ADDRESS.in_([HIGH, LOW]), {"high", "order", "low"}),
        (ADDRESS.in_([HIGH, None]), {"high", "order", "null", "none"}),
        (ADDRESS.not_in([HIGH, LOW]), OTHERS - {"low"}),
        (col(Person.homes).contains(HIGH), {"low", "null"}),
        (~col(Person.homes).contains(HIGH), set()),
        (col(Person.homes).contains_all([HIGH, LOW]), {"null"}),
        (col(Person.homes).contains_any([HIGH, LOW]), {"low", "null"}),
        (col(Person.homes) == [HIGH], {"low"}),
        (col(Person.homes) != [HIGH], {"null"}),
        (col(Person.homes) == [LOW, HIGH], {"null"}),
        (col(Person.notes) == {"a.b": 1, "c": {"$d": 1, "e": [{"f": 1, "g": None}]}}, {"none"}),
        (col(Person.notes) == {"a.b": 1, "c": {"$d": 1, "e": [{"f": 1, "g": 0}]}}, set()),
        (col(Person.notes) != {"a.b": 1, "c": {"$d": 1, "e": [{"f": 2, "g": None}]}}, {"none"}),
    ],
)
async def test_objects_are_compared_member_by_member(
    people: Repository[Person], condition: Condition, expected: set[str]
) -> None:
    found = await people.find(condition).values(col(Person.id))
    assert set(found) == expected


@pytest.mark.parametrize("condition", [ADDRESS > HIGH, ADDRESS.between(HIGH, LOW), col(Person.homes) <= [HIGH]])
async def test_objects_have_no_order(people: Repository[Person], condition: Condition) -> None:
    with pytest.raises(QueryError, match="no order"):
        await people.find(condition)
