"""Indexes: built by whoever asks, once, and cleared away when nobody can ask any more."""

import asyncio
import gc
import itertools
import sqlite3
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Response, decode
from couchmodel.errors import StoreFileError
from tests.embedded.conftest import Client

COUNT = 3000
DESIGN: dict[str, Any] = {
    "language": "query",
    "views": {"n": {"map": {"fields": {"n": "asc"}}, "reduce": "_count"}},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
async def filled(path: Path) -> AsyncIterator[Client]:
    """A client of a store in a file with many documents and a view of them."""
    client = Client(Store(path))
    await client.ask("PUT", "/db")
    await client.ask("POST", "/db/_bulk_docs", {"docs": [{"_id": f"{n:05}", "n": n} for n in range(COUNT)]})
    await client.ask("PUT", "/db/_design/by", DESIGN)
    yield client
    await client.store.close()


async def keys(client: Client, parameters: str = "reduce=false") -> list[Any]:
    """The keys of the view's rows."""
    answer = await client.json("GET", f"/db/_design/by/_view/n?{parameters}")
    return [row["key"][0] for row in answer["rows"]]


def left(path: Path) -> tuple[int, ...]:
    """How many indexes there are in a file, and how many rows they have."""
    connection = sqlite3.connect(path)
    found: tuple[int, ...] = connection.execute(
        "SELECT (SELECT count(*) FROM view_index), (SELECT count(*) FROM view_row),"
        " (SELECT count(*) FROM view_document)"
    ).fetchone()
    connection.close()
    return found


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what happens behind the requests' back."""
    for _ in range(3000):
        if await condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not happen")


async def clear(path: Path, expected: tuple[int, ...]) -> None:
    """Wait until there is no more left than that."""

    async def is_clear() -> bool:
        return left(path) == expected

    await until(is_clear)


async def sequence(client: Client) -> int:
    """Up to which change the index goes."""
    answer = await client.json("GET", "/db/_design/by/_info")
    return int(answer["view_index"]["update_seq"])


async def test_requests_at_once_share_a_build(filled: Client) -> None:
    found = await asyncio.gather(*(keys(filled) for _ in range(5)))
    assert found == [list(range(COUNT))] * 5


def test_several_event_loops_may_build_an_index_at_once(path: Path) -> None:
    store = Store(path)
    client = Client(store)
    found: list[list[Any]] = []

    async def prepare() -> None:
        await client.ask("PUT", "/db")
        await client.ask("POST", "/db/_bulk_docs", {"docs": [{"_id": f"{n:05}", "n": n} for n in range(COUNT)]})
        await client.ask("PUT", "/db/_design/by", DESIGN)

    asyncio.run(prepare())
    threads = [threading.Thread(target=lambda: found.append(asyncio.run(keys(client)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(store.close())
    assert found == [list(range(COUNT))] * 3


async def test_a_build_goes_on_where_it_was_stopped(filled: Client, path: Path) -> None:
    building = asyncio.create_task(keys(filled))

    async def has_begun() -> bool:
        return await sequence(filled) > 0

    await until(has_begun)
    await filled.store.close()
    await asyncio.gather(building, return_exceptions=True)
    again = Client(Store(path))
    assert await sequence(again) > 0
    assert await keys(again) == list(range(COUNT))
    await again.store.close()


async def test_documents_that_change_during_a_build_have_rows_once(filled: Client) -> None:
    building = asyncio.create_task(keys(filled))
    for n in range(0, 200, 10):
        document = await filled.json("GET", f"/db/{n:05}")
        await filled.ask("PUT", f"/db/{n:05}", {**document, "n": -n})
    await building
    found = await keys(filled)
    assert (len(found), len(set(found))) == (COUNT, COUNT)
    assert found[:3] == [-190, -180, -170]


async def test_a_request_that_is_given_up_leaves_the_build_alone(filled: Client) -> None:
    building = asyncio.create_task(keys(filled))
    await asyncio.sleep(0.001)
    building.cancel()
    assert await keys(filled) == list(range(COUNT))


async def test_a_lazy_request_has_the_index_built_behind_it(filled: Client) -> None:
    assert await keys(filled, "reduce=false&update=lazy") == []

    async def is_built() -> bool:
        return len(await keys(filled, "reduce=false&update=false")) == COUNT

    await until(is_built)


@pytest.mark.parametrize("cleaning", [False, True])
async def test_the_index_of_an_older_design_document_is_cleared_away(
    filled: Client, path: Path, cleaning: bool
) -> None:
    await keys(filled)
    design = await filled.json("GET", "/db/_design/by")
    view = {"map": {"fields": {"n": "asc"}, "partial_filter_selector": {"n": {"$lt": 10}}}}
    await filled.ask("PUT", "/db/_design/by", {**design, "views": {"n": view}})
    if cleaning:
        await filled.ask("POST", "/db/_view_cleanup", {})
    else:
        assert await keys(filled) == list(range(10))
    await clear(path, (0, 0, 0) if cleaning else (1, 10, 10))


async def test_a_dropped_database_takes_its_indexes_along(filled: Client, path: Path) -> None:
    building = asyncio.create_task(filled.ask("GET", "/db/_design/by/_view/n"))
    await asyncio.sleep(0.01)
    await filled.ask("DELETE", "/db")
    assert (await building).status in (200, 404)
    await clear(path, (0, 0, 0))


async def test_an_index_of_another_collator_is_built_anew(filled: Client, path: Path) -> None:
    await keys(filled)
    await filled.store.close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE view_index SET collator = 'another'")
    connection.execute("UPDATE view_row SET key = x'00' || key")
    connection.commit()
    connection.close()
    again = Client(Store(path))
    assert await keys(again, 'reduce=false&startkey=["x"]') == []
    assert await keys(again) == list(range(COUNT))
    await clear(path, (1, COUNT, COUNT))
    await again.store.close()


async def test_the_event_loop_goes_on_while_an_index_is_built(filled: Client) -> None:
    building = asyncio.create_task(keys(filled))
    beats = 0
    while not building.done():
        await asyncio.sleep(0)
        beats += 1
    assert await building == list(range(COUNT))
    assert beats > 20


async def test_a_store_may_be_closed_during_a_build(filled: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("couchmodel._embedded.limits.BUILD_DOCUMENTS", 50)
    unheard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    asking = asyncio.create_task(filled.ask("GET", "/db/_design/by/_view/n"))
    await until(lambda: is_past(filled, 100))
    await filled.store.close()
    with pytest.raises(StoreFileError):
        await asking
    gc.collect()
    await asyncio.sleep(0.05)
    assert unheard == []


async def is_past(client: Client, number: int) -> bool:
    """Whether the index has some changes."""
    return await sequence(client) > number


async def test_a_view_that_is_rewritten_while_it_is_built_answers_every_request(filled: Client) -> None:
    async def ask() -> int:
        return (await filled.ask("GET", "/db/_design/changing/_view/n?limit=1")).status

    asking: list[asyncio.Task[int]] = []
    rev: dict[str, str] = {}
    for number in range(5):
        views = {"n": DESIGN["views"]["n"], f"other-{number}": DESIGN["views"]["n"]}
        answer = await filled.json("PUT", "/db/_design/changing", {**rev, "language": "query", "views": views})
        rev = {"_rev": answer["rev"]}
        asking.append(asyncio.create_task(ask()))
        await asyncio.sleep(0)
    async with asyncio.timeout(60):
        assert await asyncio.gather(*asking) == [200] * 5


async def read_view(client: Client) -> Response:
    """Begin to read all rows of a view."""
    return await client.ask("GET", "/db/_design/by/_view/n?reduce=false")


async def reduce_view(client: Client) -> Response:
    """Begin to count the rows of each key."""
    return await client.ask("GET", "/db/_design/by/_view/n?group=true")


async def put_queries(client: Client) -> Response:
    """Begin to read all rows of a view by one of several queries."""
    return await client.ask("POST", "/db/_design/by/_view/n/queries", {"queries": [{"reduce": False}]})


async def find_all(client: Client) -> Response:
    """Begin to find all documents by an index."""
    query = {"selector": {"n": {"$gte": 0}}, "limit": COUNT, "use_index": ["_design/by", "n"]}
    return await client.ask("POST", "/db/_find", query)


@pytest.mark.parametrize("begin", [read_view, reduce_view, put_queries, find_all])
async def test_an_index_that_is_dropped_is_read_to_its_end(
    filled: Client, path: Path, begin: Callable[[Client], Awaitable[Response]]
) -> None:
    reading = await begin(filled)
    stream = reading.stream
    assert isinstance(stream, AsyncGenerator)
    pieces = [await anext(stream)]
    design = await filled.json("GET", "/db/_design/by")
    await filled.ask("DELETE", f"/db/_design/by?rev={design['_rev']}")
    assert (await filled.ask("POST", "/db/_view_cleanup", {})).status == 202
    await filled.ask("PUT", "/db/written-behind-what-is-to-be-cleared", {})
    answer = decode(b"".join([*pieces, *[piece async for piece in stream]]))
    [answer] = answer.get("results", [answer])
    assert len(answer.get("rows") or answer["docs"]) == COUNT
    del reading, stream
    await clear(path, (0, 0, 0))


@pytest.mark.parametrize("begin", [read_view, reduce_view, put_queries, find_all])
async def test_an_answer_that_nobody_takes_lets_its_index_be_cleared_away(
    filled: Client, path: Path, begin: Callable[[Client], Awaitable[Response]]
) -> None:
    await begin(filled)
    design = await filled.json("GET", "/db/_design/by")
    await filled.ask("DELETE", f"/db/_design/by?rev={design['_rev']}")
    await filled.ask("POST", "/db/_view_cleanup", {})
    await clear(path, (0, 0, 0))


@pytest.mark.parametrize("begin", [read_view, find_all])
async def test_views_are_read_while_they_are_cleaned_up_all_the_time(
    filled: Client, begin: Callable[[Client], Awaitable[Response]]
) -> None:
    async def rewrite() -> None:
        for number in itertools.count():
            design = await filled.json("GET", "/db/_design/by")
            views = {"n": DESIGN["views"]["n"], f"other-{number}": DESIGN["views"]["n"]}
            await filled.ask("PUT", "/db/_design/by", {**design, "views": views})
            await filled.ask("POST", "/db/_view_cleanup", {})

    rewriting = asyncio.create_task(rewrite())
    for _ in range(8):
        reading = await begin(filled)
        await reading.collect()
        assert reading.status == 200
        answer = reading.json()
        assert len(answer.get("rows") or answer["docs"]) == COUNT
    rewriting.cancel()
    await asyncio.gather(rewriting, return_exceptions=True)


async def test_an_index_that_is_found_just_before_it_is_dropped_is_whole(filled: Client, path: Path) -> None:
    await keys(filled)
    begun, go_on = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]

    def wait(number: int, _: object) -> None:
        begun[number].set()
        go_on[number].wait(60)

    filled.store.enqueue(partial(wait, 0))
    await asyncio.to_thread(begun[0].wait, 60)
    # These are done in one transaction, which has not ended yet when the view is read.
    filled.store.enqueue(lambda connection: connection.execute("UPDATE view_index SET database = NULL"))
    filled.store.clear_indexes()
    filled.store.enqueue(partial(wait, 1))
    go_on[0].set()
    await asyncio.to_thread(begun[1].wait, 60)
    # Its last rows come first: the first ones would be the first to be cleared away.
    reading = await filled.ask("GET", "/db/_design/by/_view/n?reduce=false&descending=true")
    go_on[1].set()
    await filled.ask("PUT", "/db/behind", {})
    await reading.collect()
    assert len(reading.json()["rows"]) == COUNT
    del reading
    await clear(path, (0, 0, 0))
