"""A client that writes documents of its own into databases of all, and checks that they are there."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from couchmodel._embedded.javascript.engine import is_available
from couchmodel._wire.messages import EMPTY, JSON_TYPE, Request, Response, Transport, encode
from tests.workload.ledger import Kept, State, document
from tests.workload.problems import WrongError

__all__ = ["Client", "Place", "Timings"]

GOOD = (200, 201, 202)

PATIENCE = 60.0
"""Seconds in which an answer has to come."""

_DOCUMENTS = 12
"""Documents of a client."""


class Timings:
    """How long requests have taken, in seconds, how many were writes, and when the last answer came."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.writes = 0
        self.last = time.monotonic()

    def add(self, seconds: float) -> None:
        """Take note of an answer."""
        self.seconds.append(seconds)
        self.last = time.monotonic()


class Place:
    """What is common to all clients of a store.

    ``url`` is how the store itself reaches its databases for a replication; without one it goes by their names.
    """

    def __init__(self, transport: Transport, prefix: str, clients: int, url: str | None) -> None:
        self.transport = transport
        self.url = url
        self.on_silence: Callable[[], None] = lambda: None
        """What is called where a request gets no answer."""
        self.timings = Timings()
        self.has_scripts = is_available()
        self.prefix = prefix
        self.shared = [f"{prefix}shared-{n}" for n in range(max(2, clients // 25))]
        """Databases that stay."""
        self.fleeting = [f"{prefix}fleeting-{n}" for n in range(2)]
        """Databases that any client may create and drop at any time."""

    def end(self, database: str) -> str:
        """Return a database as an end of a replication."""
        return database if self.url is None or random.random() < 0.5 else f"{self.url}/{database}"


class Client:
    """One client. It does one thing after the other, so what it reads is known."""

    def __init__(self, place: Place, name: str) -> None:
        self.place = place
        self.name = name
        self.private = f"{place.prefix}private-{name}"
        """A database that only this client uses, and drops at times."""
        self.has_private: bool | None = False
        """Whether that database is there; None where that is not known."""
        self.kept = [
            Kept(database, f"{name}-{at}-{n}", name)
            for at, database in enumerate(random.sample(place.shared, 2))
            for n in range(_DOCUMENTS // 2)
        ]
        self.passing: list[Kept] = []
        """Documents that were purged, or were to be."""
        self.count = 0

    # Requests

    async def ask(
        self,
        method: str,
        *path: str,
        body: Any = None,
        expected: Sequence[int] = GOOD,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] = EMPTY,
        timed: bool = True,
    ) -> Response:
        """Return the answer to a request. Raises WrongError for a status that is not expected, or where none comes."""
        request = _request(method, path, query, body, headers)
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await self.place.transport.send(request)
                await answer.collect()
        except TimeoutError as error:
            self.place.on_silence()
            raise WrongError(f"{_shape(request)}: no answer in {PATIENCE:.0f} s") from error
        if timed:
            self.place.timings.add(time.perf_counter() - begun)
        _check(request, answer, expected)
        self.place.timings.writes += answer.status == 201
        return answer

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        *path: str,
        body: Any = None,
        expected: Sequence[int] = GOOD,
        query: Mapping[str, str] = EMPTY,
    ) -> AsyncGenerator[AsyncIterator[bytes]]:
        """A context with the pieces of an answer, which it stops reading at its end."""
        request = _request(method, path, query, body, None)
        request.stream = True
        async with asyncio.timeout(PATIENCE):
            answer = await self.place.transport.send(request)
        if answer.stream is None:
            _check(request, answer, expected)
            answer = Response(answer.status, stream=_Whole(answer.body))
        if answer.status not in expected:
            await answer.collect()
            _check(request, answer, expected)
        assert answer.stream is not None
        pieces = aiter(answer.stream)
        try:
            yield pieces
        finally:
            with suppress(AttributeError):  # an iterator that is no generator
                await pieces.aclose()  # type: ignore[attr-defined]
            await answer.stream.aclose()

    # Documents

    def next_state(self, files: Mapping[str, int] | None = None) -> State:
        """Return the state that the next write brings about."""
        self.count += 1
        return State(self.count, files or {})

    def choose(self, *, there: bool | None = None, whole: bool = False) -> Kept | None:
        """Return one of its documents: one that is ``there``, or not; one that is certainly without a conflict."""
        found = [
            kept
            for kept in self.kept
            if (there is None or (kept.state is not None) == there) and not (whole and (kept.torn or kept.doubts))
        ]
        return random.choice(found) if found else None

    async def write(
        self,
        kept: Kept,
        state: State | None,
        method: str,
        *path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] = EMPTY,
    ) -> Response:
        """Put a write of a document to the store. A conflict is right where an earlier write had no answer."""
        in_doubt = bool(kept.doubts)
        kept.doubts.append(state)
        expected = (*GOOD, 409) if in_doubt else GOOD
        answer = await self.ask(
            method, kept.database, kept.id, *path, body=body, expected=expected, headers=headers, query=query
        )
        if answer.status == 409:
            await self.look(kept)
        else:
            kept.settle(state, _rev(answer))
        return answer

    async def look(self, kept: Kept) -> None:
        """Read a document. Raises WrongError where it is not as it was written."""
        answer = await self.ask("GET", kept.database, kept.id, expected=(200, 404))
        stored = answer.json() if answer.status == 200 else None
        before = kept.possible
        if not kept.find(stored):
            shown = stored and {name: stored.get(name) for name in ("_rev", "n", "owner", "_attachments")}
            raise WrongError("a document is not as it was written", f"{kept.id}: {before}, and stored is {shown}")

    def body(self, kept: Kept, state: State) -> dict[str, Any]:
        """Return the body of a write that continues what is stored."""
        body = {"_id": kept.id, **document(self.name, state)}
        if kept.rev is not None:
            body["_rev"] = kept.rev
        if state.files:
            body["_attachments"] = kept.stubs()
        return body

    def compare(self, database: str, found: Mapping[str, int], what: str) -> None:
        """Raise WrongError where an answer lacks documents of this client, or has more than there are.

        ``found`` has the numbers of documents by their ids; ``what`` says whose answer it is.
        """
        for kept in self.kept:
            if kept.database != database:
                continue
            numbers = [None if state is None else state.n for state in kept.possible]
            if found.get(kept.id) not in numbers:
                raise WrongError(f"{what} is not up to date", f"{kept.id}: {found.get(kept.id)} is none of {numbers}")
        known = {kept.id for kept in self.kept}
        if surplus := found.keys() - known:
            raise WrongError(f"{what} has documents that were never written", str(surplus))

    async def verify(self) -> None:
        """Read all that it has written. Raises WrongError, at the first that is not so."""
        for kept in [*self.kept, *self.passing]:
            await self.look(kept)
        answer = await self.ask("HEAD", self.private, expected=(200, 404))
        if self.has_private is not None and self.has_private != (answer.status == 200):
            raise WrongError("a database is there or not as it was left", self.private)
        self.has_private = answer.status == 200


class _Whole:
    """A body that is there, as a stream."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body

    async def aclose(self) -> None:
        """Do nothing."""


def _request(
    method: str, path: tuple[str, ...], query: Mapping[str, str], body: Any, headers: Mapping[str, str] | None
) -> Request:
    raw = body if body is None or isinstance(body, bytes | AsyncIterable) else encode(body)
    said = {"accept": JSON_TYPE, **({} if body is None else {"content-type": JSON_TYPE}), **(headers or {})}
    return Request(method, path, query, said, raw)


def _check(request: Request, answer: Response, expected: Sequence[int]) -> None:
    if answer.status not in expected:
        said = answer.body[:300].decode(errors="replace")
        raise WrongError(f"{_shape(request)} answers {answer.status}: {_reason(answer)}", f"{request!r}: {said}")


def _shape(request: Request) -> str:
    """Return what kinds of requests are told apart by: the method, and the words of CouchDB in the path."""
    words = [segment if segment.startswith("_") else "…" for segment in request.path[1:]]
    kinds = [kind for kind in ("shared", "fleeting", "private") if kind in request.path[0]] if request.path else []
    feed = request.query.get("feed")
    path = "/".join((*(kinds or request.path[:1]), *words))
    return f"{request.method} /{path}{f' {feed}' if feed else ''}"


def _reason(answer: Response) -> str:
    try:
        said = answer.json()
        return f"{said['error']}: {said['reason']}"
    except (ValueError, KeyError, TypeError):
        return ""


def _rev(answer: Response) -> str:
    """Return the revision that a write has made; an update function's stands in a header."""
    header = answer.headers.get("x-couch-update-newrev") or answer.headers.get("X-Couch-Update-NewRev")
    return header or str(answer.json()["rev"])
