"""Conditions on places inside documents: keys of dictionaries, unions, typed dictionaries, dataclasses."""

import enum
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal, NotRequired

import pytest
from pydantic import BaseModel, RootModel
from typing_extensions import TypedDict

from couchmodel import Connection, CouchModel, NotFoundError, QueryError, Repository

AT = datetime(2026, 1, 1, tzinfo=UTC)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    name: str
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str
    tricks: list[str] = []


class Place(TypedDict):
    city: str
    floor: NotRequired[int]


@dataclass
class Door:
    colour: Colour


class Tags(RootModel[list[str]]):
    """A list of tags."""


class House(CouchModel):
    by_colour: dict[Colour, int] = {}
    by_day: dict[date, int] = {}
    by_instant: dict[datetime, int] = {}
    by_truth: dict[bool, int] = {}
    by_number: dict[Decimal, int] = {}
    by_text: dict[str, int] = {}
    pet: Cat | Dog | None = None
    place: Place = {"city": "Bath"}
    door: Door | None = None
    tags: Tags = Tags([])
    colours: set[Colour] = set()
    pair: tuple[int, str] = (1, "a")
    rooms: list[dict[str, int]] = []


H: Any = House

FOUND: dict[str, Any] = {
    "enum as key": lambda: H.by_colour[Colour.RED] == 1,
    "enum as key that is there": lambda: H.by_colour.has_key(Colour.RED),
    "day as key": lambda: H.by_day[date(2026, 1, 1)] == 1,
    "instant as key": lambda: H.by_instant[AT] == 1,
    "the same instant elsewhere": lambda: H.by_instant[AT.astimezone(timezone(timedelta(hours=2)))] == 1,
    "truth as key": lambda: H.by_truth[True] == 1,
    "number as key": lambda: H.by_number[Decimal("1.50")] == 1,
    "key with a dot": lambda: H.by_text["a.b"] == 1,
    "key with a dollar": lambda: H.by_text["$x"] == 1,
    "field of all models of a union": lambda: H.pet.name == "Rex",
    "field of one model of a union": lambda: H.pet.tricks.contains("sit"),
    "tag of a union": lambda: H.pet.kind == "dog",
    "typed dictionary": lambda: H.place.city == "Bath",
    "member that may be missing": lambda: H.place.floor == 2,
    "dataclass": lambda: H.door.colour == Colour.BLUE,
    "root model": lambda: H.tags.contains("t"),
    "element of a set": lambda: H.colours.contains(Colour.RED),
    "element of a tuple": lambda: H.pair[1] == "a",
    "dictionary in a list": lambda: H.rooms[0]["beds"] == 2,
}

REFUSED: dict[str, Any] = {
    "key of another type": (lambda: H.by_colour[3] == 1, "no key of a dictionary with keys of Colour"),
    "key with a backslash": (lambda: H.by_text["a\\b"] == 1, "backslash"),
    "text for several": (lambda: H.pair[1].in_("abc"), "several values"),
    "instant for a day": (lambda: H.by_day[date(2026, 1, 1)] == AT, "of int"),
    "element of another type": (lambda: H.colours.contains("red"), "write Colour.RED"),
    "no value of an enum": (lambda: H.door.colour == "pink", "its values are 'red', 'blue'"),
}


@pytest.fixture(scope="module")
def house() -> House:
    return House(
        id="a",
        by_colour={Colour.RED: 1},
        by_day={date(2026, 1, 1): 1},
        by_instant={AT: 1},
        by_truth={True: 1},
        by_number={Decimal("1.5"): 1},
        by_text={"a.b": 1, "$x": 1},
        pet=Dog(name="Rex", tricks=["sit"]),
        place={"city": "Bath", "floor": 2},
        door=Door(Colour.BLUE),
        tags=Tags(["t"]),
        colours={Colour.RED},
        rooms=[{"beds": 2}],
    )


@pytest.fixture
async def houses(couch: Connection, house: House) -> AsyncIterator[Repository[House]]:
    database = await couch.create(f"test-{secrets.token_hex(6)}", q=1)
    repository = Repository(House, database)
    await repository.save_all(
        [house.model_copy(update={"rev": None}), House(id="b", place={"city": "Rome"}, pair=(2, "b"))]
    )
    yield repository
    with suppress(NotFoundError):
        await database.delete()


async def test_a_condition_finds_what_is_stored_at_its_place(houses: Repository[House]) -> None:
    found = {name: [each.id for each in await houses.find(condition())] for name, condition in FOUND.items()}
    assert found == {name: ["a"] for name in FOUND}


@pytest.mark.parametrize("kind", REFUSED)
async def test_an_operand_that_no_document_can_have_is_refused(houses: Repository[House], kind: str) -> None:
    condition, said = REFUSED[kind]
    with pytest.raises(QueryError, match=said):
        await houses.find(condition())


def test_a_field_that_no_model_of_a_union_has_gives_the_nearest() -> None:
    with pytest.raises(AttributeError, match="name"):
        _ = H.pet.nme
