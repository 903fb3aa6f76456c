"""Feeds that wait: they tell what comes, each change once, and end when they should."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from couchmodel._embedded import limits
from tests.embedded.conftest import Client


async def feed(client: Client, parameters: str) -> AsyncIterator[bytes]:
    """The pieces of a feed."""
    answer = await client.ask("GET", f"/db/_changes?{parameters}")
    assert answer.stream is not None
    return aiter(answer.stream)


async def text(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def write_soon(client: Client, *ids: str) -> None:
    await asyncio.sleep(0.05)
    for id in ids:
        await client.ask("PUT", f"/db/{id}", {})


async def test_longpoll_waits_for_the_first_change(client: Client, database: str) -> None:
    pieces = await feed(client, "feed=longpoll&since=now")
    body, _ = await asyncio.gather(text(pieces), write_soon(client, "a"))
    answer = json.loads(body)
    assert [row["id"] for row in answer["results"]] == ["a"]
    assert answer["last_seq"] == answer["results"][0]["seq"]


async def test_longpoll_tells_at_once_what_there_is(client: Client, database: str) -> None:
    await client.ask("PUT", "/db/a", {})
    answer = json.loads(await text(await feed(client, "feed=longpoll")))
    assert [row["id"] for row in answer["results"]] == ["a"]


async def test_longpoll_gives_up_in_time(client: Client, database: str) -> None:
    answer = json.loads(await text(await feed(client, "feed=longpoll&since=now&timeout=50")))
    assert (answer["results"], answer["pending"]) == ([], 0)


async def test_a_continuous_feed_tells_each_change_once(client: Client, database: str) -> None:
    await client.ask("PUT", "/db/a", {})
    pieces = await feed(client, "feed=continuous&timeout=300")
    body, _ = await asyncio.gather(text(pieces), write_soon(client, "b", "c"))
    lines = [json.loads(line) for line in body.split(b"\n") if line]
    assert [line.get("id") for line in lines] == ["a", "b", "c", None]
    assert lines[-1]["last_seq"] == lines[-2]["seq"]


async def test_a_continuous_feed_ends_at_its_limit(client: Client, database: str) -> None:
    pieces = await feed(client, "feed=continuous&limit=2")
    body, _ = await asyncio.gather(text(pieces), write_soon(client, "a", "b", "c"))
    assert body.count(b'"id"') == 2


async def test_a_heartbeat_keeps_a_feed_alive(client: Client, database: str) -> None:
    pieces = await feed(client, "feed=continuous&heartbeat=10&timeout=1&since=now")
    assert [await anext(pieces) for _ in range(3)] == [b"\n"] * 3
    await client.ask("PUT", "/db/a", {})
    while (piece := await anext(pieces)) == b"\n":
        pass
    assert b'"id":"a"' in piece


async def test_a_feed_ends_with_its_database(client: Client, database: str) -> None:
    pieces = await feed(client, "feed=continuous&since=now")
    task = asyncio.create_task(text(pieces))
    await asyncio.sleep(0.05)
    await client.ask("DELETE", "/db")
    assert b"last_seq" in await asyncio.wait_for(task, 30)


async def test_server_sent_events_have_ids(client: Client, database: str) -> None:
    await client.ask("PUT", "/db/a", {})
    body = await text(await feed(client, "feed=eventsource&timeout=50"))
    data, id = body.decode().strip().split("\n")
    assert json.loads(data.removeprefix("data: "))["seq"] == json.loads(id.removeprefix("id: "))


async def test_a_filter_that_matches_nothing_still_moves_on(
    client: Client, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "BATCH_EXAMINED", 3)
    await client.ask("POST", "/db/_bulk_docs", {"docs": [{"n": n} for n in range(10)]})
    answer = await client.json("POST", "/db/_changes?filter=_selector", {"selector": {"n": {"$gt": 7}}})
    assert (len(answer["results"]), answer["last_seq"].partition("-")[0]) == (2, "10")


@pytest.mark.parametrize(
    ("since", "count"),
    [("0", 3), ("2", 1), ("2-{uuid}", 1), ('"2-{uuid}"', 1), ("2-anotherdatabase", 3), ("now", 0), ("99", 0)],
)
async def test_a_feed_begins_behind_a_sequence(client: Client, database: str, since: str, count: int) -> None:
    await client.ask("POST", "/db/_bulk_docs", {"docs": [{}, {}, {}]})
    uuid = client.store.database("db").uuid
    answer: Any = await client.json("GET", f"/db/_changes?since={since.format(uuid=uuid)}")
    assert len(answer["results"]) == count


@pytest.mark.parametrize("since", ["rubbish", "-1", "", "1-", "3-é"])
async def test_what_is_no_sequence_is_refused(client: Client, database: str, since: str) -> None:
    assert (await client.json("GET", f"/db/_changes?since={since}"))["error"] == "bad_request"


async def test_a_thousand_feeds_hear_of_a_change(client: Client, database: str) -> None:
    feeds = [await feed(client, "feed=longpoll") for _ in range(1000)]
    waiting = [asyncio.create_task(text(pieces)) for pieces in feeds]
    await asyncio.sleep(0.1)
    await client.ask("PUT", "/db/a", {})
    assert (await client.ask("GET", "/db/a")).status == 200
    assert {json.loads(body)["results"][0]["id"] for body in await asyncio.gather(*waiting)} == {"a"}


async def test_a_feed_that_nobody_reads_does_no_harm(client: Client, database: str) -> None:
    pieces = await feed(client, "feed=continuous&timeout=50")
    assert await anext(pieces)
    for n in range(3):
        await client.ask("POST", "/db/_bulk_docs", {"docs": [{"n": n}] * 500})
    lines = [json.loads(line) for line in (await text(pieces)).split(b"\n") if line]
    assert len({line["id"] for line in lines[:-1]}) == 1500


@pytest.mark.parametrize("kind", ["longpoll", "continuous", "eventsource"])
async def test_a_feed_from_now_on_begins_with_its_answer(client: Client, database: str, kind: str) -> None:
    answer = await client.ask("GET", f"{database}/_changes?feed={kind}&since=now&timeout=50")
    await client.ask("PUT", f"{database}/after", {})
    assert answer.stream is not None
    assert b'"after"' in b"".join([piece async for piece in answer.stream])


async def test_a_feed_is_json_where_nothing_is_found_for_a_while(
    client: Client, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("couchmodel._embedded.limits.BATCH_EXAMINED", 2)
    await client.ask("POST", f"{database}/_bulk_docs", {"docs": [{"n": n} for n in range(5)]})
    for wanted, count in ((9, 0), (4, 1)):
        body = {"selector": {"n": wanted}}
        answer = await client.json("POST", f"{database}/_changes?filter=_selector", body)
        assert len(answer["results"]) == count
