"""The endpoints ``_all_docs``, ``_design_docs`` and ``_local_docs``, with one query or with several."""

from collections.abc import AsyncGenerator, Sequence
from typing import Final

from couchmodel._embedded import limits
from couchmodel._embedded.json.parse import parse_json_parameter
from couchmodel._embedded.queries import all_docs
from couchmodel._embedded.queries.all_docs import Batch, First, Query, Space
from couchmodel._embedded.rules.params import require_json_type
from couchmodel._embedded.rules.partitions import check_partition, require_partition
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.request_body import json_object, parse_in_thread, read_text
from couchmodel._embedded.server.responses import JSON_HEADERS, array_pieces, array_response
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.store import Store
from couchmodel._embedded.views import params as view_queries
from couchmodel._embedded.views.params import NOT_GIVEN, parse_members, parse_parameters, parse_queries
from couchmodel._wire.messages import Request, Response
from couchmodel.errors import BadRequestError

__all__ = ["list_documents", "list_queries"]

_SPACES: Final = {"_all_docs": all_docs.ALL, "_design_docs": all_docs.DESIGN, "_local_docs": all_docs.LOCAL}


async def list_documents(exchange: Exchange) -> Response:
    """Answer ``GET /{db}/_all_docs`` and ``POST /{db}/_all_docs``."""
    store, database, request = exchange.store, exchange.database, exchange.request
    query = _partition_query(database, request, all_docs.parse_query(await _parse_request(request)))
    space = _SPACES[request.path[1]]
    first = await _read_first(store, database, space, query)
    batch = first.batch
    if batch.rest is None:
        return await array_response(first.head, batch.rows, b"\n]}\n")
    return Response(
        200, JSON_HEADERS, stream=array_pieces(first.head, _batches(store, database, space, batch), b"\n]}\n")
    )


async def list_queries(exchange: Exchange) -> Response:
    """Answer ``POST /{db}/_all_docs/queries``."""
    database, request = exchange.database, exchange.request
    base = parse_parameters(request.query, view_queries.ViewQuery())
    require_json_type(request)

    def parse(text: bytes) -> list[Query]:
        return [_partition_query(database, request, all_docs.parse_query(query)) for query in parse_queries(base, text)]

    queries = await parse_in_thread(await read_text(request), parse)
    space = _SPACES[request.path[1]]
    return Response(200, JSON_HEADERS, stream=_result_pieces(exchange.store, database, space, queries))


async def _parse_request(request: Request) -> view_queries.ViewQuery:
    """Parse the members of the body and the parameters. A parameter overrides a member."""
    body = await json_object(request) if request.method == "POST" else {}
    if request.method == "POST":
        # `chttpd_db:db_req` looks at `keys` before all else, and at a parameter only in a GET.
        keys, place = body.get("keys", NOT_GIVEN), "body member"
    else:
        text = request.query.get("keys")
        keys, place = NOT_GIVEN if text is None else parse_json_parameter(text), "parameter"
    if keys is not NOT_GIVEN and not isinstance(keys, list):
        raise BadRequestError(f"`keys` {place} must be an array.")
    return parse_parameters(request.query, parse_members(body, view_queries.ViewQuery(keys=keys)))


def _partition_query(database: Database, request: Request, query: Query) -> Query:
    """Narrow a query to the partition that the request names, if it names one.

    Raises BadRequestError if the database is not partitioned.
    """
    if database.partitioned:
        for key in query.keys or ():
            require_partition(key if isinstance(key, str) else "")
    name = request.query.get("partition")
    if name is None:
        return query
    if not database.partitioned:
        raise BadRequestError("`partition` parameter is not supported on this db", code="query_parse_error")
    check_partition(name)
    # The semicolon is the character after the colon, so these bounds hold the ids of the partition and no other.
    return query.within(f"{name}:", f"{name};")


async def _result_pieces(
    store: Store, database: Database, space: Space, queries: Sequence[Query]
) -> AsyncGenerator[bytes, None]:
    separator = b'{"results":[\n'
    for query in queries:
        # One query after the other: their results have to come in order, and there is one reading thread.
        first = await store.read_in_thread(all_docs.first_batch, database.number, space, query)
        yield separator
        async for piece in array_pieces(first.head, _batches(store, database, space, first.batch), b"\n]}"):
            yield piece
        separator = b",\n"
    yield b"\n]}\n" if queries else b'{"results":[]}\n'


async def _batches(store: Store, database: Database, space: Space, batch: Batch) -> AsyncGenerator[list[bytes], None]:
    yield batch.rows
    while batch.rest is not None:
        batch = await store.read_in_thread(all_docs.next_batch, database.number, space, batch.rest)
        yield batch.rows


async def _read_first(store: Store, database: Database, space: Space, query: Query) -> First:
    """Read the first batch: in the event loop for few rows, on the reading thread otherwise."""
    count = query.limit if query.keys is None else len(query.keys)
    short = count is not None and count <= limits.INLINE_ROWS and query.skip <= limits.INLINE_ROWS
    read = store.read if short else store.read_in_thread
    return await read(all_docs.first_batch, database.number, space, query)
