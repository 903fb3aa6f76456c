"""Changes of a document by a JSON merge patch."""

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from couchmodel import Connection, CouchModel, DocumentError, Field, Mapped
from couchmodel.engine import Database


class Part(BaseModel):
    name: str = Field(alias="label")
    size: int | None = None


class Frozen(BaseModel, frozen=True):
    a: int = 0
    b: int = 0


class Machine(CouchModel, extra="allow"):
    title: Mapped[str] = Field(alias="name", min_length=2)
    part: Mapped[Part | None] = Field(default=None)
    parts: Mapped[dict[int, Part]] = Field(default_factory=dict)
    frozen: Mapped[Frozen] = Field(default=Frozen())
    count: Mapped[int] = Field(default=0, merge="sum")


@pytest.fixture
async def machine(couch: Connection, database: Database, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A stored machine."""
    monkeypatch.setattr(Machine, "__declared__", replace(Machine.__declared__, database=database.id))
    machine = Machine.model_validate(
        {
            "name": "Mill",
            "part": {"label": "wheel", "size": 2},
            "parts": {"1": {"label": "a"}, "2": {"label": "b"}},
            "colour": "red",
        }
    )
    await machine.save()
    return machine


@pytest.mark.parametrize(
    ("patch", "changed"),
    [
        ({"name": "Mine"}, {"name": "Mine"}),
        ({"part": {"size": None}}, {"part": {"label": "wheel", "size": None}}),
        ({"part": {"label": "rim"}}, {"part": {"label": "rim", "size": 2}}),
        ({"part": None}, {"part": None}),
        (
            {"parts": {"1": None, "3": {"label": "c"}}},
            {"parts": {2: {"label": "b", "size": None}, 3: {"label": "c", "size": None}}},
        ),
        ({"parts": {"2": {"size": 5}}}, {"parts": {1: {"label": "a", "size": None}, 2: {"label": "b", "size": 5}}}),
        ({"frozen": {"b": 3}}, {"frozen": {"a": 0, "b": 3}}),
        ({"colour": "blue", "shape": {"a": 1}}, {"colour": "blue", "shape": {"a": 1}}),
        ({}, {}),
    ],
)
async def test_a_patch_changes_what_it_names(machine: Machine, patch: dict[str, Any], changed: dict[str, Any]) -> None:
    before = machine.model_dump(by_alias=True, exclude={"rev"})
    await machine.update(patch)
    stored = await Machine.get(machine.id)
    assert stored.model_dump(by_alias=True, exclude={"rev"}) == {**before, **changed}


async def test_null_removes_an_undeclared_member(machine: Machine) -> None:
    await machine.update({"colour": None})
    assert not hasattr(await Machine.get(machine.id), "colour")


@pytest.mark.parametrize(
    ("patch", "wrong"),
    [
        ({"name": "x"}, ("name",)),
        ({"title": "Mine"}, ("title",)),
        ({"part": {"size": "many"}}, ("part", "size")),
        ({"part": {"weight": 1}}, ("part", "weight")),
        ({"parts": {"4": {}}}, ("parts", "4", "label")),
        ({"id": "x"}, ("id",)),
        ({"rev": "1-x"}, ("rev",)),
        ({"_id": "x"}, ("_id",)),
        ({"frozen": {"a": "x"}}, ("frozen", "a")),
        ("name", ()),
    ],
)
async def test_a_patch_that_does_not_fit_changes_nothing(machine: Machine, patch: Any, wrong: tuple[str, ...]) -> None:
    before = machine.model_dump()
    with pytest.raises(DocumentError) as found:
        await machine.update(patch)
    assert [each["loc"] for each in found.value.errors] == [wrong]
    assert machine.model_dump() == before


async def test_a_patch_is_merged_with_what_others_change(machine: Machine) -> None:
    other = await Machine.get(machine.id)
    await other.update({"count": 2, "part": {"size": 9}})
    await machine.update({"count": 3, "part": {"label": "rim"}})
    stored = await Machine.get(machine.id)
    assert (stored.count, stored.part) == (5, Part.model_validate({"label": "rim", "size": 9}))


async def test_values_by_name_may_follow(machine: Machine) -> None:
    await machine.update({"count": 2}, title="Mint")
    assert ((await Machine.get(machine.id)).count, machine.title) == (2, "Mint")


def test_a_field_is_not_read_only_and_write_only() -> None:
    with pytest.raises(ValueError, match="read_only or write_only"):
        Field(read_only=True, write_only=True)


class Event(CouchModel, strict=True):
    when: Mapped[datetime | None] = Field(default=None)
    day: Mapped[date | None] = Field(default=None)
    tags: Mapped[set[int]] = Field(default_factory=set)


async def test_strict_fields_are_read_as_json_is(
    couch: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Event, "__declared__", replace(Event.__declared__, database=database.id))
    event = Event()
    await event.save()
    await event.update({"when": "2024-05-01T12:00:00Z", "day": "2024-05-01", "tags": [1, 2]})
    assert (event.when, event.day, event.tags) == (datetime(2024, 5, 1, 12, tzinfo=UTC), date(2024, 5, 1), {1, 2})
    for wrong in ({"when": "noon"}, {"tags": ["1"]}):
        with pytest.raises(DocumentError) as found:
            await event.update(wrong)
        assert found.value.errors[0]["loc"][0] in wrong


async def test_a_patch_is_undone_if_a_value_beside_it_does_not_fit(machine: Machine) -> None:
    with pytest.raises(DocumentError, match="count"):
        await machine.update({"name": "Mine"}, count="many")
    assert (machine.title, machine.is_changed) == ("Mill", False)
