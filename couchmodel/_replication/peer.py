"""One end of a replication: a database behind a transport, with the requests of CouchDB's protocol."""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, cast

from couchmodel._retry import BUSY_STATUSES, Backoff, retry
from couchmodel._wire.answers import answer_error, decode_answer
from couchmodel._wire.messages import EMPTY, JSON_TYPE, Request, Response, Transport, document_path, encode
from couchmodel.errors import (
    ConnectError,
    NotFoundError,
    RequestTimeoutError,
    ResponseError,
    TransportError,
)

__all__ = ["Peer", "RevsDiff"]

_log: Final = logging.getLogger("couchmodel.replication")

_ATTEMPTS: Final = 5
"""How often a request is sent at most."""

_BACKOFF: Final = Backoff(0.2)

_REFUSES_ONE: Final = frozenset((400, 403, 412, 413, 415))
"""Statuses that refuse one document, by its size, its form or a validation function."""

_REFUSES_ALL: Final = frozenset((*BUSY_STATUSES, 401, 501, 507))
"""Statuses that any other request would get as well."""

RevsDiff = Mapping[str, Mapping[str, Sequence[str]]]
"""The answer of ``_revs_diff``: by document, the revisions that are ``missing``, and ``possible_ancestors``."""


class Peer:
    """A database to replicate from or to.

    Each request may be sent twice, because revisions are written as they are. So a request is sent again if it got no
    answer or the server was busy, in addition to the retries of the transport.
    """

    def __init__(self, transport: Transport, path: tuple[str, ...], name: str) -> None:
        """``name`` is unique to the database, and holds no password."""
        self.transport = transport
        self.path = path
        self.name = name

    def __repr__(self) -> str:
        return f"<Peer {self.name}>"

    async def send(self, request: Request) -> Response:
        """Return the answer. Raises ResponseError if it is an error, and TransportError if none came."""
        response = await self._send_with_retries(request)
        if response.status >= 300:
            await response.collect()
            raise answer_error(request, response)
        return response

    async def json(self, request: Request) -> Any:
        """Return the decoded answer. Raises what :meth:`send` does, and ProtocolError if the answer is not JSON."""
        return decode_answer(request, await self.send(request))

    async def instance_start_time(self) -> str | None:
        """Return when the database was created, which tells it from former ones of its name.

        None if the server does not say. Raises NotFoundError, UnauthorizedError, ForbiddenError.
        """
        created = (await self.json(Request("GET", self.path))).get("instance_start_time")
        return None if created is None else str(created)

    async def exists(self) -> bool:
        """Return True if the database exists. Raises UnauthorizedError, ForbiddenError."""
        try:
            await self.send(Request("HEAD", self.path))
        except NotFoundError:
            return False
        return True

    async def create(self, params: Mapping[str, Any]) -> None:
        """Create the database. Raises PreconditionFailedError if it exists."""
        query = {name: value if isinstance(value, str) else encode(value).decode() for name, value in params.items()}
        await self.send(Request("PUT", self.path, query))

    # --- checkpoints

    async def read_checkpoint(self, id: str) -> dict[str, Any]:
        """Return the checkpoint of a replication, a local document; empty if there is none."""
        try:
            return cast(dict[str, Any], await self.json(Request("GET", (*self.path, "_local", id))))
        except NotFoundError:
            return {}

    async def write_checkpoint(self, id: str, log: Mapping[str, Any]) -> str:
        """Write the checkpoint of a replication, and return its revision. Raises ConflictError."""
        request = Request("PUT", (*self.path, "_local", id), body=encode(log))
        return str((await self.json(request))["rev"])

    # --- the source

    async def changes(self, query: Mapping[str, str], body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return one answer of ``_changes``."""
        path = (*self.path, "_changes")
        request = Request("GET", path, query) if body is None else Request("POST", path, query, body=encode(body))
        return cast(dict[str, Any], await self.json(request))

    async def design_document(self, name: str) -> dict[str, Any]:
        """Return a design document. Raises NotFoundError."""
        return cast(dict[str, Any], await self.json(Request("GET", (*self.path, "_design", name))))

    async def bulk_get(self, revisions: Sequence[Mapping[str, str]]) -> tuple[list[Any], int]:
        """Return the results of ``_bulk_get`` for revisions, with their histories, and the bytes of the answer."""
        # `latest`: a revision that was replaced since it was listed comes as its successor, so no request is in vain.
        query = {"revs": "true", "latest": "true", "att_encoding_info": "true"}
        body = encode({"docs": revisions})
        response = await self.send(Request("POST", (*self.path, "_bulk_get"), query, body=body))
        return response.json()["results"], len(response.body)

    async def open_revisions(self, id: str, revs: Sequence[str]) -> list[Any]:
        """Return the rows of ``open_revs`` for revisions of one document, for a server without ``_bulk_get``."""
        return await self._open_revs(id, revs, {"latest": "true", "att_encoding_info": "true"})

    async def revision_with_attachments(self, id: str, rev: str) -> dict[str, Any] | None:
        """Return a revision with its attachments in its JSON; None if it is gone."""
        rows = await self._open_revs(id, [rev], {"attachments": "true"})
        return next((row["ok"] for row in rows if "ok" in row), None)

    async def _open_revs(self, id: str, revs: Sequence[str], parameters: Mapping[str, str]) -> list[Any]:
        query = {**parameters, "revs": "true", "open_revs": encode(list(revs)).decode()}
        request = Request("GET", document_path(self.path, id), query, {"accept": JSON_TYPE})
        return cast(list[Any], await self.json(request))

    async def attachment(self, id: str, rev: str, name: str, *, plain: bool = False) -> AsyncIterator[bytes]:
        """Yield the content of an attachment as it is stored, maybe compressed; decompressed if ``plain``."""
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

    async def revs_diff(self, revs: Mapping[str, Sequence[str]]) -> RevsDiff:
        """Return the answer of ``_revs_diff``: the revisions that the database lacks, by document."""
        return cast(RevsDiff, await self.json(Request("POST", (*self.path, "_revs_diff"), body=encode(revs))))

    async def write_documents(self, documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Write revisions with the revision ids that they have, and return CouchDB's row for each refused one."""
        body = encode({"docs": documents, "new_edits": False})
        rows = await self.json(Request("POST", (*self.path, "_bulk_docs"), body=body))
        return [row for row in rows if "error" in row]

    async def write_document(self, id: str, body: Any, headers: Mapping[str, str] = EMPTY) -> None:
        """Write one revision with the revision id that it has. ``body`` is JSON, or multipart if ``headers`` say so."""
        await self.send(Request("PUT", document_path(self.path, id), {"new_edits": "false"}, headers, body))

    # --- errors

    async def refuses_all(self, error: ResponseError, *, reads: bool = False) -> bool:
        """Return True if an error for one document would be the answer to every other one, too, and ends a replication.

        ``reads`` says that the document was read, not written. CouchDB skips a document after 401, 403, 413 and 415
        only, and gets stuck at any other document that cannot be written. Here, if the status does not decide, an empty
        bulk request finds out whether the database works.
        """
        if error.status in _REFUSES_ALL or (reads and error.status == 403):
            return True
        # A question of the status first: the request for no documents is only for those that say neither.
        return error.status not in _REFUSES_ONE and not await self._is_working("_bulk_get" if reads else "_bulk_docs")

    async def _is_working(self, endpoint: str) -> bool:
        """Return True if the database answers a request to ``endpoint`` for no documents without an error."""
        body = encode({"docs": [], "new_edits": False} if endpoint == "_bulk_docs" else {"docs": []})
        try:
            await self.send(Request("POST", (*self.path, endpoint), body=body))
        except ResponseError:
            return False
        return True

    # --- retries

    async def _send_with_retries(self, request: Request) -> Response:
        """Send a request until it is answered, at most ``_ATTEMPTS`` times.

        A streamed body is sent once: only its maker can make it again.
        """

        async def send() -> Response:
            response = await self.transport.send(request)
            if response.status in BUSY_STATUSES:
                await response.collect()
            return response

        return await retry(
            send,
            attempts=_ATTEMPTS if request.body is None or isinstance(request.body, bytes) else 1,
            backoff=_BACKOFF,
            is_temporary_error=_is_lost_answer,
            is_temporary_result=lambda response: response.status in BUSY_STATUSES,
            before_wait=lambda outcome: _log.debug("%r is sent again: %s", request, outcome),
        )


def _is_lost_answer(error: BaseException) -> bool:
    # After a ConnectError or a RequestTimeoutError, the transport has waited long enough.
    return isinstance(error, TransportError) and not isinstance(error, ConnectError | RequestTimeoutError)
