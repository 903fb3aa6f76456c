"""Writers of one document on three nodes that hear of each other's writes in any order."""

import asyncio
import random
from typing import Any, Final

import pytest

from couchmodel import Connection, CouchModel, Field, Mapped, Repository, connect
from couchmodel._model.store import edits
from couchmodel._model.store.edits import save_merged
from couchmodel._model.store.revisions import conflicts, doubt
from couchmodel._retry import Backoff
from couchmodel._wire.messages import Request, Response, encode
from couchmodel.engine import Session

NODES: Final = ("node-1", "node-2", "node-3")
MAJORITY: Final = 2


class Counter(CouchModel):
    amount: Mapped[int] = Field(default=0, merge="sum")


class Cluster:
    """A cluster whose nodes are databases of one store. The requests to ``counters`` go to all nodes, and take turns.

    A node refuses a write for what it has stored itself, as those of CouchDB do, so that each may take another one.
    """

    def __init__(self) -> None:
        self._random = random.Random(0)
        self._send = Session.send
        self.forks = 0

    def begin(self, seed: int) -> None:
        """Choose other orders from now on."""
        self._random.seed(seed)

    async def send(self, session: Session, request: Request) -> Response:
        if request.path[0] != "counters":
            return await self._send(session, request)
        await self._wait(0, 0, 500)
        answers = await asyncio.gather(*(self._ask(session, node, request) for node in NODES), return_exceptions=True)
        found = [each for each in answers if isinstance(each, Response)]
        if not found:
            raise next(each for each in answers if isinstance(each, BaseException))
        if request.method == "GET":
            return Response(200, body=encode(_read([each.json() for each in found])))
        self.forks += len(found) < MAJORITY
        return Response(201 if len(found) >= MAJORITY else 202, body=found[0].body)

    async def _ask(self, session: Session, node: str, request: Request) -> Response:
        await self._wait(0, 10, 20)
        return await self._send(
            session, Request(request.method, (node, *request.path[1:]), request.query, request.headers, request.body)
        )

    async def _wait(self, *steps: int) -> None:
        """Let the others do one of these numbers of steps."""
        for _ in range(self._random.choice(steps)):
            await asyncio.sleep(0)


def _read(answers: list[Any]) -> Any:
    """Return what a cluster reads: the winner of the nodes' documents, or their revisions without the older ones."""
    if isinstance(answers[0], dict):
        return max(answers, key=lambda each: (int(each["_rev"].split("-")[0]), each["_rev"]))
    rows = {row["ok"]["_rev"]: row for rows in answers for row in rows if "ok" in row}
    older = {rev for row in rows.values() if "_revisions" in row["ok"] for rev in _path(row["ok"]["_revisions"])[1:]}
    return [row for rev, row in rows.items() if rev not in older]


def _path(revisions: Any) -> list[str]:
    return [f"{revisions['start'] - n}-{id}" for n, id in enumerate(revisions["ids"])]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster whose writers wait for each other only briefly, so that what they do crosses in many ways."""
    cluster = Cluster()

    async def send(session: Session, request: Request) -> Response:
        return await cluster.send(session, request)

    monkeypatch.setattr(Session, "send", send)
    monkeypatch.setattr(doubt, "_PATIENCE", 0.0)
    monkeypatch.setattr(doubt, "_PATIENT_WRITES", 0)
    for module in (doubt, edits, conflicts):
        monkeypatch.setattr(module, "_BACKOFF", Backoff(0.002, longest=0.01, jitter=True))
    return cluster


async def test_a_counter_of_a_cluster_is_exact(cluster: Cluster) -> None:
    for seed in range(10):
        cluster.begin(seed)
        async with connect("memory:") as couch:
            item, others = await count_together(couch)
        assert (item.amount, others) == (20, [])
    assert cluster.forks


async def count_together(couch: Connection) -> tuple[Counter, list[Counter]]:
    """Let five writers add 1 four times each. Return the counter after a merge, and what is beside it."""
    for node in NODES:
        await couch.create(node)
    writers = [Repository(Counter, couch.database("counters")) for _ in range(5)]
    await writers[0].save(Counter(id="a"))

    async def add(counters: Repository[Counter]) -> None:
        for _ in range(4):
            await save_merged(counters, await changed(counters))

    await asyncio.gather(*map(add, writers))
    item = await writers[0].get("a")
    await writers[0].resolve(item)
    return item, await writers[0].conflicts(item)


async def changed(counters: Repository[Counter]) -> Counter:
    """The counter with 1 more than is stored. An edit would wait for the others of this process."""
    item = await counters.get("a")
    item.amount += 1
    return item
