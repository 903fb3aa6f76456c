"""Many documents in one request: ``_bulk_docs``."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from couchmodel._wire.messages import Request, encode
from couchmodel.engine.document import Document, Place
from couchmodel.engine.session import Session
from couchmodel.engine.view import AllDocsView
from couchmodel.errors import ConfigurationError, ContentTooLargeError, CouchModelError, response_error
from couchmodel.types import BulkRow

__all__ = ["BulkCreateOperation", "BulkOperation", "BulkUpdateOperation", "refusal", "write_documents", "written"]

_DOCUMENTS: Final = 10_000
_BYTES: Final = 8 * 1024 * 1024
"""How much one request holds at the most. CouchDB takes 8 MB a document and 4 GiB a request unless told otherwise;
these keep the server's memory and ours within bounds. Smaller ones cost: of 1,000 documents, an eighth more time."""

_STATUS: Final = {"conflict": 409, "forbidden": 403, "unauthorized": 401}


class BulkOperation:
    """Documents that are stored together when its context is left; none, if an exception ends it.

    Then ``response`` has CouchDB's row for each document that was sent, ``ok`` the documents that were stored and
    ``error`` those that were refused, a conflict being no exception here. They are None before. Documents without
    changes are not sent. With ``new_edits=False`` each is stored as the revision that its ``_rev`` names.

    More than one request holds is sent in several. Where one of them fails, ``response``, ``ok`` and ``error`` tell of
    those before it.
    """

    def __init__(self, database: Place, new_edits: bool = True) -> None:
        self.response: list[BulkRow] | None = None
        self.ok: list[Document] | None = None
        self.error: list[Document] | None = None
        self._database = database
        self._new_edits = new_edits
        self._docs: list[Document] = []
        self._known: set[str] = set()
        self._deleted: set[str] = set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._docs)} documents in {'/'.join(self._database.path)}>"

    async def __aenter__(self) -> Self:
        if self.response is not None:  # entered again
            self._forget()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self._write()

    def __iter__(self) -> Iterator[Document]:
        return iter(self._docs)

    async def __aiter__(self) -> AsyncIterator[Document]:
        for document in self._docs:
            yield document

    @property
    def status(self) -> list[BulkRow] | None:
        """``response`` by its older name."""
        return self.response

    def create(self, id: str, data: Mapping[str, Any] | None = None) -> Document:
        """A new document, to be stored with the others. Raises ConfigurationError for an id that is among them."""
        return self.append(Document(self._database, id, data))

    def append(self, doc: Document) -> Document:
        """Store this document with the others. Raises ConfigurationError for an id that is among them."""
        if doc.id in self._known:
            raise ConfigurationError(f"{doc.id!r} is among the documents of this bulk operation already")
        self._known.add(doc.id)
        self._docs.append(doc)
        return doc

    def update(self, doc: Document) -> Document:
        """:meth:`append` by its older name."""
        return self.append(doc)

    def delete(self, doc: Document) -> Document:
        """Delete this document with the rest; it may be among them already. Its unsaved changes are dropped."""
        if doc.rev is None:
            raise ConfigurationError(f"{doc.id!r} is not stored, so it cannot be deleted")
        if doc.id not in self._known:
            self.append(doc)
        self._deleted.add(doc.id)
        return doc

    def _forget(self) -> None:
        self._docs.clear()
        self._known.clear()
        self._deleted.clear()

    async def _write(self) -> None:
        response: list[BulkRow] = []
        ok: list[Document] = []
        error: list[Document] = []
        self.response, self.ok, self.error = response, ok, error
        changes = [(document, body) for document in self._docs if (body := self._change(document)) is not None]
        bodies = [body for _, body in changes]
        async for part, rows in _requests(self._database.session, self._database.path, bodies, self._new_edits):
            for (document, body), row in zip(changes[part], self._aligned(changes[part], rows), strict=True):
                response.append(row)
                (error if "error" in row else ok).append(document)
                self._settle(document, body, row)

    def _aligned(self, changes: Sequence[tuple[Document, bytes]], rows: list[BulkRow]) -> list[BulkRow]:
        # For revisions that are given, CouchDB has rows only for what it refuses.
        if self._new_edits:
            return rows
        refused = {row["id"]: row for row in rows}
        return [refused.get(each.id) or {"ok": True, "id": each.id, "rev": each["_rev"]} for each, _ in changes]

    def _change(self, document: Document) -> bytes | None:
        if document.id in self._deleted:
            return encode({"_id": document.id, "_rev": document.rev, "_deleted": True})
        return document.change()

    def _settle(self, document: Document, body: bytes, row: BulkRow) -> None:
        if "error" in row:
            return
        if document.id in self._deleted:
            document.clear_stored()
        elif "rev" in row:
            document.stored(body, row["rev"])


class BulkCreateOperation(BulkOperation):
    """Documents that are new; one that is stored already is refused as a conflict."""

    def __init__(self, database: Place, ids: Sequence[str] = (), new_edits: bool = True) -> None:
        """``ids`` are the ids of empty documents to begin with."""
        super().__init__(database, new_edits)
        self._ids = ids

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        for id in self._ids:
            self.create(id)
        return self


class BulkUpdateOperation(BulkOperation):
    """Documents that are there: they are loaded when its context is entered.

    Entering raises NotFoundError where one is missing, unless ``create``: that is a new document then.
    """

    def __init__(self, database: Place, ids: Sequence[str] = (), create: bool = False, new_edits: bool = True) -> None:
        super().__init__(database, new_edits)
        self._ids = ids
        self._create = create

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        async for document in AllDocsView(self._database).docs(self._ids, create=self._create):
            self.append(document)
        return self


async def write_documents(session: Session, database: tuple[str, ...], bodies: Sequence[bytes]) -> list[BulkRow]:
    """CouchDB's row for each document, given as JSON texts with their ``_id`` and ``_rev``, in their order."""
    return [row async for rows in written(session, database, bodies) for row in rows]


async def written(session: Session, database: tuple[str, ...], bodies: Sequence[bytes]) -> AsyncIterator[list[BulkRow]]:
    """The same rows, request after request: what was stored before a request that fails is known then."""
    async for _, rows in _requests(session, database, bodies):
        yield rows


def refusal(row: BulkRow, path: str) -> CouchModelError:
    """The error that a row of the answer stands for, which has no ``rev``."""
    code = row.get("error", "unknown_error")
    return response_error(_STATUS.get(code, 500), code, row.get("reason", ""), method="POST", path=path)


async def _requests(
    session: Session, database: tuple[str, ...], bodies: Sequence[bytes], new_edits: bool = True
) -> AsyncIterator[tuple[slice, list[BulkRow]]]:
    """Which of the documents a request held, and the rows of its answer, request after request."""
    parts = list(_parts(bodies))[::-1]
    while parts:
        part = parts.pop()
        body = b'{%b"docs":[%b]}' % (b"" if new_edits else b'"new_edits":false,', b",".join(bodies[part]))
        try:
            rows: list[BulkRow] = await session.json(Request("POST", (*database, "_bulk_docs"), body=body))
        except ContentTooLargeError:
            if part.stop - part.start == 1:
                raise
            # This server, or a proxy before it, takes less than is usual.
            middle = (part.start + part.stop) // 2
            parts += [slice(middle, part.stop), slice(part.start, middle)]
        else:
            yield part, rows


def _parts(bodies: Iterable[bytes]) -> Iterator[slice]:
    start = stop = size = 0
    for body in bodies:
        if stop > start and (stop - start == _DOCUMENTS or size + len(body) > _BYTES):
            yield slice(start, stop)
            start, size = stop, 0
        stop += 1
        size += len(body)
    if stop > start:
        yield slice(start, stop)
