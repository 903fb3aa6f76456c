"""The filter ``_selector`` of ``_changes``."""

from typing import Any

import pytest

from couchmodel import BadRequestError
from couchmodel.engine import Database
from tests.engine.requests import call


@pytest.mark.parametrize(
    ("fields", "shown"), [([], {"_id", "_rev", "n", "m"}), (["n"], {"n"}), (["_id", "m.x"], {"_id", "m"})]
)
async def test_a_filter_by_selector_shows_the_fields_that_are_asked_for(
    database: Database, fields: list[str], shown: set[str]
) -> None:
    await call(database, "PUT", "a", {"n": 1, "m": {"x": 1, "y": 2}})
    body = {"selector": {"n": 1}, "fields": fields}
    answer = await call(database, "POST", "_changes?filter=_selector&include_docs=true", body)
    assert [set(row["doc"]) for row in answer["results"]] == [shown]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (None, "invalid UTF-8 JSON"),
        ({}, "Selector error: expected a JSON object"),
        ({"selector": {}, "fields": None}, "Selector error: fields must be JSON array"),
        ({"selector": {}, "fields": [1]}, "Invalid JSON for field spec: 1"),
    ],
)
async def test_a_filter_by_selector_needs_one(database: Database, body: object, reason: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        await call(database, "POST", "_changes?filter=_selector", body)
    assert caught.value.reason == reason


@pytest.mark.parametrize("selector", [{"$and": []}, {"$or": []}, {"$nor": []}, {"n": {"$not": {"$and": []}}}])
async def test_an_empty_combination_lets_every_change_pass(database: Database, selector: dict[str, Any]) -> None:
    await call(database, "PUT", "a", {"n": 1})
    answer = await call(database, "POST", "_changes?filter=_selector", {"selector": selector})
    assert [row["id"] for row in answer["results"]] == ["a"]
