"""Whether a document is changed: it is if a save would store another revision."""

import asyncio
import random
import secrets
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, NaiveDatetime

from couchmodel import ConfigurationError, Connection, CouchModel, Field, Mapped, Repository, connect


class Event(CouchModel):
    title: str = ""
    begin: datetime | None = None
    times: list[datetime] = []
    aware: AwareDatetime | None = None
    naive: NaiveDatetime | None = None
    anything: Any = None


ODD = timezone(timedelta(minutes=53, seconds=28))
EAST = timezone(timedelta(hours=2))
ZONES = [UTC, EAST, timezone(timedelta(hours=-3, minutes=-30)), ODD, ZoneInfo("Europe/Berlin")]
HOURS = [
    datetime(2024, 5, 1, hour, 30, 7, micros, UTC).replace(tzinfo=None) for hour in (10, 12, 14) for micros in (0, 5)
]
AWARE = [hour.replace(tzinfo=zone).astimezone(other) for hour in HOURS for zone in (UTC, EAST) for other in ZONES]
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "title": st.sampled_from(["", "Z", "ZZZZ", "T12:30:07+02:00", '"begin":"2024-05-01T12:30:07Z"']),
    "begin": st.sampled_from([None, *AWARE, *HOURS]),
    "times": st.lists(st.sampled_from(AWARE), max_size=2),
    "aware": st.sampled_from([None, *AWARE]),
    "naive": st.sampled_from([None, *HOURS]),
    "anything": st.sampled_from([None, 1, "2024-05-01T12:30:07Z", {"begin": "2024-05-01T14:30:07+02:00"}]),
}
FIELDS = st.fixed_dictionaries({}, optional=VALUES)


@given(FIELDS, st.lists(FIELDS, min_size=1, max_size=8))
@settings(max_examples=30)
def test_a_document_is_changed_if_a_save_stores_another_revision(
    stored: dict[str, Any], assigned: list[dict[str, Any]]
) -> None:
    async def compare() -> None:
        async with connect("memory:") as couch:
            events = Repository(Event, await couch.create("events"))
            await events.save(Event(id="fair", **stored))
            event = await events.get("fair")
            for values in assigned:
                await assign_and_save(events, event, values)

    asyncio.run(compare())


@given(st.sampled_from(AWARE).filter(lambda each: each.tzinfo != ODD), st.lists(st.sampled_from(AWARE)))
@settings(max_examples=30)
def test_a_document_of_another_program_is_changed_if_its_instants_are(
    stored: datetime, assigned: list[datetime]
) -> None:
    async def compare() -> None:
        async with connect("memory:") as couch:
            database = await couch.create("events")
            await (await database.create("fair", data={"begin": stored.isoformat(), "other": 1})).save()
            event = await (events := Repository(Event, database)).get("fair")
            for begin in (*assigned, stored):
                event.begin = begin
                assert event.is_changed == (begin != stored)
            for begin in assigned:
                await assign_and_save(events, event, {"begin": begin})

    asyncio.run(compare())


async def assign_and_save(events: Repository[Event], event: Event, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(event, name, value)
    before, is_changed = event.rev, event.is_changed
    assert is_changed == event.is_changed
    await events.save(event)
    assert (event.rev != before, event.is_changed) == (is_changed, False)


@pytest.fixture
async def event(couch: Connection) -> Event:
    events = Repository(Event, await couch.create(f"test-{secrets.token_hex(6)}"))
    await events.save(Event(id="fair", title="Fair"))
    event = await events.get("fair")
    assert not event.is_changed
    return event


async def test_a_document_of_another_revision_is_changed(event: Event) -> None:
    event.rev = "7-" + "a" * 32
    assert event.is_changed


async def test_a_document_whose_id_was_changed_is_refused(event: Event) -> None:
    event.id = "other"
    with pytest.raises(ConfigurationError, match="cannot be changed to 'other'"):
        assert event.is_changed


class Draft(CouchModel):
    number: Mapped[float] = Field(default_factory=random.random)


@pytest.fixture
async def draft(couch: Connection) -> Draft:
    """A document whose number is made by default, as none is stored."""
    database = await couch.create(f"test-{secrets.token_hex(6)}")
    await (await database.create("a", data={"other": 1})).save()
    draft = await Repository(Draft, database).get("a")
    assert not draft.is_changed
    return draft


async def test_a_default_that_was_made_is_a_change_once_it_is_assigned(draft: Draft) -> None:
    draft.number += 0
    assert draft.is_changed
    await draft.save()
    assert (draft.rev or "")[:2] == "2-"
    assert not draft.is_changed


async def test_a_default_that_a_rollback_makes_is_no_change(draft: Draft) -> None:
    draft.number = 5
    assert draft.is_changed
    draft.rollback()
    assert not draft.is_changed
