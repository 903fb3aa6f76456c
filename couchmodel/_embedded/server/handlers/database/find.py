"""The endpoints of Mango queries: ``_find`` and ``_explain``."""

import time
from collections.abc import AsyncGenerator, Awaitable
from functools import partial
from typing import Any, Final, NamedTuple

from couchmodel._embedded import limits
from couchmodel._embedded.json.parse import parse_query
from couchmodel._embedded.json.writer import write
from couchmodel._embedded.mango import explain as explaining
from couchmodel._embedded.mango import planner
from couchmodel._embedded.mango.explain import is_covered
from couchmodel._embedded.mango.options import Options, parse_options
from couchmodel._embedded.mango.planner import Plan, Survey
from couchmodel._embedded.queries import find as finding
from couchmodel._embedded.queries.find import (
    FindBatch,
    Position,
    Search,
    Source,
    Statistics,
    pack_bookmark,
    unpack_bookmark,
)
from couchmodel._embedded.rules.params import require_json_type
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.request_body import parse_in_thread, read_text
from couchmodel._embedded.server.responses import JSON_HEADERS
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.readers import Reader
from couchmodel._embedded.storage.store import Store
from couchmodel._embedded.views import builder as indexing
from couchmodel._embedded.views.changes import read_state
from couchmodel._embedded.views.mango_indexes import Catalogue, describe_index, read_catalogue
from couchmodel._wire.messages import Request, Response, encode
from couchmodel.errors import BadRequestError

__all__ = ["explain", "find"]


async def find(exchange: Exchange) -> Response:
    """Answer ``POST /{db}/_find``."""
    store, database, request = exchange.store, exchange.database, exchange.request
    require_json_type(request)
    text = await read_text(request)
    catalogue = await store.read(read_catalogue, database)
    parse = partial(_parse_query, database, catalogue, _partition(request))
    query = await parse_in_thread(text, parse, limits.INLINE_QUERY_BYTES)
    return await _answer(store, database, catalogue, query)


async def _answer(store: Store, database: Database, catalogue: Catalogue, query: "_Query") -> Response:
    options, plan, covered, started, small = query
    # CouchDB's answer to a query that it does not run has neither a bookmark nor statistics.
    if plan.nothing:
        return Response(200, JSON_HEADERS, b'{"docs":[\n]}\n')
    if options.partition and not database.partitioned:
        raise BadRequestError("`partition` parameter is not supported on this db", code="query_parse_error")
    # Before the index is looked up, so that it cannot be cleared away in between: see ``storage.readers``.
    reader = None if plan.index.design is None else store.reader(catalogue.designs[plan.index.design].signature)
    source = await _open_source(store, database, catalogue, plan, options)
    if reader is not None and source is not None:
        reader.index = source.number
    search = Search(
        database.number,
        options.selector,
        plan,
        source,
        options.partition,
        options.fields,
        options.limit,
        options.skip,
        unpack_bookmark(options.bookmark),
        options.conflicts,
        options.r > 1,
        covered,
        _is_selector_covered(plan, options),
        options.execution_stats,
        None if options.selector.members is None else options.selector.members | options.fields.members(),
        limits.QUERY_SECONDS,
    )
    read = store.read if small and _is_short(search) else store.read_in_thread
    batch = await read(finding.read_batch, search)
    pieces = _FindAnswer(store, options, plan, started, reader)
    batch = await pieces.first_batch(batch)
    if batch.rest is None:
        return Response(200, JSON_HEADERS, b"".join((pieces.rows(batch), pieces.tail())))
    return Response(200, JSON_HEADERS, stream=pieces.stream(batch))


def _is_selector_covered(plan: Plan, options: Options) -> bool:
    """Return True if the keys of the index tell whether a document matches, and no part of it is picked or added."""
    return not options.fields.fields and not options.conflicts and plan.index.covers(options.selector.fields)


async def explain(exchange: Exchange) -> Response:
    """Answer ``POST /{db}/_explain``."""
    database, request = exchange.database, exchange.request
    require_json_type(request)
    text = await read_text(request)
    catalogue = await exchange.store.read(read_catalogue, database)
    explain_text = partial(_explain, database, catalogue, _partition(request))
    return await parse_in_thread(text, explain_text, limits.INLINE_QUERY_BYTES)


def _explain(database: Database, catalogue: Catalogue, partition: str, text: bytes) -> Response:
    options = _parse_query_options(partition, text)
    found = _survey(catalogue, options)
    found.refuse(fallback=options.allow_fallback)
    plan = planner.choose(found, options.selector, options.sort) if found.usable else None
    members: dict[str, Any] = {
        "dbname": database.name,
        "index": plan and describe_index(plan.index),
        "partitioned": database.partitioned,
        "selector": options.selector.normalized,
        "opts": options.explain_options(),
        "limit": options.limit,
        "skip": options.skip,
        "fields": options.fields.fields,
        "index_candidates": [
            {"index": describe_index(index), "analysis": analysis}
            for index, analysis in explaining.analyze_candidates(found, plan, options)
        ],
        "selector_hints": explaining.selector_hints(options.selector),
    }
    if plan is not None:
        members["mrargs"] = explaining.view_arguments(plan, options)
        members["covering"] = is_covered(plan.index, options)
    return Response(200, JSON_HEADERS, write(members) + b"\n")


class _Query(NamedTuple):
    """A query with its plan.

    ``covered`` says that the keys of the index have all members that the query needs. ``started`` is the time of
    ``time.perf_counter`` at which planning began. ``small`` says that the text of the query has at most
    ``limits.INLINE_QUERY_BYTES``: a larger one may look for large values, which takes time.
    """

    options: Options
    plan: Plan
    covered: bool
    started: float
    small: bool


def _partition(request: Request) -> str:
    """Return the partition that the request names, ``""`` for the whole database."""
    return request.query.get("partition", "")


def _parse_query(database: Database, catalogue: Catalogue, partition: str, text: bytes) -> _Query:
    options = _parse_query_options(partition, text)
    started = time.perf_counter()
    plan = _choose_plan(database, catalogue, options)
    return _Query(options, plan, is_covered(plan.index, options), started, len(text) <= limits.INLINE_QUERY_BYTES)


def _parse_query_options(partition: str, text: bytes) -> Options:
    body = parse_query(text)
    if not partition:
        return parse_options(body)
    # The path names the partition. A body may repeat it, as some clients do.
    if body.get("partition", partition) != partition:
        raise BadRequestError("The query is put to another partition.", code="bad_partition")
    return parse_options({**body, "partition": partition})


def _choose_plan(database: Database, catalogue: Catalogue, options: Options) -> Plan:
    found = _survey(catalogue, options)
    if not found.usable:
        kind = ("partitioned " if options.partition else "global ") if database.partitioned else ""
        reason = f"No {kind}index exists for this sort, try indexing by the sort fields."
        raise BadRequestError(reason, code="no_usable_index")
    found.refuse(fallback=options.allow_fallback)
    return planner.choose(found, options.selector, options.sort)


def _survey(catalogue: Catalogue, options: Options) -> Survey:
    return planner.survey(catalogue.indexes, options.selector, options.sort, options.use_index, options.partition)


async def _open_source(
    store: Store, database: Database, catalogue: Catalogue, plan: Plan, options: Options
) -> Source | None:
    """Return the index of a plan, brought up to date if the query wants that; None if the plan uses no index."""
    if plan.index.design is None:
        return None
    design = catalogue.designs[plan.index.design]
    if options.update and not options.stale:
        state = await indexing.bring_up_to_date(store, database, design)
    else:
        state = await store.read(read_state, database.number, design.signature)
    view = design.view(plan.index.name)
    return Source(state.number, view.in_partition(options.partition) if options.partition else view)


def _is_short(search: Search) -> bool:
    """Return True if the first batch may be read in the event loop."""
    if search.selector.may_take_long:
        return False
    return search.plan.is_short or (search.source is not None and search.limit + search.skip <= limits.INLINE_ROWS)


class _FindAnswer:
    """The answer to one query, made batch by batch."""

    def __init__(self, store: Store, options: Options, plan: Plan, started: float, reader: Reader | None) -> None:
        """``reader`` keeps the index from being cleared away until the answer is complete."""
        self._store = store
        self._options = options
        self._plan = plan
        self._started = started
        self._reader = reader
        self._separator = b'{"docs":[\n'
        self._total = Statistics()
        self._last: Position | None = None

    async def first_batch(self, batch: FindBatch) -> FindBatch:
        """Return the first batch that has documents, or the last batch.

        Nothing is sent before it, so an error up to then becomes the answer.
        """
        while batch.rest is not None and not batch.rows:
            self._count(batch)
            batch = await self._next(batch.rest)
        return batch

    async def stream(self, batch: FindBatch) -> AsyncGenerator[bytes, None]:
        """Yield the answer, a piece for each batch."""
        while True:
            piece = self.rows(batch)
            if piece:
                yield piece
            if batch.rest is None:
                break
            batch = await self._next(batch.rest)
        yield self.tail()

    def rows(self, batch: FindBatch) -> bytes:
        """Return the documents of a batch as text."""
        self._count(batch)
        separator, self._separator = self._separator, b",\n" if batch.rows else self._separator
        return separator + b",\n".join(batch.rows) if batch.rows else b""

    def _next(self, rest: Search) -> Awaitable[FindBatch]:
        return self._store.read_in_thread(finding.read_batch, rest)

    def _count(self, batch: FindBatch) -> None:
        self._total.keys += batch.statistics.keys
        self._total.documents += batch.statistics.documents
        self._total.returned += batch.statistics.returned
        self._last = batch.last or self._last

    def tail(self) -> bytes:
        """Return the text behind the documents: bookmark, statistics and warnings."""
        members: dict[str, object] = {"bookmark": self._bookmark()}
        if self._options.execution_stats:
            members["execution_stats"] = {
                "total_keys_examined": self._total.keys,
                # With `r` above 1 CouchDB reads each document from several nodes, and counts it elsewhere
                # (`mango_execution_stats`).
                "total_docs_examined": 0 if self._options.r > 1 else self._total.documents,
                "total_quorum_docs_examined": self._total.documents if self._options.r > 1 else 0,
                "results_returned": self._total.returned,
                "execution_time_ms": round((time.perf_counter() - self._started) * 1000, 3),
            }
        warnings = [*_index_warnings(self._plan), *_scan_warnings(self._total)]
        if warnings:
            members["warning"] = "\n".join(warnings)
        # The members that CouchDB writes behind the documents: all that is known only at the end.
        # An answer without documents has not been begun yet.
        begin = b"" if self._total.returned else self._separator
        return begin + b"\n],\n" + encode(members)[1:] + b"\n"

    def _bookmark(self) -> str:
        # A page without documents ends where it began, so a client that goes on asks the same again.
        return self._options.bookmark or "nil" if self._last is None else pack_bookmark(self._last)


def _index_warnings(plan: Plan) -> list[str]:
    warnings = []
    if plan.asked is not None:
        design = f"_design/{plan.asked[0].removeprefix('_design/')}"
        why = "it does not contain a valid index for this query" if len(plan.asked) == 1 else ""
        named = ", ".join((design, *plan.asked[1:]))
        warnings.append(f"{named} was not used because {why or 'it is not a valid index for this query'}.")
    if plan.index.design is None:
        warnings.append("No matching index found, create an index to optimize query time.")
    return warnings


_MANY_EXAMINED: Final = (
    "The number of documents examined is high in proportion to the number of results returned. "
    "Consider adding a more specific index to improve this."
)


def _scan_warnings(total: Statistics) -> list[str]:
    if total.documents / (total.returned or 1) <= limits.EXAMINED_PER_RESULT:
        return []
    return [_MANY_EXAMINED]
