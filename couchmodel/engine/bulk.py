"""Many documents in one request: ``_bulk_docs``."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from couchmodel._wire.messages import Request, encode
from couchmodel._wire.refusals import asked
from couchmodel.engine._io.batches import Pack, next_count, pack_texts, requests_of
from couchmodel.engine._io.session import Session
from couchmodel.engine.document import Document, Place
from couchmodel.engine.view import AllDocsView
from couchmodel.errors import ConfigurationError, ContentTooLargeError, CouchModelError, ProtocolError, response_error
from couchmodel.types import BulkRow

__all__ = ["BulkCreateOperation", "BulkOperation", "BulkUpdateOperation", "refusal", "write_documents", "written"]

_TOO_LARGE: Final = ("too_large", "document_too_large", "attachment_too_large")
_STATUS: Final = {"conflict": 409, "forbidden": 403, "unauthorized": 401, **dict.fromkeys(_TOO_LARGE, 413)}


class BulkOperation:
    """Documents that are stored together when its context is left; none, if an exception ends it.

    Then ``response`` has CouchDB's row for each document that was sent, ``ok`` the documents that were stored and
    ``error`` those that were refused, a conflict being no exception here. They are None before. Documents without
    changes are not sent. With ``new_edits=False`` each is stored as the revision that its ``_rev`` names.

    More than one request holds is sent in several. A document that is too large for the server is refused alone. Where
    a request fails, ``response``, ``ok`` and ``error`` tell of those before it.
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
        for document in self:
            yield document

    @property
    def status(self) -> list[BulkRow] | None:
        """``response`` by its older name."""
        return self.response

    def create(self, id: str, data: Mapping[str, Any] | None = None) -> Document:
        """A new document, to be stored with the others. Raises ConfigurationError for an id that is among them."""
        if id in self._known:
            raise _twice(id)
        document = Document(self._database, id, data)
        self._known.add(id)
        self._docs.append(document)
        return document

    def append(self, doc: Document) -> Document:
        """Store this document with the others. Raises ConfigurationError for an id that is among them."""
        if doc.id in self._known:
            raise _twice(doc.id)
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
        documents, packs = await self._packs()
        position = 0
        async for pack, told in _requests(self._database.session, self._database.path, packs, self._new_edits):
            part = documents[position : position + pack.count]
            position += pack.count
            rows = told if self._new_edits else _complete(part, told)
            pack.told(rows)
            response += rows
            refused = Document.stored_together(part, rows, pack, self._deleted)
            error += refused
            ok += [each for each, row in zip(part, rows, strict=True) if "error" not in row] if refused else part

    async def _packs(self) -> tuple[list[Document], list[Pack]]:
        """The documents that have something to send, and what: all of it, before anything is sent."""
        sent: list[Document] = []
        packs: list[Pack] = []
        documents, start, pack = list(self._docs), 0, None
        while start < len(documents):
            part = documents[start : start + next_count(pack)]
            start += len(part)
            part, pack = self._pack(part)
            sent += part
            if pack.count:
                packs.append(pack)
            await asyncio.sleep(0)
        return sent, packs

    def _pack(self, documents: list[Document]) -> tuple[list[Document], Pack]:
        members = Document.unsent(documents)
        if len(members) == len(documents) and not self._deleted:
            return documents, Pack(encode(members), len(members))
        changes = [(document, self._change(document)) for document in documents]
        sent = [(document, body) for document, body in changes if body is not None]
        texts = [body for _, body in sent]
        return [document for document, _ in sent], Pack(b"[%b]" % b",".join(texts), len(texts), texts)

    def _change(self, document: Document) -> bytes | None:
        if document.id in self._deleted:
            return encode({"_id": document.id, "_rev": document.rev, "_deleted": True})
        return document.change()


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
    async for _, rows in _requests(session, database, pack_texts(bodies)):
        yield rows


def refusal(row: BulkRow, path: str) -> CouchModelError:
    """The error that a row of the answer stands for, which has no ``rev``."""
    code = row.get("error", "unknown_error")
    return response_error(_STATUS.get(code, 500), code, row.get("reason", ""), method="POST", path=path)


def _twice(id: str) -> ConfigurationError:
    return ConfigurationError(f"{id!r} is among the documents of this bulk operation already")


async def _requests(
    session: Session, database: tuple[str, ...], packs: Iterable[Pack], new_edits: bool = True
) -> AsyncIterator[tuple[Pack, list[BulkRow]]]:
    """Each pack as it was stored, with its rows; without ``new_edits``, with all rows of its request."""
    waiting = list(requests_of(packs))[::-1]
    while waiting:
        held = waiting.pop()
        count = sum(pack.count for pack in held)
        request = Request("POST", (*database, "_bulk_docs"), body=_body(held, new_edits))
        try:
            rows: list[BulkRow] = await session.json(request)
        except ContentTooLargeError as error:
            # This server, or a proxy before it, takes less than is usual.
            if count > 1:
                waiting += _halved(held)[::-1]
                continue
            for pack in held:  # of which one has the document, and others may have none
                yield pack, [_too_large(pack, error)] * pack.count
        else:
            if new_edits and len(rows) != count:
                raise ProtocolError(f"{count} documents were sent, and {len(rows)} rows came ({asked(request)})")
            told = iter(rows)
            for pack in held:
                yield pack, list(itertools.islice(told, pack.count)) if new_edits else rows


def _too_large(pack: Pack, error: ContentTooLargeError) -> BulkRow:
    """The row of a document that no request can hold."""
    return {"id": pack.id, "error": error.code or "too_large", "reason": error.reason}


def _body(packs: Iterable[Pack], new_edits: bool) -> bytes:
    parts: list[bytes | memoryview] = [b'{"docs":[' if new_edits else b'{"new_edits":false,"docs":[']
    for pack in packs:
        parts += memoryview(pack.array)[1:-1], b","
    return b"".join((*parts[:-1], b"]}"))


def _halved(packs: list[Pack]) -> list[list[Pack]]:
    if len(packs) == 1:
        return [[half] for half in packs[0].halves()]
    return [packs[: len(packs) // 2], packs[len(packs) // 2 :]]


def _complete(documents: Iterable[Document], rows: Iterable[BulkRow]) -> list[BulkRow]:
    """A row for each document, where they came with their revisions: CouchDB has rows only for what it refuses."""
    refused = {row["id"]: row for row in rows}
    return [refused.get(each.id) or {"ok": True, "id": each.id, "rev": each["_rev"]} for each in documents]
