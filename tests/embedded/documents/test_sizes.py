"""How large a database is said to be: near enough, and soon."""

import asyncio
import base64
from typing import Any

import pytest

from tests.embedded.conftest import Client


async def sizes(client: Client) -> dict[str, int]:
    found: dict[str, int] = (await client.json("GET", "/db"))["sizes"]
    return found


async def write(client: Client, documents: list[dict[str, Any]]) -> None:
    rows = await client.json("POST", "/db/_bulk_docs", {"docs": documents})
    assert all("rev" in row for row in rows)


@pytest.mark.parametrize("count", [10, 40, 3000])
async def test_documents_count_with_their_attachments(client: Client, database: str, count: int) -> None:
    content = {"f": {"content_type": "image/png", "data": base64.b64encode(b"x" * 3000).decode()}}
    await write(client, [{"_id": f"{n:05}", "text": "x" * 1000, "_attachments": content} for n in range(count)])
    found = await sizes(client)
    assert found["external"] == pytest.approx(4000 * count, rel=0.05)
    assert found["external"] < found["active"] == found["file"] < found["external"] * 1.2


async def test_documents_of_different_sizes_are_near_enough(client: Client, database: str) -> None:
    await write(client, [{"_id": f"{n:05}", "text": "x" * (n * 7919 % 4000)} for n in range(2000)])
    assert (await sizes(client))["external"] == pytest.approx(2000 * 2000, rel=0.3)


async def test_what_is_superseded_is_in_the_file_until_it_is_compacted(client: Client, database: str) -> None:
    rev = (await client.json("PUT", "/db/a", {"text": "x" * 1000}))["rev"]
    for n in range(20):
        rev = (await client.json("PUT", "/db/a", {"_rev": rev, "n": n, "text": "x" * 1000}))["rev"]
    before = await sizes(client)
    assert before["file"] - before["active"] == pytest.approx(20 * 1000, rel=0.05)
    await client.ask("POST", "/db/_compact", {})
    while (await client.json("GET", "/db"))["compact_running"]:  # noqa: ASYNC110 - nothing tells when it is done
        await asyncio.sleep(0)
    after = await sizes(client)
    assert after["file"] == after["active"] == before["active"]


async def test_what_is_deleted_is_small(client: Client, database: str) -> None:
    rev = (await client.json("PUT", "/db/a", {"text": "x" * 1000}))["rev"]
    await client.ask("DELETE", f"/db/a?rev={rev}")
    assert (await sizes(client))["external"] == 0


async def test_a_database_that_grows_is_measured_again(client: Client, database: str) -> None:
    await write(client, [{"_id": f"a{n:04}", "text": "x" * 10} for n in range(1000)])
    before = (await sizes(client))["external"]
    await write(client, [{"_id": f"b{n:04}", "text": "x" * 10_000} for n in range(1000)])
    assert (await sizes(client))["external"] > 100 * before
