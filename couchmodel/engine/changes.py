"""The changes of a database: every kind of ``_changes`` feed, followed across lost connections.

A change has a sequence. A feed that breaks off is asked for again from the last sequence that arrived whole, so every
change is given at least once, and in order. CouchDB writes one row a line, and lines are split as they arrive, so
memory is bounded by the longest row.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any, Final, Self, TypeVar

from couchmodel._retry import Backoff
from couchmodel._wire.answers import describe_request
from couchmodel._wire.messages import Request, Response, decode, request_target
from couchmodel._wire.turns import give_turn, turn_is_due
from couchmodel.engine._io.change_feed import FeedPosition, FeedRequest, encode_param
from couchmodel.engine._io.lines import LineSplitter
from couchmodel.engine._io.rows import Rows
from couchmodel.engine.change_events import BaseChangeEvent, ChangedEvent, DeletedEvent
from couchmodel.engine.document import DatabaseAddress
from couchmodel.errors import (
    CouchModelError,
    DocumentError,
    ProtocolError,
    QueryError,
    RequestTimeoutError,
    ResponseError,
    StoreFileError,
    TLSError,
    TransportError,
    response_error,
)
from couchmodel.types import JSONObject

__all__ = ["Changes"]

BACKOFF: Final = Backoff(0.25, longest=30.0, jitter=True)
"""The wait before a lost connection is opened again."""

ATTEMPTS: Final = 6
"""The number of connections in a row that may bring nothing before their error is raised.

A continuous feed whose server has answered once has no such limit: it has to outlive a restart of the server, however
long that takes.
"""

_TRANSIENT: Final = frozenset({None, 429, 500, 502, 503, 504})
"""The statuses after which a feed is tried again.

They are None (no answer), and those of a server, or of a proxy before it, that is starting, stopping or overloaded.
"""

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Changes(AsyncIterator[BaseChangeEvent]):
    """An asynchronous iterator over the changes of a database. Creating the object sends nothing.

    If the connection is lost, the feed opens another and goes on after the last change it gave. Cancelling a wait
    closes the connection; the next :func:`anext` goes on in the same way. If you leave a feed before its end and keep
    a reference to it, close it, best with :func:`contextlib.aclosing`.
    """

    def __init__(self, database: DatabaseAddress, last_event_id: str | int | None = None, **params: Any) -> None:
        """:meth:`Database.changes <couchmodel.engine.Database.changes>` describes ``params``. Raises QueryError."""
        self._database = database
        since = params.pop("since", None)
        if since is not None and last_event_id not in (None, since):
            raise QueryError(
                f"since={since!r} and last_event_id={last_event_id!r} are two names of one parameter: leave one out"
            )
        self._feed = FeedRequest(params)
        self._position = FeedPosition(
            encode_param("since", last_event_id if since is None else since), self._feed.limit
        )
        self._events = self._follow()

    def __repr__(self) -> str:
        return f"<Changes of {request_target(self._database.path)} since {self.last_seq or 0}>"

    @property
    def last_seq(self) -> str | None:
        """The sequence to go on from: of the last change, or of the whole feed once it has ended.

        Before the first change it is the one that was given as ``since``; None if none was given.
        """
        return self._position.last_seq

    @property
    def pending(self) -> int | None:
        """The number of changes after the last one given, known at the end of the feed; None before."""
        return self._position.pending

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BaseChangeEvent:
        """Return the next change.

        Raises NotFoundError if the database does not exist or is deleted; BadRequestError if CouchDB cannot answer the
        parameters; UnauthorizedError, ForbiddenError; TransportError if the server stays out of reach.
        """
        try:
            return await anext(self._events)
        except asyncio.CancelledError:
            # A cancelled generator is finished. Another one goes on from the position, which is kept outside of it.
            self._events = self._follow()
            raise

    async def aclose(self) -> None:
        """End the feed and close its connection. Closing twice is harmless."""
        await self._events.aclose()

    def _follow(self) -> AsyncGenerator[BaseChangeEvent, None]:
        # _follow is a function, not a method: the generator must not hold a reference to this iterator, so that it ends
        # as soon as the iterator is dropped.
        return _follow(self._database, self._feed, self._position)


async def _follow(
    database: DatabaseAddress, feed: FeedRequest, position: FeedPosition
) -> AsyncGenerator[BaseChangeEvent, None]:
    """Yield the changes after a position, over as many connections as it takes."""
    losses, close_count = 0, database.session.close_count
    clock = asyncio.get_running_loop().time
    while not position.is_exhausted:
        began = clock()
        try:
            await _resolve_now(database, feed, position)
            async with aclosing(_read_answer(database, feed, position)) as rows:
                async for row in rows:
                    losses = 0
                    event = DeletedEvent(row) if row.get("deleted") else ChangedEvent(row, database)
                    position.note_change(event.sequence)
                    yield event
        except (TransportError, ResponseError) as error:
            # A connection that lasted for a while is no sign that the server is out of reach: the count begins anew.
            losses = 1 if clock() - began > BACKOFF.longest else losses + 1
            if not _should_reconnect(error, losses, feed, position):
                raise
            # Closing the client ends its feeds. A feed that is pausing ends when its pause is over.
            if database.session.close_count == close_count:
                await _wait_before_reconnect(database, losses, error)
            if database.session.close_count != close_count:
                raise
        else:
            return


def _should_reconnect(error: CouchModelError, losses: int, feed: FeedRequest, position: FeedPosition) -> bool:
    """Return True if the feed is to be asked for again after an error."""
    status = error.status if isinstance(error, ResponseError) else None
    # Neither a file nor a certificate changes by waiting. A descending feed cannot go on from a sequence.
    if isinstance(error, StoreFileError | TLSError) or feed.is_descending or status not in _TRANSIENT:
        return False
    # A server answers 500 while it starts, but also if a filter function fails, and that goes on for ever.
    is_unlimited = feed.is_endless and position.has_answer and status != 500
    return is_unlimited or losses < ATTEMPTS


async def _wait_before_reconnect(database: DatabaseAddress, losses: int, error: CouchModelError) -> None:
    seconds = BACKOFF.wait(losses)
    _log.info("the changes of %s broke off, again in %.1f s: %s", request_target(database.path), seconds, error)
    await asyncio.sleep(seconds)


async def _resolve_now(database: DatabaseAddress, feed: FeedRequest, position: FeedPosition) -> None:
    """Replace ``now`` by its sequence. A feed that breaks off early would otherwise miss the changes of the break."""
    if feed.mode != "normal" and position.last_seq == "now":
        answer = await database.session.get((*database.path, "_changes"), {"since": "now", "limit": "0"})
        position.last_seq = answer["last_seq"]


def _read_answer(
    database: DatabaseAddress, feed: FeedRequest, position: FeedPosition
) -> AsyncGenerator[JSONObject, None]:
    """Return the rows of one answer. Iterating them raises TransportError if the answer is cut off."""
    # Changes after the last sequence may have been given already, and come again: the promise is at least once.
    position.rewind()
    request = feed.request(database.path, position)
    if feed.is_continuous:
        return _read_lines(database, feed, position, request)
    return _read_whole(database, position, request)


async def _read_whole(
    database: DatabaseAddress, position: FeedPosition, request: Request
) -> AsyncGenerator[JSONObject, None]:
    """Yield the rows of an answer that is one JSON text."""
    rows = Rows(database.session, request)
    async with aclosing(rows.batches()) as batches:
        async for batch in batches:
            for row in batch:
                yield _decode_change(row)
    position.finish(rows.members)


async def _read_lines(
    database: DatabaseAddress, feed: FeedRequest, position: FeedPosition, request: Request
) -> AsyncGenerator[JSONObject, None]:
    """Yield the rows of a continuous feed, in which each is a JSON text on a line of its own."""
    response = await database.session.send(request)
    position.has_answer = True
    splitter = LineSplitter()
    async with aclosing(_read_pieces(response, feed.read_timeout, request)) as pieces:
        async for piece in pieces:
            for line in filter(None, map(bytes.strip, splitter.feed(piece))):  # an empty line is a sign of life
                if turn_is_due():
                    await give_turn()
                row = _decode_row(line, request)
                if "last_seq" in row:
                    position.finish(row)
                    _check_end(feed, position, request)
                    return
                yield row
    raise ProtocolError(f"the feed was cut off ({describe_request(request)})")


def _check_end(feed: FeedRequest, position: FeedPosition, request: Request) -> None:
    # CouchDB ends such a feed when it stops, or when the database is deleted. Asking again tells which.
    if feed.is_endless and not position.is_exhausted:
        raise ProtocolError(f"the server ended a continuous feed ({describe_request(request)})")


def _decode_row(line: bytes, request: Request) -> JSONObject:
    try:
        row = _decode_change(line)
    except DocumentError:
        raise
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise ProtocolError(f"a line of the feed is not CouchDB's: {line[:80]!r} ({describe_request(request)})")
    if "error" in row and "id" not in row:
        reason = str(row.get("reason", ""))
        raise response_error(500, str(row["error"]), reason, method=request.method, path=request_target(request.path))
    return row


def _decode_change(row: bytes) -> Any:
    """Return the value of a row, without its document if that is nested too deeply to be read.

    One such document must not stop the feed.
    """
    try:
        return decode(row)
    except DocumentError:
        head, found, _ = row.partition(b',"doc":{')
        if not found:
            raise
        return decode(head + b"}")


async def _read_pieces(response: Response, read_timeout: float | None, request: Request) -> AsyncGenerator[bytes, None]:
    if response.stream is None:
        yield response.body
        return
    async with aclosing(response.stream) as stream:
        pieces = aiter(stream)
        while (piece := await _wait_for(read_timeout, anext(pieces, None), request)) is not None:
            yield piece


async def _wait_for(seconds: float | None, waiting: Awaitable[_T], request: Request) -> _T:
    """Return the awaited value. Raises RequestTimeoutError if it does not come within ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            return await waiting
    except RequestTimeoutError:  # the transport's own, which is a TimeoutError as well
        raise
    except TimeoutError:
        message = f"nothing arrived from the feed for {seconds:g} s ({describe_request(request)})"
        raise RequestTimeoutError(message) from None
