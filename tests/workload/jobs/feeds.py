"""Feeds of changes."""

import asyncio
import random
from collections.abc import AsyncIterator

from couchmodel._wire.messages import decode, encode
from tests.workload.client import PATIENCE, Client
from tests.workload.ledger import Kept
from tests.workload.problems import WrongError

__all__ = ["follow", "read_changes", "wait"]


async def read_changes(client: Client) -> None:
    """Read all changes of the client's documents."""
    database = random.choice(client.kept).database
    if client.place.has_scripts and random.random() < 0.5:
        query = {"filter": "scripted/mine", "owner": client.name, "include_docs": "true"}
        answer = await client.ask("GET", database, "_changes", query=query)
    else:
        body = {"selector": {"owner": client.name}}
        query = {"filter": "_selector", "include_docs": "true"}
        answer = await client.ask("POST", database, "_changes", body=body, query=query)
    rows = [row for row in answer.json()["results"] if not row.get("deleted")]
    client.compare(database, {row["id"]: row["doc"]["n"] for row in rows}, "_changes")


async def wait(client: Client) -> None:
    """Wait for a change by a long poll, and bring it about."""
    kept = client.choose()
    if kept is None:
        return
    since = await _now(client, kept.database)
    body = {"doc_ids": [kept.id]}
    query = {"feed": "longpoll", "filter": "_doc_ids", "since": since, "timeout": "30000"}
    waiting = asyncio.create_task(client.ask("POST", kept.database, "_changes", body=body, timed=False, query=query))
    try:
        await asyncio.sleep(random.choice((0, 0.05)))
        await _change(client, kept)
        rows = (await waiting).json()["results"]
    finally:
        waiting.cancel()
    if [row["id"] for row in rows] != [kept.id]:
        raise WrongError("a long poll does not tell of a change", f"{kept.id}: {rows}")


async def follow(client: Client) -> None:
    """Follow a feed while documents are changed, until it has told of all of them; then go away."""
    database = random.choice(client.kept).database
    some = random.sample([kept for kept in client.kept if kept.database == database], 3)
    query = {"feed": "continuous", "filter": "_doc_ids", "since": await _now(client, database), "heartbeat": "1000"}
    body = {"doc_ids": [kept.id for kept in some]}
    async with client.stream("POST", database, "_changes", body=body, query=query) as pieces:
        hearing = asyncio.create_task(_hear(pieces, {kept.id for kept in some}))
        try:
            for kept in some:
                await _change(client, kept)
            async with asyncio.timeout(PATIENCE):
                await hearing
        except TimeoutError as error:
            raise WrongError(f"a feed does not tell of a change in {PATIENCE:.0f} s", str(body)) from error
        finally:
            hearing.cancel()
            await asyncio.wait([hearing])


async def _now(client: Client, database: str) -> str:
    answer = await client.ask("GET", database, "_changes", query={"since": "now", "limit": "0"})
    return str(answer.json()["last_seq"])


async def _change(client: Client, kept: Kept) -> None:
    state = client.next_state()
    answer = await client.write(kept, state, "PUT", body=client.body(kept, state))
    if answer.status == 409:  # an earlier write, without an answer, was carried out after all
        state = client.next_state()
        await client.write(kept, state, "PUT", body=client.body(kept, state))


async def _hear(pieces: AsyncIterator[bytes], ids: set[str]) -> None:
    """Read until changes of all these documents were told."""
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        ids -= {decode(line).get("id") for line in lines if line.strip()}
        if not ids:
            return
    raise WrongError("a continuous feed ends", f"without {encode(sorted(ids)).decode()}")
