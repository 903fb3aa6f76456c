"""A value that was assigned past the validation of its model is read again as it is, or the document is refused.

For models of plain fields, a save tells that by the types of the values, without reading its own text.
"""

from collections.abc import Callable
from copy import copy
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from enum import Enum, Flag, IntEnum, StrEnum
from typing import Annotated, Any, Final, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    NaiveDatetime,
    RootModel,
    create_model,
    field_validator,
)

from couchmodel import CouchModel, DocumentError, Field, Link, Links
from couchmodel._model.codec import codec
from couchmodel._model.codec.fidelity import find_difference
from couchmodel._model.codec.forms import form_of


class Side(StrEnum):
    LEFT = "left"


class Level(IntEnum):
    LOW = 1


class Shape(Enum):
    POINT = (1, 2)


class Right(Flag):
    READ = 1
    WRITE = 2


class Part(BaseModel):
    name: str
    size: int | None = None


class LongerPart(Part):
    more: int = 1


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str = ""


class Tree(BaseModel):
    name: str = ""
    below: list["Tree"] = []


class Shop(CouchModel):
    name: str


class Thing(CouchModel):
    text: str = "a"
    number: int = 1
    fraction: float = 1.5
    flag: bool = True
    instant: datetime = datetime(2026, 1, 1, 12, 0, 0, 5, UTC)
    aware: AwareDatetime = datetime(2026, 1, 1, tzinfo=UTC)
    naive: NaiveDatetime = datetime(2026, 1, 1)  # noqa: DTZ001
    day: date = date(2026, 1, 1)
    key: UUID = UUID(int=5)
    raw: bytes = b"\x00"
    side: Side = Side.LEFT
    level: Level | None = None
    choice: Literal["a", 1, True] = "a"
    short: Annotated[str, Field(min_length=1, max_length=3, pattern="^[a-z]+$")] = "abc"
    grade: Annotated[int, Field(ge=0, le=10)] = 5
    parts: list[Part] = [Part(name="a"), Part(name="b", size=1)]
    two: Annotated[list[int], Field(min_length=1, max_length=2)] = [1]
    by_name: dict[str, Part | None] = {"a": Part(name="c"), "b": None}
    anything: Any = {"a": [1, None, {"b": 1.5}]}
    open: Open = Open()
    tree: Tree = Tree(below=[Tree(name="x")])
    renamed: str = Field(default="r", alias="other")
    hidden: str = Field(default="h", exclude=True)
    shop: Link[Shop] = Field(default="x", validate_default=True)
    best: Link[Shop | None] = Field(default=None, validate_default=True)
    shops: Links[Shop] = Field(default_factory=list)


def thing() -> Thing:
    return Thing(shops=["y"])


# --- wrong values


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Instant(datetime):
    pass


class Members(dict[str, Any]):
    pass


class HalfMinute(tzinfo):
    def utcoffset(self, when: datetime | None) -> timedelta:
        return timedelta(seconds=30)

    def dst(self, when: datetime | None) -> None:
        return None

    def tzname(self, when: datetime | None) -> str:
        return "half a minute"


ZONES: Final = [
    None,
    UTC,
    timezone(timedelta(hours=2)),
    timezone(timedelta(seconds=30)),
    timezone(timedelta(seconds=-1)),
    timezone(timedelta(microseconds=5)),
    ZoneInfo("Europe/London"),
    ZoneInfo("Africa/Monrovia"),
    HalfMinute(),
]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**66), 2**66),
    st.floats(),
    st.text(max_size=4),
    st.dates(),
    st.uuids(),
    st.binary(max_size=2),
    st.builds(
        lambda when, zone, fold: when.replace(tzinfo=zone, fold=fold),
        st.datetimes() | st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)),  # noqa: DTZ001
        st.sampled_from(ZONES),
        st.integers(0, 1),
    ),
    st.sampled_from(
        [
            *(Text("a"), Whole(1), Instant(2026, 1, 1, tzinfo=UTC), "\ud800", "NaN", '"text":"2026-01-01T00:00:00Z"'),
            *(Side.LEFT, Level.LOW, Shape.POINT, Right.READ, Right.READ | Right.WRITE, 10**30, -0.0, 1e16),
            *(Members(a=1), (1, 2), {"a"}, {1: 1}, {Text("a"): 1}, {Side.LEFT: 1}, object()),
        ]
    ),
)
MAKERS: Final[list[Callable[[], Any]]] = [
    lambda: Part(name="a"),
    lambda: LongerPart(name="a"),
    lambda: Part.model_construct(name=1),
    Part.model_construct,
    lambda: Open(name="a", more=1),  # type: ignore[call-arg]
    lambda: Tree(below=[Tree(), Tree()]),
    lambda: Shop(id="x", name="a"),
    thing,
]
objects = st.sampled_from(MAKERS).map(lambda make: make())
values = st.recursive(
    scalars | objects,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["", "a", "_id", Text("b")]), inner, max_size=2)
    ),
    max_leaves=4,
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return the places at any depth of a value: each container with a key or an index."""
    if isinstance(value, BaseModel):
        value = vars(value)
    if type(value) not in (dict, list):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    return [place for key in keys for place in ((value, key), *places(value[key]))]


PLACES: Final = len(places(thing()))


def is_kept_or_refused(document: CouchModel) -> bool:
    """Return True if a document is stored; False if it is refused. Fails if it would be read as another one."""
    try:
        body = codec.body_to_send(document)
    except DocumentError:
        return False
    assert body is not None
    assert find_difference(document, codec.load(type(document), body)) is None
    return True


@given(st.integers(0, PLACES - 1), values)
@example(0, Text("a"))
def test_a_wrong_value_is_refused_and_any_other_is_kept(place: int, value: Any) -> None:
    document = thing()
    container, key = places(document)[place]
    container[key] = value
    is_kept_or_refused(document)


@pytest.mark.parametrize("value", [Text("a"), Whole(1), Side.LEFT, Level.LOW, True, 1, 1.0, "1", b"a", None, "_x", ""])
@pytest.mark.parametrize("place", range(PLACES))
def test_a_value_of_another_type_is_refused_at_any_place(place: int, value: Any) -> None:
    document = thing()
    container, key = places(document)[place]
    container[key] = value
    is_kept_or_refused(document)


@pytest.mark.parametrize("place", [n for n, (_, key) in enumerate(places(thing())) if key not in ("id", "rev")])
def test_a_document_without_one_of_its_values_is_refused_or_kept(place: int) -> None:
    document = thing()
    container, key = places(document)[place]
    del container[key]
    is_kept_or_refused(document)


def test_a_document_of_right_values_is_stored() -> None:
    assert is_kept_or_refused(thing())


# --- which models are checked by their types


@pytest.mark.parametrize("name", Thing.model_fields.keys() - {"id", "rev"})
def test_a_field_of_a_plain_type_needs_no_reading(name: str) -> None:
    field = copy(Thing.model_fields[name])
    value: Any = (field.annotation, field)
    assert form_of(create_model("Plain", __base__=CouchModel, value=value)).is_plain is not None


def shout(text: str) -> str:
    return text.upper()


class Shouting(BaseModel):
    text: str

    _louder = field_validator("text")(shout)


class Counting(BaseModel):
    number: int = 0

    def model_post_init(self, context: Any) -> None:
        self.number += 1


class Stripped(BaseModel):
    model_config = ConfigDict(str_strip_whitespace=True)

    text: str


class Tags(RootModel[list[str]]):
    pass


@pytest.mark.parametrize(
    "annotation", [Shouting, list[Counting], Stripped, Tags, int | str, Shape, Right, set[str], dict[Side, int]]
)
def test_a_field_of_another_type_is_read_before_it_is_stored(annotation: Any) -> None:
    model = create_model("Odd", __base__=CouchModel, value=(annotation, None))
    assert form_of(model).is_plain is None
