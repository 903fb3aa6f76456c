"""The endpoints of views: their rows, several queries in one request, and the state of their indexes."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, TypeVar

from couchmodel._embedded import limits
from couchmodel._embedded.documents.reader import find_winner, require_living
from couchmodel._embedded.queries import view_rows as views
from couchmodel._embedded.queries.grouping import Grouping
from couchmodel._embedded.queries.large_groups import LargeGroups, can_reduce, reduce_large_groups
from couchmodel._embedded.queries.view_rows import Batch, Cursor, Source
from couchmodel._embedded.rules.params import require_json_type
from couchmodel._embedded.rules.partitions import check_partition
from couchmodel._embedded.rules.string_collation import COLLATOR
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.request_body import json_object, parse_in_thread, read_text
from couchmodel._embedded.server.responses import JSON_HEADERS, OK, array_pieces, array_response, json_answer
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.readers import Reader
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Store
from couchmodel._embedded.views import builder as indexing
from couchmodel._embedded.views.changes import IndexState, read_state
from couchmodel._embedded.views.designs import QUERY, Design, View, parse_design
from couchmodel._embedded.views.params import (
    NOT_GIVEN,
    ViewQuery,
    check_query,
    parse_body,
    parse_parameters,
    parse_queries,
)
from couchmodel._embedded.views.reader import Span, count_rows, rows_size
from couchmodel._embedded.views.reduce import ReductionFactory, open_reducer
from couchmodel._wire.messages import Response, decode, encode

__all__ = ["clean_up", "compact", "info", "list_queries", "list_rows"]

T = TypeVar("T")


async def list_rows(exchange: Exchange) -> Response:
    """Answer ``GET /{db}/_design/{ddoc}/_view/{view}`` and ``POST``."""
    store, database, request = exchange.store, exchange.database, exchange.request
    design = await _open_design(store, database, exchange.arguments["ddoc"])
    query = parse_body(await json_object(request)) if request.method == "POST" else ViewQuery()
    view_query = _open_query(
        store, database, design, exchange.arguments["view"], parse_parameters(request.query, query)
    )
    head, batches = await view_query.begin()
    first: list[bytes] = await anext(batches, [])
    # With a second batch the response streams. A short one is sent as a whole, with its length.
    second = await anext(batches, None)
    if second is None:
        return await array_response(head, first, b"\n]}\n")
    return Response(200, JSON_HEADERS, stream=array_pieces(head, _chain([first, second], batches), b"\n]}\n"))


async def list_queries(exchange: Exchange) -> Response:
    """Answer ``POST /{db}/_design/{ddoc}/_view/{view}/queries``."""
    store, database, request = exchange.store, exchange.database, exchange.request
    design = await _open_design(store, database, exchange.arguments["ddoc"])
    require_json_type(request)
    name = exchange.arguments["view"]
    design.view(name)
    base = replace(parse_parameters(request.query, ViewQuery()), keys=NOT_GIVEN, group=None, group_level=None)
    queries = await parse_in_thread(await read_text(request), partial(parse_queries, base))
    view_queries = [_open_query(store, database, design, name, query) for query in queries]
    if view_queries:
        await view_queries[0].prepare()  # before the answer begins, so that an error of the index has its status
    return Response(200, JSON_HEADERS, stream=_result_pieces(view_queries))


async def info(exchange: Exchange) -> Response:
    """Answer ``GET /{db}/_design/{ddoc}/_info``."""
    store, database = exchange.store, exchange.database
    design = await _open_design(store, database, exchange.arguments["ddoc"])
    state = await store.read(read_state, database.number, design.signature)
    size = 0 if state.number is None else await store.read_in_thread(rows_size, state.number)
    pending = max(0, state.database_seq - state.update_seq)
    index = {
        "updates_pending": dict.fromkeys(("minimum", "preferred", "total"), pending),
        "waiting_commit": False,
        "waiting_clients": 0,
        "updater_running": indexing.is_building(store, database, design),
        "update_seq": state.update_seq,
        "sizes": {"file": size, "external": size, "active": size},
        "signature": design.signature,
        "purge_seq": state.purge_seq,
        "language": design.language,
        "compact_running": False,
        "collator_versions": [COLLATOR],
    }
    return json_answer(200, {"name": exchange.arguments["ddoc"], "view_index": index})


async def compact(exchange: Exchange) -> Response:
    """Answer ``POST /{db}/_compact/{ddoc}``. There is nothing to do: an index is always compact."""
    require_json_type(exchange.request)
    await _open_design(exchange.store, exchange.database, exchange.arguments["ddoc"])
    return json_answer(202, OK)


async def clean_up(exchange: Exchange) -> Response:
    """Answer ``POST /{db}/_view_cleanup`` and ``_nouveau_cleanup``. Only the latter requires the type of JSON."""
    if exchange.request.path[1] == "_nouveau_cleanup":
        require_json_type(exchange.request)
    await indexing.clean_up(exchange.store, exchange.database)
    return json_answer(202, OK)


async def _open_design(store: Store, database: Database, name: str) -> Design:
    return await store.read(_read_design, database, f"_design/{name}")


def _read_design(connection: Connection, database: Database, id: str) -> Design:
    body = require_living(find_winner(connection, database.number, id)).body
    return parse_design(id, decode(body), partitioned=database.partitioned)


# --- one query


def _open_query(store: Store, database: Database, design: Design, name: str, query: ViewQuery) -> "_ViewQuery":
    view = design.view(name)
    reduced = check_query(query, view, partitioned=design.partitioned)
    if query.partition is not None:
        check_partition(query.partition)
        view = view.in_partition(query.partition)
    reducer = open_reducer(design, view, database.scripts, backwards=query.descending) if reduced else None
    return _ViewQuery(store, database, design, view, query, reducer, store.reader(design.signature))


@dataclass(slots=True)
class _ViewQuery:
    """A query of a view while it is answered. It has a reducer if its rows are reduced.

    ``reader`` keeps the index from being cleared away until the query is answered.
    """

    store: Store
    database: Database
    design: Design
    view: View
    query: ViewQuery
    reducer: ReductionFactory | None
    reader: Reader

    async def prepare(self) -> None:
        """Bring the index up to date if the query wants that. Raises ResponseError."""
        await self._state()

    async def begin(self) -> tuple[bytes, AsyncGenerator[list[bytes], None]]:
        """Return the text before the rows, and the rows as batches of JSON texts."""
        state = await self._state()
        source = None if state.number is None else Source(self.database.number, state.number, self.view)
        members: dict[str, object] = {}
        if self.query.update_seq:
            members["update_seq"] = self.database.sequence(state.update_seq)
        if self.reducer is not None:
            return _rows_head(members), _no_rows() if source is None else self._groups(source, self.reducer)
        if source is None:
            return _rows_head({"total_rows": 0, "offset": 0, **members}), _no_rows()
        first = await self._read_first(source, state.total(self.view.place))
        numbers = {"total_rows": state.total(self.view.place), "offset": first.offset}
        return _rows_head({**numbers, **members}), self._rows(source, first.batch)

    async def _state(self) -> IndexState:
        state = await self._read_state()
        self.reader.index = state.number
        return state

    async def _read_state(self) -> IndexState:
        if self.query.update == "true":
            return await indexing.bring_up_to_date(self.store, self.database, self.design)
        state = await self.store.read(read_state, self.database.number, self.design.signature)
        if self.query.update == "lazy" and not state.is_fresh:
            _ = indexing.start_build(self.store, self.database, self.design)
        return state

    async def _read_first(self, source: Source, total: int) -> "_FirstRows":
        query = self.query
        count = query.limit if not query.has_keys else len(query.keys)
        short = count is not None and count <= limits.INLINE_ROWS and query.skip <= limits.INLINE_ROWS
        read = self.store.read if short else self.store.read_in_thread
        return await read(_read_first, source, query, total)

    async def _rows(self, source: Source, batch: "_RowBatch") -> AsyncGenerator[list[bytes], None]:
        if batch.rows:
            yield batch.rows
        while batch.rest is not None:
            batch = await self.store.read_in_thread(_read_texts, source, self.query, batch.rest)
            yield batch.rows

    # --- reduced rows

    async def _groups(self, source: Source, reducer: ReductionFactory) -> AsyncGenerator[list[bytes], None]:
        """Yield the groups of all spans, within ``skip`` and ``limit``."""
        skip, left = self.query.skip, self.query.limit
        async with aclosing(self._all_groups(source, reducer)) as batches:
            async for groups in batches:
                page = groups[skip:] if left is None else groups[skip : skip + left]
                skip = max(0, skip - len(groups))
                left = None if left is None else left - len(page)
                if page:
                    yield page
                if left == 0:
                    return

    async def _all_groups(self, source: Source, reducer: ReductionFactory) -> AsyncGenerator[list[bytes], None]:
        if self.query.limit == 0:
            return
        thread = _ScriptThread() if reducer.is_script else None
        large = can_reduce(self.view.reduce) and self.design.language != QUERY
        try:
            for span in views.spans(self.query, self.view):
                if self.query.level == 0 and self.view.reduce == "_count":
                    yield await self._count(source, span)
                    continue
                grouping = Grouping(self.view, self.query.level, reducer.make)
                cursor: Cursor | None = Cursor([span], None)
                while cursor is not None:
                    if large and not grouping.is_open:
                        groups, cursor, needs_rows = await self._reduce_large(source, cursor)
                        yield groups
                        if not needs_rows or cursor is None:
                            continue
                    groups, cursor = await self._step(source, cursor, grouping, thread)
                    yield groups
                    if large and groups and cursor is not None:  # the next group may be large
                        cursor = replace(cursor, after=grouping.leave())
                yield await thread.run(grouping.finish) if thread else grouping.finish()
        finally:
            if thread is not None:
                thread.close()

    async def _reduce_large(self, source: Source, cursor: Cursor) -> LargeGroups:
        return await self.store.read_in_thread(reduce_large_groups, source, self.query.level, cursor)

    async def _count(self, source: Source, span: Span) -> list[bytes]:
        """Return a whole span as one group, counted by SQLite without a look at its rows."""
        count = await self.store.read(count_rows, source.index, self.view.place, span)
        return [b'{"key":null,"value":%d}' % count] if count else []

    async def _step(
        self, source: Source, cursor: Cursor, grouping: Grouping, thread: "_ScriptThread | None"
    ) -> tuple[list[bytes], Cursor | None]:
        if thread is None:
            return await self.store.read_in_thread(_read_and_feed, source, cursor, grouping)
        batch = await self.store.read_in_thread(_read_rows, source, cursor, grouping)
        return await thread.run(partial(_feed_batch, batch, cursor, grouping))


class _ScriptThread:
    """A thread for the reduce function of one query: a script's context belongs to the thread that made it."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "couchmodel-reducer")

    async def run(self, call: Callable[[], T]) -> T:
        """Call a function on the thread and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    def close(self) -> None:
        """Let the thread end after its present call, without waiting for it."""
        self._executor.shutdown(wait=False)


# --- jobs


class _RowBatch(NamedTuple):
    """Some rows as JSON texts, and the cursor for the rows that follow; None at the end."""

    rows: list[bytes]
    rest: Cursor | None


class _FirstRows(NamedTuple):
    """The first rows of a query, and the number of rows before them."""

    offset: int
    batch: _RowBatch


def _read_first(connection: Connection, source: Source, query: ViewQuery, total: int) -> _FirstRows:
    parts = views.spans(query, source.view)
    offset = views.offset(connection, source, parts, query.skip, total)
    return _FirstRows(offset, _read_texts(connection, source, query, Cursor(parts, query.limit, query.skip)))


def _read_texts(connection: Connection, source: Source, query: ViewQuery, cursor: Cursor) -> _RowBatch:
    batch = views.read_batch(connection, source, cursor)
    return _RowBatch(views.row_texts(connection, source, batch.rows, query), batch.rest)


def _read_and_feed(
    connection: Connection, source: Source, cursor: Cursor, grouping: Grouping
) -> tuple[list[bytes], Cursor | None]:
    groups, rest = _feed_batch(views.read_batch(connection, source, cursor), cursor, grouping)
    # If the index changes all the time, it is read without a pause until the group is complete.
    while grouping.restarts > limits.VIEW_RESTARTS and rest is not None:
        groups, rest = _feed_batch(views.read_batch(connection, source, rest), rest, grouping)
    return groups, rest


def _read_rows(connection: Connection, source: Source, cursor: Cursor, grouping: Grouping) -> Batch:
    """Read the next rows for a reduce function: a whole group if the index changes all the time."""
    batch = views.read_batch(connection, source, cursor)
    while grouping.restarts > limits.VIEW_RESTARTS and batch.rest is not None and grouping.is_one(batch.rows):
        more = views.read_batch(connection, source, batch.rest)
        batch = more._replace(rows=[*batch.rows, *more.rows])
    return batch


def _feed_batch(batch: Batch, cursor: Cursor, grouping: Grouping) -> tuple[list[bytes], Cursor | None]:
    """Feed a batch to the grouping. Return the groups that are complete, and the cursor for the next read.

    If the index has changed since the open group began, the cursor begins at that group again.
    """
    if not grouping.is_at(batch.moment):
        return [], replace(cursor, after=grouping.restart())
    return grouping.feed(batch.rows, batch.moment), batch.rest


# --- pieces of an answer


def _rows_head(members: dict[str, object]) -> bytes:
    return b"{" + b"".join((encode(members)[1:-1], b"," if members else b"")) + b'"rows":['


async def _no_rows() -> AsyncGenerator[list[bytes], None]:
    """Yield no batch. The ``yield`` behind the ``return`` makes the function a generator."""
    return
    yield []


async def _chain(
    first: Sequence[list[bytes]], rest: AsyncGenerator[list[bytes], None]
) -> AsyncGenerator[list[bytes], None]:
    async with aclosing(rest):
        for rows in first:
            yield rows
        async for rows in rest:
            yield rows


async def _result_pieces(view_queries: Sequence[_ViewQuery]) -> AsyncGenerator[bytes, None]:
    separator = b'{"results":[\n'
    for view_query in view_queries:
        head, batches = await view_query.begin()
        yield separator
        async for piece in array_pieces(head, batches, b"\n]}"):
            yield piece
        separator = b",\n"
    yield b"\n]}\n" if view_queries else b'{"results":[]}\n'
