"""Whatever interrupts a statement of a request, the connections are clean afterwards, and nothing is half done."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from couchmodel._embedded.budget import require_thread
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Store
from couchmodel.errors import NotFoundError
from tests.embedded.conftest import Client

Ask = tuple[str, str, Any]

DESIGN = {"language": "query", "views": {"n": {"map": {"fields": {"n": "asc"}}, "reduce": "_sum"}}}

READS: list[Ask] = [
    ("GET", "/db", None),
    ("GET", "/db/a?conflicts=true&revs_info=true", None),
    ("GET", "/db/a?open_revs=all", None),
    ("GET", "/db/a/note", None),
    ("GET", "/db/_local/state", None),
    ("GET", "/db/_all_docs?include_docs=true&limit=5", None),
    ("GET", "/db/_changes?limit=5", None),
    ("GET", "/db/_design/by/_view/n?reduce=false", None),
    ("GET", "/db/_design/by/_view/n", None),
    ("GET", "/db/_design/by/_info", None),
    ("POST", "/db/_find", {"selector": {"_id": "a"}}),
    ("POST", "/db/_find", {"selector": {"n": {"$gt": 15}}}),
    ("POST", "/db/_revs_diff", {"a": ["1-a"]}),
    ("POST", "/db/_bulk_get", {"docs": [{"id": "a"}]}),
]

WRITES: dict[str, Callable[[int], Ask]] = {
    "a document": lambda n: ("PUT", f"/db/x{n}", {"n": 1}),
    "documents": lambda n: ("POST", "/db/_bulk_docs", {"docs": [{"_id": f"x{n}"}, {"_id": f"y{n}"}]}),
    "an attachment": lambda n: ("PUT", f"/db/x{n}", {"_attachments": {"note": {"data": "QUJD"}}}),
    "a local document": lambda n: ("PUT", f"/db/_local/x{n}", {}),
    "an index": lambda n: ("POST", "/db/_index", {"index": {"fields": [f"n{n}"]}}),
    "a purge": lambda n: ("POST", "/db/_purge", {f"x{n}": ["1-967a00dff5e02add41819138abb3284d"]}),
    "a limit": lambda n: ("PUT", "/db/_revs_limit", 10 + n),
}


class Interruption:
    """Interrupts a connection once, when SQLite takes a given step."""

    def __init__(self, step: int) -> None:
        self._left = step

    def __call__(self) -> bool:
        self._left -= 1
        return self._left == 0

    @property
    def happened(self) -> bool:
        return self._left <= 0


def steps() -> Iterator[int]:
    """Return every step of short requests, and some of longer ones."""
    return itertools.chain(range(1, 60), range(60, 600, 11), range(600, 100_000, 997))


@pytest.fixture(params=["memory", "file"])
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a store with something of everything."""
    client = Client(Store(tmp_path / "store.db" if request.param == "file" else None))
    await client.ask("PUT", "/db")
    await client.ask("PUT", "/db/a", {"_attachments": {"note": {"content_type": "text/plain", "data": "QUJD"}}})
    await client.ask("POST", "/db/_bulk_docs", {"docs": [{"_id": f"d{n}", "n": n} for n in range(20)]})
    await client.ask("PUT", "/db/_local/state", {})
    await client.ask("PUT", "/db/_design/by", DESIGN)
    await client.ask("GET", "/db/_design/by/_view/n")
    yield client
    await client.store.close()


def connection(client: Client, use: str) -> Connection:
    """The store's connection for one of its uses."""
    opened = client.store._open
    assert opened is not None
    return opened.inline.connection if use == "inline" else getattr(opened, use)._connection


async def interrupt(client: Client, use: str, step: int, ask: Ask) -> tuple[int, bool]:
    """Return the status of an answer, and whether it was interrupted."""
    interruption = Interruption(step)
    connection(client, use).set_progress_handler(interruption, 1)
    answer = await client.ask(*ask)
    await answer.collect()
    connection(client, use).set_progress_handler(None, 0)
    return answer.status, interruption.happened


def _wait(gate: threading.Event, _: Connection) -> None:
    gate.wait(10)


async def count(client: Client) -> None:
    """Write a document and read it, which is to be what was written."""
    before = await client.json("GET", "/db/_local/counter")
    told = await client.json("PUT", "/db/_local/counter", {**before, "n": before.get("n", 0) + 1})
    after = await client.json("GET", "/db/_local/counter")
    assert (after["_rev"], after["n"]) == (told["rev"], before.get("n", 0) + 1)


@pytest.mark.parametrize("ask", READS, ids=lambda ask: f"{ask[0]} {ask[1]}")
@pytest.mark.parametrize("use", ["inline", "reader"])
async def test_an_interrupted_read_leaves_its_connection_clean(client: Client, use: str, ask: Ask) -> None:
    for step in steps():
        status, happened = await interrupt(client, use, step, ask)
        assert status in (200, 500)
        await count(client)
        assert (await client.ask(*ask)).status == 200
        if not happened:
            return
    pytest.fail("the request has too many steps")


@pytest.mark.parametrize("ask", WRITES.values(), ids=WRITES)
async def test_an_interrupted_write_is_done_or_not_done(client: Client, ask: Callable[[int], Ask]) -> None:
    for n, step in enumerate(steps()):
        status, happened = await interrupt(client, "writer", step, ask(n))
        assert status in (200, 201, 500)
        await count(client)
        rows = (await client.json("GET", "/db/_all_docs"))["rows"]
        ids = {row["id"] for row in rows}
        if "/_bulk_docs" in ask(n)[1]:
            assert (f"x{n}" in ids, f"y{n}" in ids) in ((True, True), (False, False))
        if ask(n)[1] == f"/db/x{n}":
            assert (f"x{n}" in ids) == (status == 201)
        if not happened:
            assert status != 500
            return
    pytest.fail("the request has too many steps")


@pytest.mark.parametrize("name", ["a document", "an attachment"])
async def test_a_write_whose_commit_is_interrupted_is_done_or_not_done(client: Client, name: str) -> None:
    committing = threading.Event()
    writer = connection(client, "writer")
    writer.set_trace_callback(lambda statement: committing.set() if statement == "COMMIT" else None)
    for n in range(1, 12):
        committing.clear()
        interruption = Interruption(n)
        writer.set_progress_handler(partial(_interrupt_commit, committing, interruption), 1)
        answer = await client.ask(*WRITES[name](n))
        writer.set_progress_handler(None, 0)
        stored = (await client.ask("GET", f"/db/x{n}")).status == 200
        assert stored == (answer.status == 201)
        await count(client)
        if not interruption.happened:
            return
    pytest.fail("a commit has too many steps")


def _interrupt_commit(committing: threading.Event, interruption: Interruption) -> bool:
    return committing.is_set() and interruption()


async def test_writes_that_are_committed_together_fail_alone_or_together(tmp_path: Path) -> None:
    client = Client(Store(tmp_path / "store.db"))
    await client.ask("PUT", "/db")
    for n, step in enumerate(steps()):
        interruption = Interruption(step)
        gate = threading.Event()
        client.store.enqueue(partial(_wait, gate))  # so that the others wait together
        writing = [asyncio.create_task(client.ask("PUT", f"/db/{n}-{each}", {})) for each in range(4)]
        await asyncio.sleep(0.002)
        connection(client, "writer").set_progress_handler(interruption, 1)
        gate.set()
        told = {f"{n}-{each}": answer.status for each, answer in enumerate(await asyncio.gather(*writing))}
        connection(client, "writer").set_progress_handler(None, 0)
        rows = (await client.json("GET", "/db/_all_docs"))["rows"]
        stored = {row["id"] for row in rows if row["id"].startswith(f"{n}-")}
        assert stored == {id for id, status in told.items() if status == 201}
        if not interruption.happened:
            break
    await client.store.close()


async def test_an_error_that_is_kept_keeps_no_old_state(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    client = Client(store)
    await client.ask("PUT", "/db")
    await client.ask("POST", "/db/_bulk_docs", {"docs": [{}, {}, {}]})

    def fail(connection: Connection) -> None:
        rows = connection.execute("SELECT id FROM document")
        raise NotFoundError(f"missing: {next(rows)}")

    kept = []
    for way in (store.read, store.read_in_thread, store.write):
        with pytest.raises(NotFoundError) as caught:
            await way(fail)
        kept.append(caught.value)
    await client.ask("PUT", "/db/new", {})
    assert (await client.ask("GET", "/db/new")).status == 200
    assert (await client.json("GET", "/db/_all_docs"))["total_rows"] == 4
    await store.close()
    assert kept


async def test_a_cursor_that_is_kept_keeps_no_old_state(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    client = Client(store)
    await client.ask("PUT", "/db")
    await client.ask("POST", "/db/_bulk_docs", {"docs": [{}, {}, {}]})
    kept: list[object] = []

    def read(connection: Connection) -> None:
        rows = connection.execute("SELECT id FROM document")
        kept.append([next(rows), rows])

    for way in (store.read, store.read_in_thread, store.write):
        await way(read)
        await client.ask("PUT", f"/db/new-{len(kept)}", {})
        assert (await client.ask("GET", f"/db/new-{len(kept)}")).status == 200
        assert (await client.json("GET", "/db/_all_docs"))["total_rows"] == 3 + len(kept)
    await store.close()


async def test_a_read_that_goes_on_elsewhere_keeps_no_old_state(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    client = Client(store)
    await client.ask("PUT", "/db")
    await client.ask("POST", "/db/_bulk_docs", {"docs": [{}, {}, {}]})
    going_on, may_end = threading.Event(), threading.Event()

    def read(connection: Connection) -> None:
        rows = connection.execute("SELECT id FROM document")
        next(rows)
        require_thread()
        going_on.set()
        assert may_end.wait(30)

    reading = asyncio.create_task(store.read(read))
    await asyncio.to_thread(going_on.wait, 30)
    await client.ask("PUT", "/db/new", {})
    assert (await client.ask("GET", "/db/new")).status == 200
    may_end.set()
    await reading
    await store.close()


async def test_the_store_survives_what_fails_behind_a_write(client: Client) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("behind the write")

    assert await client.store.write(lambda connection: 1, on_commit=fail) == 1
    with pytest.raises(RuntimeError, match="StopIteration"):
        await client.store.read_in_thread(lambda connection: next(iter(())))
    await count(client)
