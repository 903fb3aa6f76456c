"""Many replications in one process, while what they replicate is changed, compacted, dropped and cut off.

``python -m tests.sync.turmoil --replications 30 --seconds 60 --seed 1`` runs it for longer than the tests do, and
prints one line of figures.
"""

import argparse
import asyncio
import logging
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from couchmodel import Connection, CouchModelError, connect
from couchmodel._embedded import limits
from couchmodel._embedded.server.http import serve
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request, encode
from couchmodel.engine import Database, Document
from couchmodel.sync import follow, replicate
from couchmodel.transports import HTTPTransport
from tests.sync.cutting import Cutting

KINDS: Final = ("follow", "follow over a cut line", "_replicate", "_replicator", "replicate over a cut line")
VALIDATE: Final = "function (doc) { if (doc.poison) throw({forbidden: 'poison'}) }"
TYPES: Final = ("image/png", "text/plain", "text/plain\nx: y", "text/plä☃in")
INTERVAL: Final = 200
"""Milliseconds between checkpoints."""


class Pair(NamedTuple):
    """A replication: how it is run, from where to where, and what has happened to it."""

    kind: str
    source: Database
    target: Database
    happened: Counter[str]


class Figures(NamedTuple):
    """What there was in the end."""

    happened: Counter[str]
    differing: list[str]
    unnamed: list[str]

    def __str__(self) -> str:
        told = ", ".join(f"{count:,} {what}" for what, count in sorted(self.happened.items()))
        return f"{told}; {len(self.differing)} differ, {len(self.unnamed)} failures without a name"


class _Heard(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += record.getMessage() + "\n"


async def leaves(database: Database) -> dict[str, set[str]]:
    """The leaves of the documents, those apart that are refused."""
    rows = (await database.session.get((*database.path, "_changes"), {"style": "all_docs"}))["results"]
    return {row["id"]: {change["rev"] for change in row["changes"]} for row in rows if row["id"] != "_design/check"}


class Turmoil:
    """The databases, the replications between them, and what is done to them meanwhile."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._pairs: list[Pair] = []
        self._heard = _Heard()
        self._running = True

    async def run(self, folder: Path, replications: int, seconds: float) -> Figures:
        """Begin replications, disturb them for some seconds, and see where they come to."""
        log = logging.getLogger("couchmodel.replication")
        log.addHandler(self._heard)
        try:
            async with AsyncExitStack() as stack:
                couch, cut = await stack.enter_async_context(_server(folder, self._random.randrange(1000)))
                await self._make(couch, cut, replications)
                tasks = [asyncio.create_task(self._replicate(couch, pair)) for pair in self._pairs]
                stack.push_async_callback(_end, tasks)
                end = time.monotonic() + seconds
                await asyncio.gather(*(self._disturb(pair, end) for pair in self._pairs))
                return await self._settled()
        finally:
            log.removeHandler(self._heard)

    async def _make(self, couch: Connection, cut: Connection, replications: int) -> None:
        for n in range(replications):
            kind = KINDS[n % len(KINDS)]
            for name in (f"source-{n}", f"target-{n}"):
                await couch.create(name)
            source = (cut if kind.endswith("line") else couch).database(f"source-{n}")
            pair = Pair(kind, source, couch.database(f"target-{n}"), Counter())
            await self._check(pair)
            self._pairs.append(pair)

    async def _check(self, pair: Pair) -> None:
        await Document(pair.target, "_design/check", {"validate_doc_update": VALIDATE}).save()

    # --- replicating

    async def _replicate(self, couch: Connection, pair: Pair) -> None:
        if pair.kind in ("_replicate", "_replicator"):
            ends = {"source": pair.source.id, "target": pair.target.id}
            body = {**ends, "continuous": True, "checkpoint_interval": INTERVAL}
            path = (pair.kind,) if pair.kind == "_replicate" else (pair.kind, pair.source.id)
            method = "POST" if pair.kind == "_replicate" else "PUT"
            await couch.session.json(Request(method, path, body=encode(body)))
            return
        while True:
            try:
                if pair.kind.startswith("replicate"):
                    await replicate(pair.source, pair.target)
                else:
                    async with follow(pair.source, pair.target, checkpoint_interval=INTERVAL / 1000) as following:
                        async for _ in following:
                            pass
            except CouchModelError as error:
                pair.happened[f"ended by {type(error).__name__}"] += 1
            await asyncio.sleep(0.05)

    # --- disturbing

    async def _disturb(self, pair: Pair, end: float) -> None:
        doings = [self._write] * 20 + [self._write_poison] * 3 + [self._compact] * 4
        doings += [self._make_target_anew, self._make_source_anew]
        while time.monotonic() < end:
            doing = self._random.choice(doings)
            with suppress(CouchModelError):  # the line is cut, or somebody has changed the document
                await doing(pair)
                pair.happened[doing.__name__.strip("_")] += 1
            await asyncio.sleep(self._random.random() * 0.1)

    async def _write(self, pair: Pair) -> None:
        id, what = f"d{self._random.randrange(30)}", self._random.randrange(6)
        document = await pair.source.create(id, exists_ok=True)
        document["n"] = self._random.random()
        if what == 0 and document.rev:
            await document.delete(discard_changes=True)
        elif what == 1:
            rev = f"{self._random.randrange(1, 4)}-{self._random.randrange(16**8):032x}"
            body = {"docs": [{"_id": id, "_rev": rev}], "new_edits": False}
            await pair.source.session.json(Request("POST", (*pair.source.path, "_bulk_docs"), body=encode(body)))
        else:
            await document.save()
            if what < 4:
                await self._attach(pair, document)

    async def _attach(self, pair: Pair, document: Document) -> None:
        size = self._random.choice((0, 10, 100_000))
        content: dict[str, Any] = {"content_type": self._random.choice(TYPES), "data": size * "aGVs"}
        document["_attachments"] = {"a": content}
        await document.save()

    async def _write_poison(self, pair: Pair) -> None:
        data: dict[str, Any] = {"poison": True}
        if self._random.random() < 0.5:
            data["_attachments"] = {"a": {"content_type": "x/y", "data": 100_000 * "aGVs"}}
        await Document(pair.source, f"poison-{pair.source.id}-{self._random.randrange(10**6)}", data).save()

    async def _compact(self, pair: Pair) -> None:
        await self._random.choice((pair.source, pair.target)).compact()

    async def _make_target_anew(self, pair: Pair) -> None:
        with suppress(CouchModelError):
            await pair.target.delete()
        await pair.target.session.send(Request("PUT", pair.target.path))
        await self._check(pair)

    async def _make_source_anew(self, pair: Pair) -> None:
        with suppress(CouchModelError):
            await pair.source.delete()
        for _ in range(100):
            with suppress(CouchModelError):
                await pair.source.session.send(Request("PUT", pair.source.path))
            if await _is_there(pair.source):
                return

    # --- in the end

    async def _settled(self) -> Figures:
        for pair in self._pairs:
            for n in range(100):  # over a line that is cut
                with suppress(CouchModelError):
                    await Document(pair.source, f"last-{n}", {}).save()
                    break
        differing: list[str] = []
        end = time.monotonic() + 60
        for pair in self._pairs:
            while lacking := await self._lacking(pair):
                if time.monotonic() > end:
                    differing.append(f"{pair.kind} of {pair.source.id}: {lacking}")
                    break
                await asyncio.sleep(0.1)
        happened = sum((pair.happened for pair in self._pairs), Counter[str]())
        return Figures(happened, differing, [id for pair in self._pairs for id in await self._unnamed(pair)])

    async def _lacking(self, pair: Pair) -> dict[str, set[str]]:
        """The leaves that the target should have and has not; what it has from an earlier source is its own."""
        source, target = await _patient_leaves(pair.source), await _patient_leaves(pair.target)
        wanted = {id: revs for id, revs in source.items() if not id.startswith("poison-")}
        return {id: revs - target.get(id, set()) for id, revs in wanted.items() if revs - target.get(id, set())}

    async def _unnamed(self, pair: Pair) -> list[str]:
        """What is not in the target, and not named in the log either."""
        source, target = await _patient_leaves(pair.source), await _patient_leaves(pair.target)
        return [id for id in source if id not in target and repr(id) not in self._heard.text]


async def _patient_leaves(database: Database) -> dict[str, set[str]]:
    for _ in range(100):
        with suppress(CouchModelError):
            return await leaves(database)
    return await leaves(database)


async def _is_there(database: Database) -> bool:
    with suppress(CouchModelError):
        return await database.exists()
    return False


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _server(folder: Path, seed: int) -> AsyncGenerator[tuple[Connection, Connection]]:
    """A store in a file: in this process, and over a line that is cut."""
    store = Store(folder / "turmoil.db")
    server = await serve(store, "127.0.0.1", 0, ("ada", "sesame"), remote=HTTPTransport)
    port = int(server.url.rpartition(":")[2].strip("/"))
    cutting = Cutting("127.0.0.1", port, seed)
    try:
        async with (
            connect(f"http://ada:sesame@127.0.0.1:{port}") as couch,
            connect(f"http://ada:sesame@127.0.0.1:{await cutting.open()}") as cut,
        ):
            yield couch, cut
    finally:
        await cutting.close()
        await server.close()
        await store.close()


def main() -> None:
    """Run it as long as it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replications", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    limits.BACKOFF_SECONDS = 0.2  # type: ignore[misc]
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(Turmoil(given.seed).run(Path(folder), given.replications, given.seconds))
    print(figures, *figures.differing, *figures.unnamed, sep="\n")
    raise SystemExit(bool(figures.differing or figures.unnamed))


if __name__ == "__main__":
    main()
