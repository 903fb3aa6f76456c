"""Replications into a database of the client's own."""

import asyncio
import random
import time
from typing import Any

from tests.workload.client import PATIENCE, Client
from tests.workload.problems import WrongError

__all__ = ["replicate", "run_by_document"]

_PAUSE = 0.2


async def replicate(client: Client) -> None:
    """Have the store replicate the client's documents, deleted ones too, and compare."""
    database, asked = _asked(client, client.private)
    client.has_private = client.has_private or None  # it may come about without an answer
    answer = (await client.ask("POST", "_replicate", body=asked, timed=False)).json()
    client.has_private = True
    failures = sum(session["doc_write_failures"] for session in answer.get("history", ())[:1])
    if failures:
        raise WrongError("a replication could not write documents", str(answer))
    client.compare(database, await _copied(client, database, client.private), "the copy of a replication")


async def run_by_document(client: Client) -> None:
    """Have a document of ``_replicator`` do the same, once or continuously."""
    target = f"{client.private}-run"  # a job that has not heard of its end would create the other one anew
    database, asked = _asked(client, target)
    continuous = random.random() < 0.5
    id = f"{client.name}-{client.next_state().n}"
    path = "_replicator", id
    rev = (await client.ask("PUT", *path, body={**asked, "continuous": continuous})).json()["rev"]
    await _until_equal(client, database, target, id)
    for _ in range(20):
        answer = await client.ask("DELETE", *path, expected=(200, 409), query={"rev": rev})
        if answer.status == 200:
            break
        rev = (await client.ask("GET", *path)).json()["_rev"]  # the store has written its state meanwhile


async def _until_equal(client: Client, database: str, target: str, id: str) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        await asyncio.sleep(_PAUSE)
        exists = (await client.ask("HEAD", target, expected=(200, 404))).status == 200
        wrong = WrongError("a document of _replicator does nothing")
        try:
            if exists:
                client.compare(database, await _copied(client, database, target), "the copy of _replicator")
                return
        except WrongError as error:
            wrong = error
        if time.monotonic() > end:
            state = await client.ask("GET", "_scheduler", "docs", "_replicator", id, expected=(200, 404))
            wrong.detail += f"\n{state.body.decode()}"
            raise wrong


def _asked(client: Client, target: str) -> tuple[str, dict[str, Any]]:
    """Return the database that is replicated, and what is asked for."""
    database = random.choice(client.kept).database
    ids = [kept.id for kept in client.kept if kept.database == database]
    source = client.place.end(database)
    return database, {"source": source, "target": client.place.end(target), "create_target": True, "doc_ids": ids}


async def _copied(client: Client, database: str, target: str) -> dict[str, int]:
    ids = [kept.id for kept in client.kept if kept.database == database]
    answer = await client.ask("POST", target, "_all_docs", body={"keys": ids}, query={"include_docs": "true"})
    return {row["id"]: row["doc"]["n"] for row in answer.json()["rows"] if row.get("doc")}
