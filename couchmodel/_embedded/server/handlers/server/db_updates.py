"""Answer ``_db_updates``, the feed of created, updated and deleted databases.

Each row is a change of the database ``_global_changes``, whose documents are named ``{event}:{database}``.
"""

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any, Final

from couchmodel._embedded import limits
from couchmodel._embedded.maintenance.global_changes import GLOBAL_CHANGES
from couchmodel._embedded.queries import changes
from couchmodel._embedded.queries.changes import Change, ChangesBatch, ChangesQuery
from couchmodel._embedded.rules.params import parse_digits
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.handlers.database.changes import WaitingFeed, with_error_line
from couchmodel._embedded.server.responses import JSON_HEADERS, has_current_etag, not_modified
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Response, decode, encode
from couchmodel.errors import BadRequestError

__all__ = ["feed"]

_FEEDS: Final = ("normal", "continuous", "longpoll", "eventsource")
_NUMBERS: Final = ("limit", "timeout", "heartbeat")
_EVENT_HEADERS: Final = {"content-type": "text/event-stream", "cache-control": "no-cache"}


async def feed(exchange: Exchange) -> Response:
    """Answer ``GET /_db_updates``. Raises NotFoundError if there is no database ``_global_changes``."""
    store, request = exchange.store, exchange.request
    database = store.database(GLOBAL_CHANGES)
    kind = request.query.get("feed", "normal")
    if kind not in _FEEDS:
        raise BadRequestError("Supported `feed` types: normal, continuous, longpoll, eventsource")
    request.query = _check_parameters(request.query)
    query = ChangesQuery(
        since=changes.parse_since(request.query.get("since", "0"), database),
        limit=parse_digits(request.query.get("limit", str(changes.NO_LIMIT))),
        descending=request.query.get("descending") == "true",
    )
    if kind == "normal":
        tag = await store.read(changes.read_etag, database)
        if has_current_etag(request.headers, tag):
            return not_modified(tag)
        return Response(
            200, {**JSON_HEADERS, "etag": tag}, stream=with_error_line(_normal_pieces(store, database, query))
        )
    if query.since is None:
        query = replace(query, since=await store.read(changes.read_last_sequence, database))
    waiting = WaitingFeed(store, database, query, request)
    if kind == "eventsource":
        return Response(200, _EVENT_HEADERS, stream=with_error_line(waiting.eventsource()))
    pieces = (
        _continuous_pieces(waiting, database, query)
        if kind == "continuous"
        else _longpoll_pieces(waiting, database, query)
    )
    return Response(200, JSON_HEADERS, stream=with_error_line(pieces))


def _check_parameters(query: Any) -> dict[str, str]:
    """Return the parameters as the feed of changes takes them.

    Raises BadRequestError if a limit, timeout or heartbeat is no whole number.
    """
    parameters = dict(query)
    heartbeat = parameters.get("heartbeat")
    # `global_changes_httpd` parses these by itself, and not as the feed of a database does.
    if heartbeat == "false":
        del parameters["heartbeat"]
    for name in _NUMBERS:
        text = parameters.get(name, "0")
        if not (text.isascii() and text.isdigit()) and not (name == "heartbeat" and text == "true"):
            raise BadRequestError("invalid_integer")
        if name in parameters and text != "true":
            parameters[name] = str(min(parse_digits(text), limits.LARGEST_NUMBER))
    if parameters.get("heartbeat") == "0":
        parameters["heartbeat"] = "1"
    return parameters


async def _normal_pieces(store: Store, database: Database, query: ChangesQuery) -> AsyncGenerator[bytes, None]:
    yield b'{"results":[\n'
    separator = b""
    rest: ChangesQuery | None = query
    batch = ChangesBatch([], 0, 0, None)
    while rest is not None:
        batch = await store.read_in_thread(changes.read_batch, database, rest)
        for row in _rows(batch, database):
            yield separator + row
            separator = b",\r\n"
        rest = batch.rest
    yield _result_end(batch.last_seq, database)


async def _longpoll_pieces(
    waiting: WaitingFeed, database: Database, query: ChangesQuery
) -> AsyncGenerator[bytes, None]:
    yield b'{"results":[\n'
    separator, last = b"", query.since or 0
    async for batch in waiting.batches():
        if batch is None:
            yield b"\n"
            continue
        last = batch.last_seq
        for row in _rows(batch, database):
            yield separator + row
            separator = b",\r\n"
        # Changes of documents that report no event do not end the wait.
        if separator and batch.rest is None:
            break
    yield _result_end(last, database)


async def _continuous_pieces(
    waiting: WaitingFeed, database: Database, query: ChangesQuery
) -> AsyncGenerator[bytes, None]:
    last = query.since or 0
    async for batch in waiting.batches():
        if batch is not None:
            last = batch.last_seq
        # An empty line tells the client that the feed has begun, and later that it is alive.
        yield b"".join(row + b"\n" for row in _rows(batch, database)) if batch and batch.rows else b"\n"
    yield encode({"last_seq": database.sequence(last)}) + b"\n"


def _rows(batch: ChangesBatch, database: Database) -> list[bytes]:
    return [row for row in (_row(change, database) for change in batch.rows) if row is not None]


def _row(change: Change, database: Database) -> bytes | None:
    """Return the row for a document's change, or None if the document reports no event, as a design document."""
    event, separator, name = str(decode(change.text)["id"]).partition(":")
    # The names of design documents have no colon behind a type of event.
    if not separator:
        return None
    return b'%b,"seq":%b}' % (encode({"db_name": name, "type": event})[:-1], change.sequence)


def _result_end(last: int, database: Database) -> bytes:
    return b'\n],\n"last_seq":%b}\n' % encode(database.sequence(last))
