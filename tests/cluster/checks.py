"""What holds on a cluster, whichever node takes a write."""

import asyncio
import itertools
import secrets
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, Self

from couchmodel import Attachment, ConflictError, Connection, CouchModel, Field, Mapped, Repository, attachment, connect
from couchmodel.engine import Database

__all__ = ["CHECKS", "Nodes"]

Problems = list[str]
PAIRS: Final = 100


class Item(CouchModel):
    """What the checks store."""

    count: Mapped[int] = Field(default=0, merge="sum")
    note: Mapped[str] = Field(default="")
    photo: Attachment = attachment()


class Nodes:
    """The nodes of a cluster."""

    def __init__(self, urls: list[str]) -> None:
        self._urls = urls
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._connections = [await self._stack.enter_async_context(connect(url)) for url in self._urls]
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    @asynccontextmanager
    async def items(self, writers: int) -> AsyncGenerator[list[Repository[Item]]]:
        """The items of a new database, for each writer through a connection of its own; the nodes take turns."""
        name = f"cluster-{secrets.token_hex(6)}"
        await self._connections[0].create(name)
        try:
            async with AsyncExitStack() as stack:
                urls = itertools.islice(itertools.cycle(self._urls), writers)
                connections = [await stack.enter_async_context(connect(url)) for url in urls]
                await _wait_for(connections, name)
                yield [Repository(Item, connection.database(name)) for connection in connections]
        finally:
            await self._connections[0].database(name).delete()


async def _wait_for(connections: list[Connection], name: str) -> None:
    """Wait until every node knows the database."""
    for connection in connections:
        while not await connection.database(name).exists():  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.05)


async def counter(nodes: Nodes, problems: Problems) -> str:
    """Twenty writers add 1 to one counter, twenty times each. One resolve is allowed at the end."""
    async with nodes.items(20) as writers:
        await writers[0].save(Item(id="counter"))
        begun = time.perf_counter()

        async def work(items: Repository[Item]) -> None:
            for _ in range(20):
                async with items.edit("counter") as item:
                    item.count += 1

        failed = [each for each in await asyncio.gather(*map(work, writers), return_exceptions=True) if each]
        seconds = time.perf_counter() - begun
        problems += [f"counter: {type(each).__name__}: {each}" for each in failed]
        forks = len(await leaves(writers[0].database, "counter"))
        item = await writers[0].get("counter")
        try:
            await writers[0].resolve(item)
        except ConflictError as error:
            problems.append(f"counter: {error}")
        left = len(await leaves(writers[0].database, "counter"))
        if (item.count, left) != (400, 1):
            problems.append(f"counter: it is {item.count}, with {left} versions")
        return f"{item.count}, {forks} versions before the resolve, {seconds:.1f} s"


async def inserts(nodes: Nodes, problems: Problems) -> str:
    """Two writers store different documents of one id: one of them does, and the other one learns of it."""
    async with nodes.items(2) as writers:

        async def store(items: Repository[Item], n: int, note: str) -> bool:
            return await _succeeds(items.save(Item(id=f"item-{n}", note=note)))

        return await _pairs("inserts", writers, store, problems)


async def updates(nodes: Nodes, problems: Problems) -> str:
    """Two writers change a field of one document: one of them does, and the other one learns of it."""
    async with nodes.items(2) as writers:
        await writers[0].save_all([Item(id=f"item-{n}") for n in range(PAIRS)])
        ids = [f"item-{n}" for n in range(PAIRS)]
        loaded = {note: [await items.get(id) for id in ids] for items, note in zip(writers, "ab", strict=True)}

        async def store(items: Repository[Item], n: int, note: str) -> bool:
            item = loaded[note][n]
            item.note = note
            return await _succeeds(items.save(item))

        return await _pairs("updates", writers, store, problems)


async def deletions(nodes: Nodes, problems: Problems) -> str:
    """One writer changes a document that the other one deletes: one of them does, and the other one learns of it."""
    outcomes: Counter[str] = Counter()
    async with nodes.items(2) as (first, second):
        for n in range(PAIRS):
            await first.save(Item(id=f"item-{n}"))
            kept, doomed = await asyncio.gather(first.get(f"item-{n}"), second.get(f"item-{n}"))
            kept.note = "kept"
            results = await asyncio.gather(_succeeds(first.save(kept)), _succeeds(second.delete(doomed)))
            outcomes[("neither", "deleted", "changed", "both")[2 * results[0] + results[1]]] += 1
            found = await leaves(first.database, f"item-{n}")
            if (results[0], not results[0]) != (bool(found), results[1]) or len(found) > 1:
                problems.append(f"deletions: item-{n}: {results} and {found}")
    return str(dict(outcomes))


async def attachments(nodes: Nodes, problems: Problems) -> str:
    """A document gets an attachment through one node, and is changed through another one."""
    slow = 0
    async with nodes.items(3) as writers:
        for n in range(PAIRS):
            items = writers[n % 3]
            item = Item(id=f"item-{n}", note="new")
            await items.save(item)
            await item.photo.save(b"x" * 100, "image/png")
            item.note = "changed"
            begun = time.perf_counter()
            await items.save(item)
            slow += time.perf_counter() - begun > 0.02
            stored = await writers[(n + 1) % 3].get(f"item-{n}")
            if stored.note != "changed" or await stored.photo.fetch() != b"x" * 100:
                problems.append(f"attachments: item-{n} is {stored}")
    return f"{slow} saves took a second look"


async def bulk(nodes: Nodes, problems: Problems) -> str:
    """Two writers store different documents of the same ids together."""
    stored: list[dict[str, str]] = []
    async with nodes.items(2) as writers:

        async def store(items: Repository[Item], note: str, n: int) -> dict[str, str]:
            report = await items.save_all([Item(id=f"item-{n}-{m}", note=note) for m in range(5)], on_error="collect")
            return {item.id: note for item in report.saved}

        for n in range(PAIRS // 5):
            stored += await asyncio.gather(store(writers[0], "a", n), store(writers[1], "b", n))
        ids = [f"item-{n}-{m}" for n in range(PAIRS // 5) for m in range(5)]
        for id in ids:
            claimed = [each[id] for each in stored if id in each]
            found = [leaf["note"] for leaf in await leaves(writers[0].database, id)]
            if found != claimed:
                problems.append(f"bulk: {id} is {found}, and was to be {claimed}")
    return f"{sum(map(len, stored))} of {len(ids)} pairs stored"


async def _pairs(
    name: str,
    writers: list[Repository[Item]],
    store: Callable[[Repository[Item], int, str], Awaitable[bool]],
    problems: Problems,
) -> str:
    """Let two writers store a note at once, and check that the one that succeeds is stored, and nothing else."""
    outcomes: Counter[int] = Counter()
    for n in range(PAIRS):
        results = await asyncio.gather(*(store(items, n, note) for items, note in zip(writers, "ab", strict=True)))
        outcomes[sum(results)] += 1
        claimed = [note for note, result in zip("ab", results, strict=True) if result]
        found = [leaf["note"] for leaf in await leaves(writers[0].database, f"item-{n}")]
        if claimed != found:
            problems.append(f"{name}: item-{n} is {found}, and was to be {claimed}")
    return f"one of two stored: {outcomes[1]}, both: {outcomes[2]}, neither: {outcomes[0]}"


async def _succeeds(write: Awaitable[Any]) -> bool:
    try:
        await write
    except ConflictError:
        return False
    return True


async def leaves(database: Database, id: str) -> list[dict[str, Any]]:
    """Return the current versions of a document, from all nodes."""
    rows = await database.session.get((*database.path, id), {"open_revs": "all", "r": "3"})
    return [row["ok"] for row in rows if not row["ok"].get("_deleted")]


CHECKS: Final = (counter, inserts, updates, deletions, attachments, bulk)
