"""One end of a replication: a database behind a transport, and what replication asks of it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, cast

from couchmodel._wire.messages import JSON_TYPE, NOTHING, Request, Response, Transport, document_path, encode
from couchmodel._wire.refusals import decoded, refusal
from couchmodel.errors import (
    ConnectError,
    NotFoundError,
    RequestTimeoutError,
    ResponseError,
    TransportError,
)

__all__ = ["Missing", "Peer"]

_log: Final = logging.getLogger("couchmodel.replication")

_BUSY: Final = frozenset((429, 502, 503, 504))
_TRIES: Final = 5
_PAUSE: Final = 0.2
"""Seconds before the first repeat; each further one waits twice as long."""

_OF_ONE: Final = frozenset((400, 403, 412, 413, 415))
"""Refusals of a document, by its size, its form or a validation function."""

_OF_ALL: Final = frozenset((*_BUSY, 401, 501, 507))
"""Refusals of whatever else is asked as well."""

Missing = Mapping[str, Mapping[str, Sequence[str]]]
"""The answer of ``_revs_diff``: by document, the revisions that are ``missing``, and ``possible_ancestors``."""


class Peer:
    """A database to replicate from or to.

    All that is asked of it may be asked twice: revisions are written as they are. So whatever got no answer, or that
    the server has no time for, is asked again, beside what a transport repeats itself.
    """

    def __init__(self, transport: Transport, path: tuple[str, ...], name: str) -> None:
        """``name`` tells the database from all others, and holds no password."""
        self.transport = transport
        self.path = path
        self.name = name

    def __repr__(self) -> str:
        return f"<Peer {self.name}>"

    async def send(self, request: Request) -> Response:
        """The answer, if it is no error. Raises ResponseError, TransportError."""
        response = await self._answered(request)
        if response.status >= 300:
            await response.collect()
            raise refusal(request, response)
        return response

    async def json(self, request: Request) -> Any:
        """The decoded answer."""
        return decoded(request, await self.send(request))

    async def started(self) -> str | None:
        """When the database was made, by which it is told from others that had its name.

        None where the server does not say. Raises NotFoundError, UnauthorizedError, ForbiddenError.
        """
        made = (await self.json(Request("GET", self.path))).get("instance_start_time")
        return None if made is None else str(made)

    async def exists(self) -> bool:
        """Whether the database is there. Raises UnauthorizedError, ForbiddenError."""
        try:
            await self.send(Request("HEAD", self.path))
        except NotFoundError:
            return False
        return True

    async def create(self, params: Mapping[str, Any]) -> None:
        """Create the database. Raises PreconditionFailedError where it is there."""
        query = {name: value if isinstance(value, str) else encode(value).decode() for name, value in params.items()}
        await self.send(Request("PUT", self.path, query))

    # --- checkpoints

    async def log(self, id: str) -> dict[str, Any]:
        """What this end remembers of a replication; empty where it is nothing."""
        try:
            return cast(dict[str, Any], await self.json(Request("GET", (*self.path, "_local", id))))
        except NotFoundError:
            return {}

    async def write_log(self, id: str, log: Mapping[str, Any]) -> str:
        """Remember a replication; the new revision. Raises ConflictError."""
        request = Request("PUT", (*self.path, "_local", id), body=encode(log))
        return str((await self.json(request))["rev"])

    # --- the source

    async def changes(self, query: Mapping[str, str], body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One answer of ``_changes``."""
        path = (*self.path, "_changes")
        request = Request("GET", path, query) if body is None else Request("POST", path, query, body=encode(body))
        return cast(dict[str, Any], await self.json(request))

    async def design(self, name: str) -> dict[str, Any]:
        """A design document. Raises NotFoundError."""
        return cast(dict[str, Any], await self.json(Request("GET", (*self.path, "_design", name))))

    async def bulk_get(self, wanted: Sequence[Mapping[str, str]]) -> tuple[list[Any], int]:
        """The revisions with their histories, and how many bytes they took."""
        query = {"revs": "true", "latest": "true", "att_encoding_info": "true"}
        body = encode({"docs": wanted})
        response = await self.send(Request("POST", (*self.path, "_bulk_get"), query, body=body))
        return response.json()["results"], len(response.body)

    async def open_revisions(self, id: str, revs: Sequence[str]) -> list[Any]:
        """The same of one document, from a server that does not know ``_bulk_get``."""
        return await self._opened(id, revs, {"latest": "true", "att_encoding_info": "true"})

    async def with_attachments(self, id: str, rev: str) -> dict[str, Any] | None:
        """A revision with its attachments in its JSON; None where it is gone."""
        rows = await self._opened(id, [rev], {"attachments": "true"})
        return next((row["ok"] for row in rows if "ok" in row), None)

    async def _opened(self, id: str, revs: Sequence[str], wishes: Mapping[str, str]) -> list[Any]:
        query = {**wishes, "revs": "true", "open_revs": encode(list(revs)).decode()}
        request = Request("GET", document_path(self.path, id), query, {"accept": JSON_TYPE})
        return cast(list[Any], await self.json(request))

    async def attachment(self, id: str, rev: str, name: str, *, plain: bool = False) -> AsyncIterator[bytes]:
        """The content of an attachment, ``plain``, or in the encoding that it is stored in."""
        path, encoding = (*document_path(self.path, id), name), "identity" if plain else "gzip"
        request = Request("GET", path, {"rev": rev}, {"accept": "*/*", "accept-encoding": encoding}, stream=True)
        response = await self.send(request)
        if response.stream is None:
            yield response.body
            return
        try:
            async for piece in response.stream:
                yield piece
        finally:
            await response.stream.aclose()

    # --- the target

    async def missing(self, revs: Mapping[str, Sequence[str]]) -> Missing:
        """Of these revisions by document, those that are not here."""
        return cast(Missing, await self.json(Request("POST", (*self.path, "_revs_diff"), body=encode(revs))))

    async def write_many(self, documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Take in revisions as they are; CouchDB's row for each that it refused."""
        body = encode({"docs": documents, "new_edits": False})
        rows = await self.json(Request("POST", (*self.path, "_bulk_docs"), body=body))
        return [row for row in rows if "error" in row]

    async def write(self, id: str, body: Any, headers: Mapping[str, str] = NOTHING) -> None:
        """Take in one revision; ``body`` is JSON, or multipart where ``headers`` say so."""
        await self.send(Request("PUT", document_path(self.path, id), {"new_edits": "false"}, headers, body))

    # --- what is wrong

    async def refuses_all(self, error: ResponseError, *, reads: bool = False) -> bool:
        """Whether an answer to one document is the answer to every other one, too: then it ends a replication.

        ``reads`` says that the document was to be read, not written. CouchDB goes on after 401, 403, 413 and 415 only,
        and stands still for any other document that cannot be written. Here the server is asked for something that it
        can do if it is well.
        """
        if error.status in _OF_ALL or (reads and error.status == 403):
            return True
        return error.status not in _OF_ONE and not await self._is_well("_bulk_get" if reads else "_bulk_docs")

    async def _is_well(self, endpoint: str) -> bool:
        """Whether the database is there, and reads or writes documents."""
        body = encode({"docs": [], "new_edits": False} if endpoint == "_bulk_docs" else {"docs": []})
        try:
            await self.send(Request("POST", (*self.path, endpoint), body=body))
        except ResponseError:
            return False
        return True

    # --- patience

    async def _answered(self, request: Request) -> Response:
        """The answer to one of several tries. A body that is a stream is sent once: whoever made it makes another."""
        pause = _PAUSE
        for _ in range(_TRIES - 1 if request.body is None or isinstance(request.body, bytes) else 0):
            try:
                response = await self.transport.send(request)
            except (ConnectError, RequestTimeoutError):  # the transport has had patience enough with these
                raise
            except TransportError as error:
                _log.debug("%r is sent again: %s", request, error)
            else:
                if response.status not in _BUSY:
                    return response
                await response.collect()
            await asyncio.sleep(pause)
            pause *= 2
        return await self.transport.send(request)
