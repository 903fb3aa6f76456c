"""Lists of documents take the parameters of views, and refuse them as CouchDB does."""

from typing import Any

import pytest

from tests.embedded.conftest import Client

INCOMPATIBLE = "`keys` is incompatible with `key`, `start_key` and `end_key`"


@pytest.fixture
async def letters(client: Client, database: str) -> str:
    """The target of the list of three documents."""
    await client.ask("POST", f"{database}/_bulk_docs", {"docs": [{"_id": id} for id in "abc"]})
    return f"{database}/_all_docs"


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ('keys=["a","b"]&key="a"', INCOMPATIBLE),
        ('keys=["a","b"]&end_key="a"', INCOMPATIBLE),
        ('keys="a"', "`keys` parameter must be an array."),
        ("reduce=true", "Reduce is invalid for map-only views."),
        ("group=true", "Invalid use of grouping on a map view."),
        ("group_level=1", "Invalid use of grouping on a map view."),
        ("group=false&group_level=2", "Can't specify group=false and group_level>0 at the same time"),
        ("stale=never", "Invalid value for `stale`."),
        ("update=never", "Invalid value for `update`."),
        ("limit=1_0", 'Invalid value for integer: "1_0"'),
        ("skip=-1", 'Invalid value for positive integer: "-1"'),
    ],
)
async def test_parameters_that_make_no_sense_are_refused(
    client: Client, letters: str, parameters: str, reason: str
) -> None:
    answer = await client.ask("GET", f"{letters}?{parameters}")
    assert (answer.status, answer.json()["reason"]) == (400, reason)


@pytest.mark.parametrize("body", [{"keys": ["a", "b"]}, {"keys": ["b"]}])
async def test_keys_in_the_body_go_with_no_key_in_the_parameters(
    client: Client, letters: str, body: dict[str, Any]
) -> None:
    answer = await client.ask("POST", f'{letters}?key="a"', body)
    assert (answer.status, answer.json()["reason"]) == (400, INCOMPATIBLE)


@pytest.mark.parametrize(
    ("parameters", "body", "ids"),
    [
        ("", {"keys": ["a", "b", "c"], "descending": True, "limit": 1}, ["c"]),
        ("", {"keys": ["c", "a"], "skip": 1}, ["a"]),
        ('key="a"', {"keys": ["a"]}, ["a"]),
        ('key="a"', {"keys": []}, []),
        ("limit=1", {"limit": 2}, ["a"]),
        ("skip=1000000000000000000000000000000", {}, []),
    ],
)
async def test_parameters_stand_above_the_members_of_a_body(
    client: Client, letters: str, parameters: str, body: dict[str, Any], ids: list[str]
) -> None:
    found = await client.json("POST", f"{letters}?{parameters}", body)
    assert [row["id"] for row in found["rows"]] == ids


async def test_a_single_key_among_several_queries_is_a_range(client: Client, letters: str) -> None:
    found = await client.json("POST", f"{letters}/queries", {"queries": [{"keys": ["x"]}, {"keys": ["x", "y"]}]})
    assert [[row["key"] for row in result["rows"]] for result in found["results"]] == [[], ["x", "y"]]
