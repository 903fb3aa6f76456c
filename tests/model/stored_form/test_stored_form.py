"""What is stored is read again as the same value, at any depth, or it is refused."""

import dataclasses
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AliasChoices,
    AliasPath,
    BaseModel,
    ConfigDict,
    Json,
    RootModel,
    SecretStr,
    SerializeAsAny,
    computed_field,
    create_model,
    field_serializer,
    field_validator,
)

from couchmodel import Attachment, ConfigurationError, CouchModel, DocumentError, Field, attachment
from couchmodel._embedded.rules.collation import compare
from couchmodel._model.codec import codec
from couchmodel._wire.messages import decode, encode


def stored(document: CouchModel) -> dict[str, Any]:
    """Return the document as it is stored, without its id."""
    return {name: value for name, value in decode(codec.body_to_send(document) or b"{}").items() if name != "_id"}


def model_of(annotation: Any, default: Any = ...) -> Any:
    """Return a model with one field ``value``."""
    return create_model("Thing", __base__=CouchModel, value=(annotation, default))


def round_trip(document: CouchModel) -> CouchModel:
    return codec.load(type(document), codec.body_to_send(document) or b"")


class Part(BaseModel):
    number: int = Field(default=0, serialization_alias="no")
    code: str = Field(default="", validation_alias="CODE")
    deep: str = Field(default="", validation_alias=AliasPath("a", "b"))
    choice: str = Field(default="", validation_alias=AliasChoices("old", "new"), serialization_alias="new")
    renamed: str = Field(default="", stored_as="kept")
    hidden: str = Field(default="", exclude=True)
    rare: int = Field(default=0, exclude_if=lambda value: value == 7)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def twice(self) -> int:
        return 2 * self.number


class Whole(CouchModel):
    part: Part = Part()
    parts: list[Part] = []
    by_name: dict[str, Part] = {}


def test_aliases_and_hidden_fields_are_kept_at_any_depth() -> None:
    part = Part(number=1, CODE="c", a={"b": "d"}, old="o", renamed="r", hidden="h", rare=7)  # type: ignore[call-arg]
    whole = Whole(part=part, parts=[part], by_name={"x": part})
    assert round_trip(whole) == whole
    assert stored(whole)["parts"] == [
        {"no": 1, "code": "c", "deep": "d", "new": "o", "kept": "r", "hidden": "h", "rare": 7}
    ]


def test_a_change_of_a_field_outweighs_the_value_under_its_older_name() -> None:
    whole = codec.load(Whole, encode({"_id": "x", "_rev": "1-a", "part": {"old": "before", "CODE": "before"}}))
    whole.part.choice = whole.part.code = "after"
    again = round_trip(whole)
    assert (again.part.choice, again.part.code) == ("after", "after")  # type: ignore[attr-defined]


@dataclasses.dataclass
class Point:
    x: float
    y: float = dataclasses.field(default=0.0)


class Tags(RootModel[list[str]]):
    pass


class Colour(Enum):
    RED = "red"
    BLUE = 2


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (bytes, b"\x00\xff", "00ff"),
        (timedelta, timedelta(minutes=1, microseconds=5), 60.000005),
        (Decimal, Decimal("10.50"), "p500001:10.5"),
        (Decimal, Decimal(0), "o"),
        (Point, Point(1.5), {"x": 1.5, "y": 0.0}),
        (Tags, Tags(["a"]), ["a"]),
        (dict[date, int], {date(2026, 1, 1): 1}, {"2026-01-01": 1}),
        (dict[Colour, int] | None, {Colour.RED: 1}, {"red": 1}),
        (tuple[int, str], (1, "a"), [1, "a"]),
        (frozenset[int], frozenset({3, 1}), [1, 3]),
        (UUID, UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Literal["a", 1], 1, 1),
        (list[datetime], [datetime(2026, 1, 1, tzinfo=UTC)], ["2026-01-01T00:00:00.000000Z"]),
    ],
)
def test_a_value_is_stored_in_a_form_that_is_read_again(annotation: Any, value: object, text: object) -> None:
    document = model_of(annotation)(value=value)
    assert stored(document) == {"value": text}
    assert round_trip(document) == document


class Tight(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = ""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def initial(self) -> str:
        return self.name[:1]


def test_an_embedded_model_that_forbids_extras_may_have_computed_fields() -> None:
    document = model_of(list[Tight])(value=[Tight(name="Ada")])
    assert round_trip(document) == document


class Counts(CouchModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int]  # pyright: ignore[reportIncompatibleVariableOverride]
    photo: Attachment = attachment()


def test_extras_of_a_declared_type_may_stand_beside_attachments() -> None:
    stubs = {"photo": {"stub": True, "content_type": "image/png", "length": 1}}
    counts = codec.load(Counts, encode({"_id": "x", "_rev": "1-a", "apples": 4, "_attachments": stubs}))
    assert counts.model_extra == {"apples": 4}
    counts.apples = 5  # type: ignore[attr-defined]
    assert stored(counts) == {"_rev": "1-a", "apples": 5, "_attachments": stubs}


def test_json_in_a_text_is_stored_as_its_value() -> None:
    class Message(CouchModel):
        numbers: Json[list[int]]
        anything: Json[Any]

    message = Message(numbers="[1, 2]", anything='{"a": [null]}')  # type: ignore[arg-type]
    assert stored(message) == {"numbers": [1, 2], "anything": {"a": [None]}}
    assert round_trip(message) == message


def test_a_decimal_of_a_declared_scale_is_a_number() -> None:
    priced = model_of(Decimal, Field(default=Decimal(0), decimal_places=2))
    assert stored(priced(value=Decimal("10.50"))) == {"value": 10.5}
    assert stored(priced(value=Decimal(7))) == {"value": 7}
    with pytest.raises(DocumentError, match=r"more digits than a JSON number keeps"):
        codec.body_to_send(priced(value=Decimal("12345678901234567.89")))


@pytest.mark.parametrize(
    ("annotation", "values"),
    [
        (Decimal, st.decimals(allow_nan=False, allow_infinity=False, places=None)),
        (timedelta, st.timedeltas(min_value=timedelta(days=-90_000), max_value=timedelta(days=90_000))),
        (bytes, st.binary()),
        (date, st.dates()),
        (time, st.times()),
        (datetime, st.datetimes(min_value=datetime(1000, 1, 1))),  # noqa: DTZ001 - instants without a zone
    ],
)
def test_values_are_stored_in_their_order(annotation: Any, values: st.SearchStrategy[Any]) -> None:
    model = model_of(annotation)

    @given(values, values)
    def check(one: Any, other: Any) -> None:
        first, second = (stored(model(value=value))["value"] for value in (one, other))
        assert compare(first, second) == (one > other) - (one < other)

    check()


@dataclasses.dataclass
class Hidden:
    code: str = Field(default="", exclude=True)
    rare: int = Field(default=0, exclude_if=lambda value: value == 7)


@dataclasses.dataclass
class Reading:
    at: datetime
    value: Any = 0.0


class Measured(BaseModel):
    reading: Reading


class Base64(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", ser_json_timedelta="iso8601")
    content: bytes
    lasts: timedelta


CEST_NOON = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
STORED_NOON = "2026-05-01T10:00:00.000000Z"


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        (Hidden, Hidden("c", 7), {"code": "c", "rare": 7}),
        (Reading, Reading(CEST_NOON), {"at": STORED_NOON, "value": 0.0}),
        (
            SerializeAsAny[Measured],
            Measured(reading=Reading(CEST_NOON)),
            {"reading": {"at": STORED_NOON, "value": 0.0}},
        ),
        (int | datetime | str, CEST_NOON, STORED_NOON),
        (Base64, Base64(content=b"\xff\x00", lasts=timedelta(1)), {"content": "ff00", "lasts": 86400.0}),
    ],
)
def test_what_an_api_writes_otherwise_is_stored_by_its_own_rules(annotation: Any, value: object, text: object) -> None:
    document = model_of(annotation)(value=value)
    assert stored(document) == {"value": text}
    assert round_trip(document) == document


class Animal(BaseModel):
    name: str


class Dog(Animal):
    tail: int = 1


class Shout(CouchModel):
    text: str

    @field_validator("text")
    @classmethod
    def longer(cls, text: str) -> str:
        return f"{text}!"


class Loose(CouchModel):
    model_config = ConfigDict(extra="allow")


class Side(StrEnum):
    LEFT = "left"


class Rounded(CouchModel):
    number: float

    @field_serializer("number")
    def whole(self, number: float) -> int:
        return int(number)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (lambda: model_of(Animal)(value=Dog(name="Rex")), "value: a value of Dog.* read again as one of Animal"),
        (lambda: model_of(SerializeAsAny[Animal])(value=Dog(name="Rex")), "value: a value of Dog"),
        (lambda: model_of(list[Animal])(value=[Dog(name="Rex")]), "value.0: a value of Dog"),
        (lambda: model_of(Any)(value={"n": float("nan")}), "value.n: .*NaN"),
        (lambda: model_of(Reading)(value=Reading(CEST_NOON, float("nan"))), "value.value: .*NaN"),
        (
            lambda: model_of(SerializeAsAny[Measured])(value=Measured(reading=Reading(CEST_NOON, float("inf")))),
            "value.reading.value: .*NaN",
        ),
        (lambda: model_of(Any)(value=datetime(2026, 1, 1, tzinfo=UTC)), "value: a value of datetime.* one of str"),
        (lambda: model_of(Any)(value=Animal(name="x")), "value: a value of Animal.* one of dict"),
        (lambda: model_of(Decimal)(value=Decimal("NaN")), "finite"),
        (lambda: Shout(text="a"), "text: 'a!' would be read again as 'a!!'"),
        (lambda: Rounded(number=1.5), "number: 1.5 would be read again as 1.0"),
        (
            lambda: model_of(dict[Side, int])(value={}).model_copy(update={"value": {"left": 1}}),
            "value.left: a value of str.* one of Side",
        ),
        (
            lambda: Loose.model_validate({"_deleted": True}),
            "_deleted: members that begin with an underscore are CouchDB's own",
        ),
        (lambda: Loose.model_validate({"a": float("inf")}), "a: .*NaN"),
    ],
)
def test_a_value_that_would_not_be_read_again_is_refused(document: Callable[[], CouchModel], reason: str) -> None:
    with pytest.raises((DocumentError, ValueError), match=reason):
        codec.body_to_send(document())


class Unreadable:
    pass


class LoosePart(BaseModel, extra="allow"):
    pass


class Odd(BaseModel):
    text: str = ""
    anything: Any = None
    deep: dict[str, list[str]] = {}


@pytest.mark.parametrize(
    ("document", "where"),
    [
        (lambda: model_of(Odd)(value=Odd(text="\ud800")), "value.text: .*surrogates"),
        (
            lambda: model_of(list[Odd])(value=[Odd(), Odd(deep={"a": ["b", "\ud800"]})]),
            "value.1.deep.a.1: .*surrogates",
        ),
        (lambda: model_of(Odd)(value=Odd(anything=[Unreadable()])), "value.anything.0: .*unknown type.*Unreadable"),
        (lambda: Loose.model_validate({"a": {"b": "\ud800"}}), "a.b: .*surrogates"),
        (lambda: model_of(LoosePart)(value={}).model_copy(update={"value": Side.LEFT}), "value: .*'Side' object"),
    ],
)
def test_a_value_that_cannot_be_written_is_named_with_its_path(document: Callable[[], CouchModel], where: str) -> None:
    with pytest.raises(DocumentError, match=f"cannot be stored: {where}"):
        codec.body_to_send(document())


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (SecretStr, "Thing.value cannot be stored: .*asterisks"),
        (list[SecretStr], "Thing.value cannot be stored: .*asterisks"),
        (dict[str, SecretStr], "Thing.value cannot be stored: .*asterisks"),
        (create_model("Inner", password=(SecretStr, ...)), "Thing.value.password cannot be stored: .*asterisks"),
        (Callable[[], int], "Thing.value cannot be stored: a function"),
        (Iterable[int], "Thing.value cannot be stored: an iterable"),
    ],
)
def test_a_class_that_cannot_be_stored_is_refused(annotation: Any, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        model_of(annotation)


def test_an_object_that_json_cannot_make_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="an object of Unreadable cannot be read from JSON"):
        type("Thing", (CouchModel,), {"__annotations__": {"value": Unreadable}}, arbitrary_types_allowed=True)


def test_a_secret_with_a_serializer_is_stored() -> None:
    class Account(CouchModel):
        password: SecretStr

        @field_serializer("password")
        def reveal(self, password: SecretStr) -> str:
            return password.get_secret_value()

    assert stored(Account(password=SecretStr("x"))) == {"password": "x"}
