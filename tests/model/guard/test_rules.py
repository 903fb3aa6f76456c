"""The rules that a guard has for the constraints of a model, and the sentences for those that it has not."""

import enum
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import (
    UUID4,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    FutureDate,
    PlainSerializer,
    PlainValidator,
    RootModel,
    WrapValidator,
    create_model,
    field_validator,
)
from pydantic.dataclasses import dataclass
from typing_extensions import TypedDict

from couchmodel import CouchModel, Field
from couchmodel._embedded.javascript.engine import Scripts
from couchmodel._model.guard.constraints import Constraints, constraints_of
from couchmodel._model.guard.javascript import design_of
from couchmodel._wire.guards import Guard
from tests.model.guard.constrained import Cat, Dog, JavaScriptGuard, Node, run


class Colour(enum.Enum):
    RED = "red"
    TWO = 2


@dataclass
class Point:
    x: int
    y: int = 0


class Entry(TypedDict, total=False):
    name: str


class Sized(BaseModel):
    model_config = ConfigDict(str_max_length=2)
    name: str


class Numbers(RootModel[list[int]]):
    pass


@pytest.fixture(scope="module")
def scripts() -> Iterator[Scripts]:
    scripts = Scripts()
    yield scripts
    scripts.close()


def model_of(annotation: Any) -> type[CouchModel]:
    made: type[CouchModel] = create_model("Thing", __base__=CouchModel, a=(annotation, ...))
    return made


def say(constraints: Constraints, scripts: Scripts, value: Any) -> str | None:
    """Return what the guard says of a value. Its declaration and its JavaScript have to say the same."""
    document = {"_id": "x", "a": value}
    said = Guard(constraints.declaration).find_breach("x", document)
    assert JavaScriptGuard(constraints, scripts).find_breaches([document]) == [said]
    return said


@pytest.mark.parametrize(
    ("annotation", "good", "bad"),
    [
        (bool, [True], {1: "true or false"}),
        (int, [5, 5.0, -(2**70)], {0.5: "a whole number", "5": "a whole number"}),
        (Annotated[int, Field(gt=0, lt=10)], [1, 9], {0: "more than 0", 10: "less than 10"}),
        (Annotated[int, Field(multiple_of=3)], [0, -3, 2**60 + 1], {4: "a multiple of 3"}),
        (Annotated[float, Field(ge=0.5)], [0.5, 7], {0.25: "at least 0.5"}),
        (Annotated[float, Field(multiple_of=0.1)], [0.3, 1e9], {0.25: "a multiple of 0.1"}),
        (Annotated[Decimal, Field(decimal_places=2, lt=1)], [0.99], {1: "less than 1", "o": "a number"}),
        (Decimal, ["p500001:10.5", "o", "10.5", 3], {"ten": "fits none of its types"}),
        (Annotated[str, Field(pattern="^[a-z]+$")], ["a"], {"A": "match the pattern ^[a-z]+$", "a\n": "match"}),
        (Annotated[str, Field(pattern=r"^\d$")], ["1", "\u0661"], {"a": r"match the pattern ^\d$"}),
        (Annotated[str, Field(min_length=2)], ["ab", "😀😀"], {"😀": "2 or more characters long"}),
        (bytes, ["", "0aFF"], {"0": "an even number of hexadecimal digits"}),
        (Annotated[bytes, Field(max_length=1)], ["0a"], {"0a0b": "2 or fewer characters long"}),
        (date, ["2024-02-29"], {"2026-02-29": "a date", "26-1-1": "a date"}),
        (Annotated[date, Field(ge=date(2026, 1, 1))], ["2026-01-01"], {"2025-12-31": "at least 2026-01-01"}),
        (datetime, ["2026-01-31T12:30:00.000000"], {"2026-01-31T12:30:00Z": "a datetime", 5: "a datetime"}),
        (AwareDatetime, ["2026-01-31T12:30:00.000000Z"], {"2026-01-31T12:30:00.000000": "a datetime"}),
        (
            Annotated[datetime, Field(lt=datetime(2026, 1, 1, tzinfo=UTC))],
            ["2025-12-31T23:59:59.999999Z", "2027-01-01T00:00:00.000000"],
            {"2026-01-01T00:00:00.000000Z": "less than 2026-01-01T00:00:00.000000Z"},
        ),
        (time, ["12:30:00", "12:30:00.5"], {"25:00:00": "a time"}),
        (UUID, ["0a1b2c3d-0000-1000-8000-000000000000"], {"0a1b": "a UUID"}),
        (UUID4, ["0a1b2c3d-0000-4000-8000-000000000000"], {"0a1b2c3d-0000-1000-8000-000000000000": "version 4"}),
        (Literal["a", 1], ["a", 1], {"1": '"a" or 1', True: '"a" or 1'}),
        (Colour, ["red", 2], {"blue": '"red" or 2'}),
        (int | None, [None, 1], {"a": "a whole number"}),
        (int | str, [1, "a"], {None: "fits none of its types"}),
        (Path, ["a/b"], {1: "a text"}),
        (None, [None], {0: "null"}),
    ],
    ids=str,
)
def test_a_value_of_a_scalar_type_is_checked(
    annotation: Any, good: list[Any], bad: dict[Any, str], scripts: Scripts
) -> None:
    constraints = constraints_of(model_of(annotation))
    assert [say(constraints, scripts, value) for value in good] == [None] * len(good)
    for value, said in bad.items():
        assert said in (say(constraints, scripts, value) or "")


@pytest.mark.parametrize(
    ("annotation", "good", "bad", "said"),
    [
        (list[int], [1, 2], [1, "2"], "a.1: has to be a whole number"),
        (Annotated[list[int], Field(min_length=1)], [1], [], "a: has to have 1 or more elements"),
        (Annotated[set[str], Field(max_length=1)], ["x"], ["x", "y"], "a: has to have 1 or fewer elements"),
        (tuple[int, str], [1, "a"], [1], "a: has to have 2 elements"),
        (tuple[str, ...], ["a"], ["a", 2], "a.1: has to be a text"),
        (dict[str, int], {"x": 1}, {"x": "1"}, "a.x: has to be a whole number"),
        (
            dict[Annotated[str, Field(max_length=1)], int],
            {"x": 1},
            {"xy": 1},
            "a.xy: as a name, it has to be 1 or fewer characters long",
        ),
        (Annotated[dict[str, int], Field(max_length=0)], {}, {"x": 1}, "a: has to have 0 or fewer members"),
        (
            Node,
            {"name": "x", "children": [{"name": "y", "more": 1}]},
            {"name": "x", "children": [{}]},
            "a.children.0.name: is required",
        ),
        (Point, {"x": 1}, {"x": 1, "y": ""}, "a.y: has to be a whole number"),
        (Entry, {}, {"name": 1}, "a.name: has to be a text"),
        (Sized, {"name": "ab"}, {"name": "abc"}, "a.name: has to be 2 or fewer characters long"),
        (Numbers, [1], ["x"], "a.0: has to be a whole number"),
        (Cat | Dog, {"kind": "dog"}, {"kind": "cow"}, "a: fits none of its types"),
        (
            Annotated[Cat | Dog, Discriminator("kind")],
            {"kind": "cat", "lives": 9},
            {"kind": "cat", "lives": 10},
            "a.lives: has to be at most 9",
        ),
        (Annotated[Cat | Dog, Discriminator("kind")], {"kind": "dog"}, {}, "a.kind: is required"),
        (
            Annotated[Cat | Dog, Discriminator("kind")],
            {"kind": "dog"},
            {"kind": "cow"},
            'a.kind: has to be "cat" or "dog"',
        ),
    ],
    ids=str,
)
def test_the_members_of_a_value_are_checked(annotation: Any, good: Any, bad: Any, said: str, scripts: Scripts) -> None:
    constraints = constraints_of(model_of(annotation))
    assert say(constraints, scripts, good) is None
    assert say(constraints, scripts, bad) == said


@pytest.mark.parametrize(
    ("annotation", "sentence"),
    [
        (Annotated[str, PlainValidator(str)], "its validator str() is not guarded"),
        (
            Annotated[int, WrapValidator(lambda value, handler: handler(value))],
            "its validator <lambda>() is not guarded",
        ),
        (Annotated[int, BeforeValidator(int)], "its validator int() is not guarded"),
        (Annotated[int, PlainSerializer(hex)], "it has a serializer of its own, so its stored form is not guarded"),
        (Annotated[str, Field(pattern=re.compile("a", re.IGNORECASE))], "the pattern a is not guarded: it has flags"),
        (
            Annotated[str, Field(pattern="^(a+)+$")],
            "the pattern ^(a+)+$ is not guarded: it repeats a repetition, so a search could take for ever",
        ),
        (
            Annotated[str, Field(pattern="a*b")],
            "the pattern a*b is guarded for texts of up to 2000 characters only",
        ),
        (FutureDate, "that it is in the future is not guarded"),
        (datetime | int, "its time zone and the width of its fraction are not guarded in a union"),
        (Decimal, "a text of more than 2000 characters passes"),
        (dict[int, int], "its names are not guarded, since JSON has texts only there"),
        (Annotated[int, Field(lt=2**60)], "lt is guarded with the precision of JavaScript, of 53 bits"),
    ],
    ids=str,
)
def test_what_a_guard_lacks_is_said(annotation: Any, sentence: str) -> None:
    assert [said.partition(": ")[2] for said in constraints_of(model_of(annotation)).missing] == [sentence]


@pytest.mark.parametrize("pattern", ["(a+)+$", "(?!(a+)+b)", "(aa|a)*c", "a*a*a*a*b", r"(a)\1", "(a{1,9}){9}b", "a*b*"])
def test_a_design_document_cannot_have_a_pattern_that_takes_for_ever(pattern: str) -> None:
    declaration = constraints_of(model_of(str)).declaration
    declaration["rules"]["document"]["members"][0]["rule"]["pattern"] = {"source": pattern, "said": ""}
    assert Guard.of_design(design_of(declaration)) is None


def test_a_document_that_takes_too_many_attempts_is_refused() -> None:
    declaration = constraints_of(model_of(Any)).declaration
    node = {"is": "rule", "name": "document"}
    members = [{"name": "a", "rule": {"is": "nullable", "rule": node}}, {"name": "b", "rule": {"is": "null"}}]
    either = {"is": "object", "members": members}
    guard = Guard({**declaration, "rules": {"document": {"is": "union", "choices": [either, either]}}})
    document: dict[str, Any] = {"b": 1}
    for _ in range(40):
        document = {"a": document}
    assert guard.find_breach("x", document) == "document: is nested too deeply to be checked"


def test_a_bound_that_javascript_cannot_hold_is_never_too_strict(scripts: Scripts) -> None:
    constraints = constraints_of(model_of(Annotated[int, Field(lt=2**60)]))
    assert say(constraints, scripts, 2**60 - 1) is None
    assert say(constraints, scripts, 2**61) == f"a: has to be less than {2**60}"


def test_a_validator_of_a_field_is_told_and_its_other_constraints_are_guarded(scripts: Scripts) -> None:
    class Thing(CouchModel):
        a: int = Field(ge=0)

        @field_validator("a")
        @classmethod
        def check_parity(cls, value: int) -> int:
            return value

    constraints = constraints_of(Thing)
    assert constraints.missing == ("a: its validator check_parity() is not guarded",)
    assert say(constraints, scripts, -1) == "a: has to be at least 0"


def test_names_are_those_of_the_stored_document(scripts: Scripts) -> None:
    class Thing(CouchModel):
        one: int = Field(stored_as="a")
        two: int = Field(default=0, serialization_alias="b")
        secret: int = Field(default=0, exclude=True)

    rule = constraints_of(Thing).declaration["rules"]["document"]
    assert [member["name"] for member in rule["members"]] == ["a", "b", "secret"]


def test_a_field_that_is_read_under_an_older_name_may_have_that(scripts: Scripts) -> None:
    class Thing(CouchModel):
        new: int = Field(stored_as="b", validation_alias="a")

    assert say(constraints_of(Thing), scripts, 5) is None


@pytest.mark.parametrize("name", ["hasOwnProperty", "__proto__", "constructor", "a.b", "in", "\u2028", "'\"\\"])
def test_a_member_may_have_any_name(name: str, scripts: Scripts) -> None:
    constraints = constraints_of(model_of(dict[str, int]))
    assert say(constraints, scripts, {name: 1}) is None
    assert say(constraints, scripts, {name: "x"}) == f"a.{name}: has to be a whole number"


def test_a_field_named_as_the_version_of_other_models_is_a_field(scripts: Scripts) -> None:
    class Thing(CouchModel):
        schema_version: str

    guard = Guard(constraints_of(Thing).declaration)
    assert guard.find_breach("x", {"schema_version": 5}) == "schema_version: has to be a text"


def test_the_declaration_the_javascript_and_the_model_agree_on_generated_documents() -> None:
    counts, faults = run(models=200, seed=0)
    assert faults == []
    assert min(counts["passed"], counts["refused"]) > 1000
    assert counts["laxer"] < counts.total() / 10
