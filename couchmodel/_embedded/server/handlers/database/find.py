"""The endpoints of Mango queries: ``_find`` and ``_explain``."""

import time
from collections.abc import AsyncGenerator, Awaitable
from functools import partial
from typing import Any, Final

from couchmodel._embedded import limits
from couchmodel._embedded.json.writer import write
from couchmodel._embedded.mango import explain as explaining
from couchmodel._embedded.mango import planner
from couchmodel._embedded.mango.explain import is_covered
from couchmodel._embedded.mango.planner import Plan
from couchmodel._embedded.queries import find as finding
from couchmodel._embedded.queries.answers import known_answers, read_version
from couchmodel._embedded.queries.planned import PlannedQuery, parse_query_options, plan_query, survey_indexes
from couchmodel._embedded.queries.search import FindBatch, IndexView, Position, Search, Statistics, pack_bookmark
from couchmodel._embedded.rules.params import require_json_type
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.request_body import parse_in_thread, read_text
from couchmodel._embedded.server.responses import JSON_HEADERS
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.readers import Reader
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Store
from couchmodel._embedded.views import builder as indexing
from couchmodel._embedded.views.changes import IndexState, read_state
from couchmodel._embedded.views.designs import Design
from couchmodel._embedded.views.mango_indexes import Catalogue, describe_index, read_catalogue
from couchmodel._wire.messages import Request, Response, encode
from couchmodel.errors import BadRequestError

__all__ = ["explain", "find"]


async def find(exchange: Exchange) -> Response:
    """Answer ``POST /{db}/_find``."""
    store, database, request = exchange.store, exchange.database, exchange.request
    require_json_type(request)
    text, partition = await read_text(request), _partition(request)
    started = time.perf_counter()
    if len(text) <= limits.INLINE_QUERY_BYTES:
        answer = await store.read(_find_at_once, store, database, partition, text, started)
        if answer is not None:
            return Response(200, JSON_HEADERS, answer)
    catalogue = await store.read(read_catalogue, database)
    plan = partial(plan_query, database, catalogue, partition)
    query = await parse_in_thread(text, plan, limits.INLINE_QUERY_BYTES)
    return await _answer(store, database, catalogue, query, started)


def _find_at_once(
    connection: Connection, store: Store, database: Database, partition: str, text: bytes, started: float
) -> bytes | None:
    """Return the answer to a short query; None if its index has to be built, or if it has more than one batch.

    Nobody can clear the index away meanwhile, as it is found and read in one transaction.
    """
    version, known = read_version(connection, database), known_answers(database)
    answer = known.find(version, partition, text)
    if answer is not None:
        return answer
    catalogue = read_catalogue(connection, database)
    query = plan_query(database, catalogue, partition, text)
    if not query.is_short or query.plan.nothing:
        return None
    source = None
    if query.plan.index.design is not None:
        design = catalogue.designs[query.plan.index.design]
        state = read_state(connection, database.number, design.signature)
        if state.number is None or state.update_seq < state.database_seq:
            return None
        source = _source(query, design, state)
    batch = finding.read_batch(connection, query.search(database, source))
    if batch.rest is not None:
        return None
    pieces = _FindAnswer(store, query, started, None)
    answer = b"".join((pieces.rows(batch), pieces.tail()))
    if not query.options.execution_stats:  # they have the time of each request
        known.keep(version, partition, text, answer)
    return answer


async def _answer(
    store: Store, database: Database, catalogue: Catalogue, query: PlannedQuery, started: float
) -> Response:
    options, plan = query.options, query.plan
    # CouchDB's answer to a query that it does not run has neither a bookmark nor statistics.
    if plan.nothing:
        return Response(200, JSON_HEADERS, b'{"docs":[\n]}\n')
    if options.partition and not database.partitioned:
        raise BadRequestError("`partition` parameter is not supported on this db", code="query_parse_error")
    # Before the index is looked up, so that it cannot be cleared away in between: see ``storage.readers``.
    reader = None if plan.index.design is None else store.reader(catalogue.designs[plan.index.design].signature)
    source = await _open_source(store, database, catalogue, query)
    if reader is not None and source is not None:
        reader.index = source.number
    batch = await store.read_in_thread(finding.read_batch, query.search(database, source))
    pieces = _FindAnswer(store, query, started, reader)
    batch = await pieces.first_batch(batch)
    if batch.rest is None:
        return Response(200, JSON_HEADERS, b"".join((pieces.rows(batch), pieces.tail())))
    return Response(200, JSON_HEADERS, stream=pieces.stream(batch))


async def explain(exchange: Exchange) -> Response:
    """Answer ``POST /{db}/_explain``."""
    database, request = exchange.database, exchange.request
    require_json_type(request)
    text = await read_text(request)
    catalogue = await exchange.store.read(read_catalogue, database)
    explain_text = partial(_explain, database, catalogue, _partition(request))
    return await parse_in_thread(text, explain_text, limits.INLINE_QUERY_BYTES)


def _explain(database: Database, catalogue: Catalogue, partition: str, text: bytes) -> Response:
    options = parse_query_options(partition, text)
    found = survey_indexes(catalogue, options)
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


def _partition(request: Request) -> str:
    """Return the partition that the request names, ``""`` for the whole database."""
    return request.query.get("partition", "")


async def _open_source(store: Store, database: Database, catalogue: Catalogue, query: PlannedQuery) -> IndexView | None:
    """Return the index of a plan, brought up to date if the query wants that; None if the plan uses no index."""
    if query.plan.index.design is None:
        return None
    design = catalogue.designs[query.plan.index.design]
    if query.options.update and not query.options.stale:
        state = await indexing.bring_up_to_date(store, database, design)
    else:
        state = await store.read(read_state, database.number, design.signature)
    return _source(query, design, state)


def _source(query: PlannedQuery, design: Design, state: IndexState) -> IndexView:
    view, partition = design.view(query.plan.index.name), query.options.partition
    return IndexView(state.number, view.in_partition(partition) if partition else view)


class _FindAnswer:
    """The answer to one query, made batch by batch."""

    def __init__(self, store: Store, query: PlannedQuery, started: float, reader: Reader | None) -> None:
        """``reader`` keeps the index from being cleared away until the answer is complete."""
        self._store = store
        self._options = query.options
        self._plan = query.plan
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
