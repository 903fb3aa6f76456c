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
from couchmodel._embedded.store import Store
from tests.embedded.conftest import Client

DESIGN = "app"

_LONGEST = 0.4  # seconds that a child writes


async def prepare(path: Path) -> None:
    """A store with a database, a view and an index."""
    store = Store(path)
    client = Client(store)
    await client.ask("PUT", "/db")
    view = {
        "language": "query",
        "views": {"by-n": {"map": {"fields": {"n": "asc"}}, "options": {"def": {"fields": ["n"]}}}},
    }
    await client.ask("PUT", f"/db/_design/{DESIGN}", view)
    await client.ask("POST", "/db/_index", {"index": {"fields": ["n"]}})
    await store.close()


def kill_while_it_writes(path: Path, name: str) -> list[str]:
    """Let a process write for a moment, and kill it. The lines of what was acknowledged to it."""
    command = [sys.executable, "-m", "tests.embedded.writing_child", str(path), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:  # noqa: S603 - our own words
        assert child.stdout is not None
        lines = [child.stdout.readline()]
        time.sleep(random.uniform(0, _LONGEST))
        child.send_signal(signal.SIGKILL)
        rest, _ = child.communicate()
    assert child.returncode == -signal.SIGKILL, "the process ended before it was killed"
    return [line.strip() for line in lines + rest.splitlines(keepends=True) if line.endswith("\n")]


async def lost(path: Path, acknowledged: list[str]) -> object:
    """Which of the acknowledged revisions the store does not have."""
    revs: dict[str, list[str]] = collections.defaultdict(list)
    for line in acknowledged:
        id, rev = line.split()
        revs[id].append(rev)
    store = Store(path)
    missing = await Client(store).json("POST", "/db/_revs_diff", revs)
    await store.close()
    return missing


def play(path: Path, rounds: int) -> int:
    """Kill so many times, and look each time. How many writes were acknowledged."""
    asyncio.run(prepare(path))
    count = 0
    for n in range(rounds):
        acknowledged = kill_while_it_writes(path, f"round-{n}")
        # The file is looked at as the kill has left it, and again when a store has opened it.
        assert asyncio.run(upkeep.check(path)).problems == []
        assert asyncio.run(lost(path, acknowledged)) == {}
        count += len(acknowledged)
    assert asyncio.run(upkeep.check(path)).problems == []
    return count


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(f"{play(Path(folder, 'store.db'), int(sys.argv[1])):,} acknowledged writes, none lost")
