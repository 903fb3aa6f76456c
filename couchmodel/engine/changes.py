"""The changes of a database: every feed of ``_changes``, followed across lost connections.

A change carries the sequence it stands at, so a feed that breaks off is asked for again from the last one that came
whole: every change is told at least once, and in order. CouchDB writes a row a line, which is cut as it arrives; memory
is bounded by one row, however long.
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import aclosing
from typing import Any, Final, Self, TypeVar

from couchmodel._wire.messages import Request, Response, decode, target
from couchmodel._wire.refusals import asked
from couchmodel._wire.turns import give_turn, turn_is_due
from couchmodel.engine._io.rows import Rows
from couchmodel.engine.change_events import BaseChangeEvent, ChangedEvent, DeletedEvent
from couchmodel.engine.change_feed import Position, Question, parameter
from couchmodel.engine.document import Place
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

FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 30.0
"""Seconds before a lost connection is tried again: a random part of the first, which doubles up to the longest."""

ATTEMPTS: Final = 6
"""Connections in a row that may bring nothing before their error is raised. Once its server has answered, a continuous
feed does not count those that break or are refused: it is there to outlive a restart, however long that takes."""

_PASSING: Final = frozenset({None, 429, 500, 502, 503, 504})
"""No answer, and those of a server, or of a proxy before it, that is starting, stopping or overloaded."""

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Changes(AsyncIterator[BaseChangeEvent]):
    """The changes of a database, one by one, as an asynchronous iterator. Making one sends nothing.

    A lost connection is made again, and the feed goes on behind the last change it has told. A wait that is cancelled
    closes the connection; asked again, the feed goes on likewise. Whoever leaves a feed early that is still held by a
    name closes it, best by :func:`contextlib.aclosing`.
    """

    def __init__(self, database: Place, last_event_id: str | int | None = None, **params: Any) -> None:
        """:meth:`Database.changes <couchmodel.engine.Database.changes>` says what ``params`` are. Raises QueryError."""
        self._database = database
        since = params.pop("since", None)
        if since is not None and last_event_id not in (None, since):
            raise QueryError(f"since={since!r} and last_event_id={last_event_id!r} are the same thing: leave one out")
        self._question = Question(params)
        self._position = Position(parameter("since", last_event_id if since is None else since), self._question.limit)
        self._events = self._follow()

    def __repr__(self) -> str:
        return f"<Changes of {target(self._database.path)} since {self.last_seq or 0}>"

    @property
    def last_seq(self) -> str | None:
        """The sequence to go on from, which is that of the last change, and at the end of a feed its own.

        At the beginning it is what was asked for; None where that was nothing.
        """
        return self._position.last_seq

    @property
    def pending(self) -> int | None:
        """How many changes there were behind the last one, once the feed is at its end."""
        return self._position.pending

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BaseChangeEvent:
        """The next change.

        Raises NotFoundError where there is no such database or no longer one, BadRequestError for what CouchDB cannot
        answer, UnauthorizedError, ForbiddenError; TransportError where the server stays out of reach.
        """
        try:
            return await anext(self._events)
        except asyncio.CancelledError:
            self._events = self._follow()
            raise

    async def aclose(self) -> None:
        """End the feed and give its connection up. Closing twice is harmless."""
        await self._events.aclose()

    def _follow(self) -> AsyncGenerator[BaseChangeEvent, None]:
        # No method, for it must not hold on to the iterator: then the end of the one is the end of the other.
        return _follow(self._database, self._question, self._position)


async def _follow(place: Place, question: Question, position: Position) -> AsyncGenerator[BaseChangeEvent, None]:
    """The changes behind a position, over as many connections as it takes."""
    losses, closings = 0, place.session.closings
    clock = asyncio.get_running_loop().time
    while not position.exhausted:
        began = clock()
        try:
            await _anchor(place, question, position)
            async with aclosing(_answer(place, question, position)) as rows:
                async for row in rows:
                    losses = 0
                    event = DeletedEvent(row) if row.get("deleted") else ChangedEvent(row, place)
                    position.move(event)
                    yield event
        except (TransportError, ResponseError) as error:
            losses = 1 if clock() - began > LONGEST_PAUSE else losses + 1
            if not _passes(error, losses, question, position):
                raise
            # Whoever closes the client ends its feeds, those that wait to ask again not before they would.
            if place.session.closings == closings:
                await _pause(place, losses, error)
            if place.session.closings != closings:
                raise
        else:
            return


def _passes(error: CouchModelError, losses: int, question: Question, position: Position) -> bool:
    """Whether it is worth while to ask again."""
    status = error.status if isinstance(error, ResponseError) else None
    if isinstance(error, StoreFileError | TLSError) or question.backwards or status not in _PASSING:
        return False
    # 500 is what a server says that starts, but also one whose filter function fails, time and again.
    patient = question.endless and position.answered and status != 500
    return patient or losses < ATTEMPTS


async def _pause(place: Place, losses: int, error: CouchModelError) -> None:
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(losses - 1, 10))
    seconds = random.uniform(0, longest)  # noqa: S311 - so that many clients of one server do not return at once
    _log.info("the changes of %s broke off, again in %.1f s: %s", target(place.path), seconds, error)
    await asyncio.sleep(seconds)


async def _anchor(place: Place, question: Question, position: Position) -> None:
    """Find out which sequence ``now`` is, lest a feed that breaks off early miss what comes before it is back."""
    if question.feed != "normal" and position.last_seq == "now":
        answer = await place.session.get((*place.path, "_changes"), {"since": "now", "limit": "0"})
        position.last_seq = answer["last_seq"]


def _answer(place: Place, question: Question, position: Position) -> AsyncGenerator[JSONObject, None]:
    """The rows of one answer. Raises TransportError where it is not whole."""
    position.rewind()
    request = question.request(place.path, position)
    if question.continuous:
        return _lines(place, question, position, request)
    return _whole(place, position, request)


async def _whole(place: Place, position: Position, request: Request) -> AsyncGenerator[JSONObject, None]:
    """The rows of an answer that is one JSON text."""
    rows = Rows(place.session, request)
    async with aclosing(rows.batches()) as batches:
        async for batch in batches:
            for row in batch:
                yield decode(row)
    position.finish(rows.members)


async def _lines(
    place: Place, question: Question, position: Position, request: Request
) -> AsyncGenerator[JSONObject, None]:
    """The rows of a continuous feed, each a line of its own."""
    response = await place.session.send(request)
    position.answered = True
    lines = _Lines()
    async with aclosing(_pieces(response, question.silence, request)) as pieces:
        async for piece in pieces:
            for line in lines.feed(piece):
                if turn_is_due():
                    await give_turn()
                row = _row(line, request)
                if "last_seq" in row:
                    position.finish(row)
                    _check_end(question, position, request)
                    return
                yield row
    raise ProtocolError(f"the feed was cut off ({asked(request)})")


def _check_end(question: Question, position: Position, request: Request) -> None:
    # CouchDB ends a feed like this when it stops, or when the database is deleted: to ask again tells which.
    if question.endless and not position.exhausted:
        raise ProtocolError(f"the server ended a feed that has no end ({asked(request)})")


def _row(line: bytes, request: Request) -> JSONObject:
    try:
        row = decode(line)
    except DocumentError:
        raise
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise ProtocolError(f"the feed is not CouchDB's: {line[:80]!r} ({asked(request)})")
    if "error" in row and "id" not in row:
        reason = str(row.get("reason", ""))
        raise response_error(500, str(row["error"]), reason, method=request.method, path=target(request.path))
    return row


async def _pieces(response: Response, silence: float | None, request: Request) -> AsyncGenerator[bytes, None]:
    if response.stream is None:
        yield response.body
        return
    async with aclosing(response.stream) as stream:
        pieces = aiter(stream)
        while (piece := await _within(silence, anext(pieces, None), request)) is not None:
            yield piece


async def _within(seconds: float | None, waiting: Awaitable[_T], request: Request) -> _T:
    """What is waited for. Raises RequestTimeoutError where it does not come in time."""
    try:
        async with asyncio.timeout(seconds):
            return await waiting
    except RequestTimeoutError:
        raise
    except TimeoutError:
        message = f"the feed gave no sign of life for {seconds:g} s ({asked(request)})"
        raise RequestTimeoutError(message) from None


class _Lines:
    """Cuts what arrives into lines, without those that are empty."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that this piece completes."""
        # A long line comes in many pieces, which are joined once.
        first, *others = piece.split(b"\n")
        self._rest.append(first)
        if not others:
            return []
        lines = [b"".join(self._rest), *others[:-1]]
        self._rest = [others[-1]]
        return [line for each in lines if (line := each.strip())]
