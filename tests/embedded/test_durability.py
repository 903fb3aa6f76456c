"""A store survives the sudden death of its process: what was acknowledged is there, and nothing is broken."""

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from couchmodel._embedded.store import Store
from tests.embedded.conftest import Client

WRITE = """
import asyncio, sys
from couchmodel._embedded.router import Router
from couchmodel._embedded.store import Store
from couchmodel._wire.messages import Request

HEADERS = {"content-type": "application/json"}

async def pieces():
    for _ in range(40):
        yield bytes(100_000)

async def put(router, path, body):
    answer = await router.answer(Request("PUT", path, {}, HEADERS, body))
    if answer.status == 201:
        print("/".join(path), flush=True)

async def write():
    router = Router(Store(sys.argv[1]))
    await router.answer(Request("PUT", ("db",)))
    for n in range(100_000):
        name = f"{sys.argv[2]}-{n}"
        await asyncio.gather(
            put(router, ("db", name), b'{"text": "%b"}' % (b"x" * 2000)),
            put(router, ("db", f"{name}-too"), b"{}"),
            put(router, ("db", f"{name}-file", "zeros"), pieces()),
        )

asyncio.run(write())
"""


def kill_while_it_writes(path: Path, name: str) -> list[str]:
    """Let a process write for a moment, and kill it. What was acknowledged to it."""
    command = [sys.executable, "-c", WRITE, str(path), name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:  # noqa: S603 - our own words
        assert child.stdout is not None
        acknowledged = [child.stdout.readline().strip()]
        time.sleep(random.uniform(0.05, 0.3))
        child.send_signal(signal.SIGKILL)
        rest, _ = child.communicate()
    return acknowledged + [line for line in rest.split("\n")[:-1] if line]


async def missing(path: Path, acknowledged: list[str]) -> list[str]:
    """Which of the documents and attachments are not in the store."""
    store = Store(path)
    client = Client(store)
    answers = {target: await client.ask("GET", f"/{target}") for target in acknowledged}
    for answer in answers.values():
        await answer.collect()
    await store.close()
    return [target for target, answer in answers.items() if answer.status != 200]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_every_acknowledged_write_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    acknowledged: list[str] = []
    for name in "abcde":
        acknowledged += kill_while_it_writes(path, name)
        assert asyncio.run(missing(path, acknowledged)) == []
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute("SELECT count(*) FROM blob WHERE sha256 IS NULL").fetchone() == (0,)
    assert connection.execute("SELECT count(*) FROM chunk WHERE blob NOT IN (SELECT number FROM blob)").fetchone() == (
        0,
    )
    connection.close()
