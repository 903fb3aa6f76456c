"""Killing a process while it writes, and looking at what it leaves: ``python -m tests.embedded.killing ROUNDS``."""

import asyncio
import collections
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from couchmodel import upkeep
from couchmodel._embedded.scripts import is_available
from couchmodel._embedded.store import Store
from tests.embedded.conftest import Client

DESIGN = "app"
SCRIPT = "script"
COPY = "copy"
PURGED = "purged"
"""Part of the ids of documents that are purged."""

Revs = dict[str, list[str]]

_LONGEST = 0.4  # seconds that a child writes


async def prepare(path: Path) -> None:
    """A store with a database, views and an index."""
    store = Store(path)
    client = Client(store)
    await client.ask("PUT", "/db")
    view = {
        "language": "query",
        "views": {"by-n": {"map": {"fields": {"n": "asc"}}, "options": {"def": {"fields": ["n"]}}}},
    }
    await client.ask("PUT", f"/db/_design/{DESIGN}", view)
    await client.ask("POST", "/db/_index", {"index": {"fields": ["n"]}})
    if is_available():
        map = "function (doc) { for (var n = 0; n < 3; n++) emit([doc.n % 7, n], doc._rev); }"
        await client.ask("PUT", f"/db/_design/{SCRIPT}", {"views": {"by-n": {"map": map, "reduce": "_count"}}})
    await store.close()


def kill_while_it_writes(path: Path, name: str) -> list[str]:
    """Let a process write for a moment, and kill it. The lines in which it has told of what was acknowledged to it."""
    command = [sys.executable, "-m", "tests.embedded.writing_child", str(path), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:  # noqa: S603 - our own words
        assert child.stdout is not None
        lines = [child.stdout.readline()]
        time.sleep(random.uniform(0, _LONGEST))
        child.send_signal(signal.SIGKILL)
        rest, _ = child.communicate()
    assert child.returncode == -signal.SIGKILL, "the process ended before it was killed"
    return [line.strip() for line in lines + rest.splitlines(keepends=True) if line.endswith("\n")]


class Told:
    """What a child has told of: ``written`` and ``purged`` documents, and what was there to be ``copied``.

    Each of its lines is a word, an id, and a revision or what is copied, by ids.
    """

    def __init__(self, lines: list[str]) -> None:
        self.written: Revs = collections.defaultdict(list)
        self.purged: set[str] = set()
        self.copied: Revs = {}
        copying: dict[str, Revs] = {}
        for line in lines:
            word, id, *rev = line.split()
            if word == "written":
                self.written[id] += rev
            elif word == "purging":  # whether it was is known from the next line only
                self.written.pop(id, None)
            elif word == "purged":
                self.purged.add(id)
            elif word == "copying":
                copying[id] = {known: [*self.written[known]] for known in rev[0].split(",")}
            else:
                self.copied |= copying.pop(id)


async def lost(path: Path, lines: list[str]) -> object:
    """What of that which a child has told of is not so: revisions that are missing, and documents that are there."""
    told = Told(lines)
    store = Store(path)
    client = Client(store)
    missing = await client.json("POST", "/db/_revs_diff", told.written)
    if told.copied:
        missing |= await client.json("POST", f"/{COPY}/_revs_diff", told.copied)
    rows = (await client.json("POST", "/db/_all_docs", {"keys": [*told.purged]}))["rows"]
    await store.close()
    return missing | {row["id"]: row for row in rows if "id" in row}


async def unlike(path: Path) -> object:
    """The changes that a database and its copy differ in when a replication has gone on to its end."""
    store = Store(path)
    client = Client(store)
    await client.json("POST", "/_replicate", {"source": "db", "target": COPY, "create_target": True})
    answers = [await client.json("GET", f"/{name}/_changes?style=all_docs") for name in ("db", COPY)]
    await store.close()
    theirs, ours = ({(row["id"], str(row["changes"])) for row in answer["results"]} for answer in answers)
    return {change for change in theirs ^ ours if PURGED not in change[0]}  # a purge is not replicated


def play(path: Path, rounds: int) -> int:
    """Kill so many times, and look each time. How many lines told of something that was acknowledged."""
    asyncio.run(prepare(path))
    count = 0
    for n in range(rounds):
        acknowledged = kill_while_it_writes(path, f"round-{n}")
        # The file is looked at as the kill has left it, and again when a store has opened it.
        assert asyncio.run(upkeep.check(path)).problems == []
        assert asyncio.run(lost(path, acknowledged)) == {}
        count += len(acknowledged)
    assert asyncio.run(unlike(path)) == set()
    assert asyncio.run(upkeep.check(path)).problems == []
    return count


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(f"{play(Path(folder, 'store.db'), int(sys.argv[1])):,} acknowledged writes, none lost")
