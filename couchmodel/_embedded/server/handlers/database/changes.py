"""The endpoint ``_changes``, with the feeds ``normal``, ``longpoll``, ``continuous`` and ``eventsource``."""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

from couchmodel._embedded import limits
from couchmodel._embedded.documents.design_functions import FunctionFilter, open_function
from couchmodel._embedded.documents.reader import ReadOptions
from couchmodel._embedded.json.parse import parse_json_parameter, parse_object, parse_query
from couchmodel._embedded.mango.selector import compile_selector
from couchmodel._embedded.queries import changes
from couchmodel._embedded.queries.changes import Change, ChangesBatch, ChangesQuery, Filter
from couchmodel._embedded.queries.filtered_changes import scan
from couchmodel._embedded.rules.params import parse_digits, parse_integer, require_json_type
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.handlers.database.database import describe
from couchmodel._embedded.server.request_body import parse_in_thread, read_text
from couchmodel._embedded.server.request_object import request_object
from couchmodel._embedded.server.responses import JSON_HEADERS, error_answer, has_current_etag, join_parts, not_modified
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request, Response
from couchmodel.errors import BadRequestError, NotFoundError, ResponseError

__all__ = ["WaitingFeed", "feed", "with_error_line"]

_FEEDS: Final = ("normal", "longpoll", "continuous", "live", "eventsource")
_EVENT_HEADERS: Final = {"content-type": "text/event-stream", "cache-control": "no-cache"}


async def feed(exchange: Exchange) -> Response:
    """Answer ``GET /{db}/_changes`` and ``POST /{db}/_changes``."""
    store, database, request = exchange.store, exchange.database, exchange.request
    kind = request.query.get("feed", "normal")
    if kind not in _FEEDS:
        raise BadRequestError("Supported `feed` types: normal, continuous, live, longpoll, eventsource")
    query = await _parse_request(exchange)
    _parse_timeout(request.query)
    _parse_heartbeat(request.query.get("heartbeat"))
    # Only this feed has an ETag: the others wait for what is to come.
    if kind == "normal":
        tag = await store.read(changes.read_etag, database)
        if request.method != "POST" and has_current_etag(request.headers, tag):
            return not_modified(tag)
        return await _answer_normal(store, database, query, {**JSON_HEADERS, "etag": tag})
    if query.since is None:
        # "now" is resolved before the answer begins: a client that has its head then misses no change.
        query = replace(query, since=await store.read(changes.read_last_sequence, database))
    waiting = WaitingFeed(store, database, query, request)
    if query.filter.function is not None:
        await waiting.read_first()
    if kind == "longpoll":
        return Response(200, JSON_HEADERS, stream=with_error_line(waiting.longpoll()))
    if kind == "eventsource":
        return Response(200, _EVENT_HEADERS, stream=with_error_line(waiting.eventsource()))
    return Response(200, JSON_HEADERS, stream=with_error_line(waiting.continuous()))


async def _answer_normal(store: Store, database: Database, query: ChangesQuery, headers: Mapping[str, str]) -> Response:
    slow = query.filter.function is not None or (query.filter.selector and query.filter.selector.may_take_long)
    if 0 <= query.limit <= limits.INLINE_ROWS and not slow:
        batch = await store.read(changes.read_batch, database, query)
    else:
        batch = await scan(store, database, query)
    if batch.rest is None:
        rows = await _join_rows(batch)
        return Response(200, headers, await join_parts(b'{"results":[\n', rows, _feed_end(database, batch)))
    return Response(200, headers, stream=with_error_line(_normal_pieces(store, database, batch)))


async def with_error_line(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """Yield the pieces of a feed. An error ends the feed with a line that holds it as JSON."""
    async with aclosing(pieces):
        try:
            async for piece in pieces:
                yield piece
        except ResponseError as error:
            yield b"\n" + error_answer(error).body


async def _normal_pieces(store: Store, database: Database, batch: ChangesBatch) -> AsyncGenerator[bytes, None]:
    yield b'{"results":[\n'
    separator = b""
    while True:
        if batch.rows:
            yield separator
            yield await _join_rows(batch)
            separator = b",\n"
        if batch.rest is None:
            break
        batch = await scan(store, database, batch.rest)
    yield _feed_end(database, batch)


async def _join_rows(batch: ChangesBatch) -> bytes:
    return await join_parts(*(change.text for change in batch.rows), between=b",\n")


def _feed_end(database: Database, batch: ChangesBatch) -> bytes:
    return b'\n],\n"last_seq":"%d%b","pending":%d}\n' % (batch.last_seq, database.sequence_suffix, batch.pending)


class WaitingFeed:
    """A feed that waits for changes: ``longpoll`` until one comes, the others until none comes in time."""

    def __init__(self, store: Store, database: Database, query: ChangesQuery, request: Request) -> None:
        self._store = store
        self._database = database
        self._query = query
        self._timeout = _parse_timeout(request.query)
        self._heartbeat = _parse_heartbeat(request.query.get("heartbeat"))
        self._first: ChangesBatch | None = None

    async def read_first(self) -> None:
        """Read the first batch before the answer begins, so that an error of the filter function has its status."""
        self._first = await self._read(self._query)

    async def _read(self, query: ChangesQuery) -> ChangesBatch:
        return await scan(self._store, self._database, query)

    async def longpoll(self) -> AsyncGenerator[bytes, None]:
        """Yield the pieces of a feed ``longpoll``: the changes that exist, or else the first ones that come."""
        separator = b'{"results":[\n'
        batch = ChangesBatch([], self._query.since or 0, 0, None)
        yield separator
        separator = b""
        async for batch_or_beat in self.batches():
            if batch_or_beat is None:
                yield b"\n"
                continue
            batch = batch_or_beat
            if batch.rows:
                yield separator
                yield await _join_rows(batch)
                separator = b",\n"
            if separator and batch.rest is None:
                break
        yield _feed_end(self._database, batch)

    async def continuous(self) -> AsyncGenerator[bytes, None]:
        """Yield the pieces of a feed ``continuous``: a line for each change, and a line with the last sequence."""
        batch = ChangesBatch([], self._query.since or 0, 0, None)
        async for batch_or_beat in self.batches():
            if batch_or_beat is None:
                yield b"\n"
                continue
            batch = batch_or_beat
            # If there are no changes yet, an empty line tells the client that the feed has begun.
            yield b"".join(change.text + b"\n" for change in batch.rows) or b"\n"
        yield b'{"last_seq":"%d%b","pending":%d}\n' % (batch.last_seq, self._database.sequence_suffix, batch.pending)

    async def eventsource(self) -> AsyncGenerator[bytes, None]:
        """Yield the pieces of a feed ``eventsource``: a server-sent event for each change."""
        async for batch in self.batches():
            if batch is None:
                yield b"event: heartbeat\ndata: \n\n"
            elif batch.rows:
                yield b"".join(map(_sse_event, batch.rows))

    async def batches(self) -> AsyncGenerator[ChangesBatch | None, None]:
        """Yield batches of changes as they come, and None for each heartbeat.

        The feed ends at the limit of the query, when no change comes in time, or when the database is dropped.
        """
        query, first = self._query, self._first
        with self._database.watch() as watch:
            while True:
                try:
                    async with watch.read_semaphore:
                        batch = first or await self._read(query)
                except NotFoundError:
                    return  # the database has been dropped
                yield batch
                query, rest = query.after(batch), batch.rest
                if query.limit == 0:
                    return
                if rest is not None or first is not None:
                    # The first batch was read before the watch began, so changes may have come in between.
                    query, first = rest or query, None
                    continue
                while not await watch.wait_for_change(self._heartbeat or self._timeout):
                    # A feed with a heartbeat has no timeout, as in CouchDB: it waits for as long as the client does.
                    if self._heartbeat is None:
                        return
                    yield None


def _sse_event(change: Change) -> bytes:
    return b"data: %b\nid: %b\n\n" % (change.text, change.sequence)


def _parse_timeout(query: Mapping[str, str]) -> float:
    """Return the seconds that a feed waits for a change.

    Raises BadRequestError for a negative number, where CouchDB drops the connection. The feed ``normal``, which does
    not wait, may have one.
    """
    text = query.get("timeout")
    if text is None or (query.get("feed", "normal") == "normal" and text[1:].isdecimal() and text[0] == "-"):
        return limits.FEED_SECONDS
    return min(parse_integer("timeout", text) / 1000, limits.FEED_SECONDS)


def _parse_heartbeat(text: str | None) -> float | None:
    if text is None:
        return None
    if text == "true":
        return limits.FEED_SECONDS
    if not (text.isascii() and text.isdigit()):
        reason = "Invalid heartbeat value. Expecting a positive integer value (in milliseconds)."
        raise BadRequestError(reason)
    milliseconds = parse_digits(text)
    if milliseconds == 0:
        raise BadRequestError("The heartbeat value should be a positive integer (in milliseconds).")
    return min(milliseconds / 1000, limits.LONGEST_HEARTBEAT)


# --- parameters


async def _parse_request(exchange: Exchange) -> ChangesQuery:
    request = exchange.request
    parameters = request.query
    text = b""
    if request.method == "POST":
        require_json_type(request)
        text = await read_text(request)
    since = parameters.get("since", parameters.get("last-event-id", "0"))
    if parameters.get("feed") == "eventsource":
        since = request.headers.get("last-event-id", since)
    flags: dict[str, Any] = {name: True for name in _FLAGS if parameters.get(name) == "true"}
    return ChangesQuery(
        since=changes.parse_since(since, exchange.database),
        limit=_parse_limit(parameters.get("limit")),
        interval=_parse_interval(parameters.get("seq_interval", "1")),
        descending=parameters.get("descending") == "true",
        all_leaves=changes.parse_style(parameters.get("style", "main_only")),
        include_docs=parameters.get("include_docs") == "true",
        options=ReadOptions(**flags),
        filter=await _parse_filter(exchange, text),
    )


_FLAGS: Final = ("conflicts", "attachments", "att_encoding_info")


def _parse_limit(text: str | None) -> int:
    """Return the parameter ``limit``. A negative one never ends a feed, as in CouchDB. Raises BadRequestError."""
    if text is None:
        return changes.NO_LIMIT
    found = _INTEGER.fullmatch(text)
    if found is None:
        raise BadRequestError(f'Invalid value for integer: "{text}"', code="query_parse_error")
    return parse_digits(found[2]) * (-1 if found[1] == "-" else 1)


def _parse_interval(text: str) -> int:
    """Return the parameter ``seq_interval``. Raises BadRequestError."""
    found = _INTEGER.fullmatch(text)
    if found is None or found[1] == "-" or not (interval := parse_digits(found[2])):
        raise BadRequestError("invalid_seq_interval")
    return interval


_INTEGER: Final = re.compile("([+-]?)([0-9]+)")


async def _parse_filter(exchange: Exchange, text: bytes) -> Filter:
    request = exchange.request
    name = request.query.get("filter", "")
    if name == "_selector":
        if request.method != "POST":
            raise BadRequestError("Selector must be specified in POST payload")
        return await parse_in_thread(text, _parse_selector, limits.INLINE_QUERY_BYTES)
    needed = request.method == "POST" and name == "_doc_ids"
    body = await parse_in_thread(text, parse_object) if text or needed else {}
    match name:
        case "":
            return Filter()
        case "_doc_ids":
            ids = body["doc_ids"] if "doc_ids" in body else parse_json_parameter(request.query.get("doc_ids", "null"))
            return Filter(ids=changes.parse_ids(ids))
        case "_design":
            return Filter(design=True)
        case "_view":
            if "view" not in request.query:
                raise BadRequestError("`view` filter parameter is not provided.")
            design, view = _split_name(request.query["view"], "`view` must be of the form `designname/viewname`")
            return await _function_filter(exchange, body, design, "views", view, "map")
        case name if name.startswith("_"):
            raise BadRequestError("unknown builtin filter name")
        case name:
            design, function = _split_name(name, "`filter` must be of the form `designname/filtername`")
            return await _function_filter(exchange, body, design, "filters", function)


def _parse_selector(text: bytes) -> Filter:
    body = parse_query(text)
    try:
        return Filter(selector=compile_selector(changes.parse_selector(body)), fields=changes.parse_fields(body))
    except BadRequestError as error:
        raise BadRequestError(error.reason) from None  # CouchDB answers with the code "bad_request" here


async def _function_filter(exchange: Exchange, body: dict[str, Any], *path: str) -> Filter:
    """Return a filter by a function. ``path`` is the design document's name, then the function's path in it."""
    design, *names = path
    function = await exchange.store.read(open_function, exchange.database, design, tuple(names))
    info = await exchange.store.read(describe, exchange.database)
    request_json = request_object(exchange, body if exchange.request.method == "POST" else "undefined", info)
    return Filter(function=FunctionFilter(function, request_json))


def _split_name(name: str, reason: str) -> tuple[str, str]:
    design, _, function = name.partition("/")
    if not design or not function or "/" in function:
        raise BadRequestError(reason)
    return design, function
