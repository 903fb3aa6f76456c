"""Bulk writes: many documents in one request to ``_bulk_docs``."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

from couchmodel._wire.answers import describe_request
from couchmodel._wire.messages import Request, encode
from couchmodel.engine._io.batches import Pack, group_into_requests, next_pack_length, pack_texts
from couchmodel.engine._io.lost_answers import find_own_writes
from couchmodel.engine._io.session import Session
from couchmodel.engine.document import DatabaseAddress, Document
from couchmodel.engine.view import AllDocsView
from couchmodel.errors import (
    BadRequestError,
    ConfigurationError,
    ContentTooLargeError,
    CouchModelError,
    PreconditionFailedError,
    ProtocolError,
    ResponseError,
    response_error,
)
from couchmodel.types import BulkRow

__all__ = [
    "BulkCreateOperation",
    "BulkOperation",
    "BulkUpdateOperation",
    "row_error",
    "write_documents",
    "write_in_batches",
]

_TOO_LARGE: Final = ("too_large", "document_too_large", "attachment_too_large")
# The HTTP status that CouchDB gives each error when the document is written alone; a row has no status.
_STATUS: Final = {
    "conflict": 409,
    "forbidden": 403,
    "unauthorized": 401,
    "missing_stub": 412,
    **dict.fromkeys(_TOO_LARGE, 413),
    **dict.fromkeys(("bad_request", "doc_validation", "illegal_docid"), 400),
}


class BulkOperation:
    """A context manager that stores its documents together on exit. If an exception ends the block, it stores none.

    After that, ``response`` has CouchDB's row for each document that was sent, ``ok`` the documents that were stored,
    and ``error`` those that were refused: a conflict raises no exception here. They are None before. Documents without
    changes are not sent. With ``new_edits=False`` each document is stored as the revision that its ``_rev`` names.

    Documents that do not fit into one request are sent in several. If the server refuses a whole request because of one
    document, which is too large or has a stub of a missing attachment, that document is refused without the others. If
    a request fails, ``response``, ``ok`` and ``error`` have the results of the requests before it.
    """

    def __init__(self, database: DatabaseAddress, new_edits: bool = True) -> None:
        self.response: list[BulkRow] | None = None
        self.ok: list[Document] | None = None
        self.error: list[Document] | None = None
        self._database = database
        self._new_edits = new_edits
        self._docs: list[Document] = []
        self._known_ids: set[str] = set()
        self._deleted: set[str] = set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._docs)} documents in {'/'.join(self._database.path)}>"

    async def __aenter__(self) -> Self:
        if self.response is not None:  # a second entry begins anew
            self._clear()
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
        """The same as ``response``; aiocouch's older name."""
        return self.response

    def create(self, id: str, data: Mapping[str, Any] | None = None) -> Document:
        """Return a new document that is stored with the others.

        Raises ConfigurationError if the operation has a document of this id already.
        """
        if id in self._known_ids:
            raise _duplicate_error(id)
        document = Document(self._database, id, data)
        self._known_ids.add(id)
        self._docs.append(document)
        return document

    def append(self, doc: Document) -> Document:
        """Add a document to store with the others.

        Raises ConfigurationError if the operation has a document of this id already.
        """
        if doc.id in self._known_ids:
            raise _duplicate_error(doc.id)
        self._known_ids.add(doc.id)
        self._docs.append(doc)
        return doc

    def update(self, doc: Document) -> Document:
        """Add a document as :meth:`append` does; aiocouch's older name."""
        return self.append(doc)

    def delete(self, doc: Document) -> Document:
        """Delete a document on exit, whether or not it was added before. Its unsaved changes are dropped.

        Raises ConfigurationError if the document is not stored.
        """
        if doc.rev is None:
            raise ConfigurationError(f"{doc.id!r} is not stored, so it cannot be deleted")
        if doc.id not in self._known_ids:
            self.append(doc)
        self._deleted.add(doc.id)
        return doc

    def _clear(self) -> None:
        self._docs.clear()
        self._known_ids.clear()
        self._deleted.clear()

    async def _write(self) -> None:
        response: list[BulkRow] = []
        ok: list[Document] = []
        error: list[Document] = []
        # Set before the first request, so that after an error they have the rows that came.
        self.response, self.ok, self.error = response, ok, error
        documents, packs = await self._make_packs()
        position = 0
        async for pack, answered in _send_packs(self._database.session, self._database.path, packs, self._new_edits):
            part = documents[position : position + pack.count]
            position += pack.count
            rows = answered if self._new_edits else _fill_rows(part, answered)
            pack.note_rows(rows)
            response += rows
            refused = Document.note_bulk_rows(part, rows, pack, self._deleted)
            error += refused
            ok += [each for each, row in zip(part, rows, strict=True) if "error" not in row] if refused else part

    async def _make_packs(self) -> tuple[list[Document], list[Pack]]:
        """Return the documents that have changes, and their texts in packs.

        All are encoded before the first request, so a document without JSON raises before anything is stored.
        """
        sent: list[Document] = []
        packs: list[Pack] = []
        documents, start, pack = list(self._docs), 0, None
        while start < len(documents):
            part = documents[start : start + next_pack_length(pack)]
            start += len(part)
            part, pack = self._make_pack(part)
            sent += part
            if pack.count:
                packs.append(pack)
            await asyncio.sleep(0)  # encoding blocks the event loop, so other tasks get a turn after each pack
        return sent, packs

    def _make_pack(self, documents: list[Document]) -> tuple[list[Document], Pack]:
        members = Document.new_members(documents)
        # The common case, documents that are all new, is encoded as one text.
        if len(members) == len(documents) and not self._deleted:
            return documents, Pack(encode(members), len(members))
        changes = [(document, self._changed_body(document)) for document in documents]
        sent = [(document, body) for document, body in changes if body is not None]
        texts = [body for _, body in sent]
        return [document for document, _ in sent], Pack(b"[%b]" % b",".join(texts), len(texts), texts)

    def _changed_body(self, document: Document) -> bytes | None:
        if document.id in self._deleted:
            # A tombstone without the members, so unsaved changes are not stored in it.
            return encode({"_id": document.id, "_rev": document.rev, "_deleted": True})
        return document.body_to_send()


class BulkCreateOperation(BulkOperation):
    """A bulk operation for new documents. One that is stored already is refused as a conflict."""

    def __init__(self, database: DatabaseAddress, ids: Sequence[str] = (), new_edits: bool = True) -> None:
        """``ids`` are the ids of empty documents that the operation has from the beginning."""
        super().__init__(database, new_edits)
        self._ids = ids

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        for id in self._ids:
            self.create(id)
        return self


class BulkUpdateOperation(BulkOperation):
    """A bulk operation for stored documents, which are loaded on entry.

    For an id without a document, entry raises NotFoundError. With ``create`` it makes a new document.
    """

    def __init__(
        self, database: DatabaseAddress, ids: Sequence[str] = (), create: bool = False, new_edits: bool = True
    ) -> None:
        super().__init__(database, new_edits)
        self._ids = ids
        self._create = create

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        async for document in AllDocsView(self._database).docs(self._ids, create=self._create):
            self.append(document)
        return self


async def write_documents(session: Session, database: tuple[str, ...], bodies: Sequence[bytes]) -> list[BulkRow]:
    """Store documents, given as JSON texts with ``_id`` and ``_rev``, and return CouchDB's row for each, in order."""
    return [row async for rows in write_in_batches(session, database, bodies) for row in rows]


async def write_in_batches(
    session: Session, database: tuple[str, ...], bodies: Sequence[bytes]
) -> AsyncIterator[list[BulkRow]]:
    """Store documents as :func:`write_documents` does, and yield the rows of each pack as its request is answered.

    So if a request fails, the caller has the rows of those before it.
    """
    async for _, rows in _send_packs(session, database, pack_texts(bodies)):
        yield rows


def row_error(row: BulkRow, path: str) -> CouchModelError:
    """Return the error for a row without ``rev``."""
    code = row.get("error", "unknown_error")
    return response_error(_STATUS.get(code, 500), code, row.get("reason", ""), method="POST", path=path)


def _duplicate_error(id: str) -> ConfigurationError:
    return ConfigurationError(f"{id!r} is among the documents of this bulk operation already")


async def _send_packs(
    session: Session, database: tuple[str, ...], packs: Iterable[Pack], new_edits: bool = True
) -> AsyncIterator[tuple[Pack, list[BulkRow]]]:
    """Send packs, and yield each with its rows when its request is answered.

    Without ``new_edits`` CouchDB has rows only for documents that it refused, so a pack comes with all rows of its
    request. Raises ProtocolError if the number of rows is not that of the documents.
    """
    # A stack, so that the halves of a request come next, in their order. A request is marked if CouchDB may have stored
    # some of its documents before.
    waiting = [(held, False) for held in group_into_requests(packs)][::-1]
    while waiting:
        held, may_be_stored = waiting.pop()
        count = sum(pack.count for pack in held)
        request = Request("POST", (*database, "_bulk_docs"), body=_request_body(held, new_edits))
        try:
            rows: list[BulkRow] = await session.json(request)
        except ResponseError as error:
            if not _may_concern_one_document(error, held):
                raise
            if count > 1:
                may_be_stored = may_be_stored or not isinstance(error, _STORING_NOTHING)
                waiting += [(half, may_be_stored) for half in _halve(held)][::-1]
                continue
            for pack in held:  # one pack has the document; the others are empty
                yield pack, [_refused_row(pack, error)] * pack.count
        else:
            if new_edits and len(rows) != count:
                raise ProtocolError(
                    f"{count} documents were sent, and {len(rows)} rows came ({describe_request(request)})"
                )
            if may_be_stored and new_edits:
                rows = await _recognize_stored(session, database, held, rows)
            answered = iter(rows)
            for pack in held:
                yield pack, list(itertools.islice(answered, pack.count)) if new_edits else rows


_STORING_NOTHING: Final = (ContentTooLargeError, BadRequestError)
"""Errors of a request of which nothing is stored.

After other errors, some shards may have stored their documents, and others not.
"""


def _may_concern_one_document(error: ResponseError, packs: Iterable[Pack]) -> bool:
    """Return True if a request may have been refused because of one of its documents.

    It is too large for this server, or a proxy before it, which has a lower limit than CouchDB's default; its revision
    is malformed (400); or a stub stands for an attachment that is not stored (412, or 500 after a deletion).
    """
    if isinstance(error, (*_STORING_NOTHING, PreconditionFailedError)):
        return True
    return error.status == 500 and any(b'"_attachments"' in pack.array for pack in packs)


def _refused_row(pack: Pack, error: ResponseError) -> BulkRow:
    """Return the row for a document that no request can have."""
    return {"id": pack.id, "error": error.code, "reason": error.reason}


async def _recognize_stored(
    session: Session, database: tuple[str, ...], packs: Iterable[Pack], rows: list[BulkRow]
) -> list[BulkRow]:
    """Return the rows of documents that were sent again, without the conflicts of those that were stored before."""
    refused = [n for n, row in enumerate(rows) if row.get("error") == "conflict"]
    if not refused:
        return rows
    sent = list(itertools.chain.from_iterable(pack.texts() for pack in packs))
    found = await find_own_writes(session, database, [sent[n] for n in refused])
    stored = {n: rev for n, rev in zip(refused, found, strict=True) if rev is not None}
    return [{"ok": True, "id": row["id"], "rev": stored[n]} if n in stored else row for n, row in enumerate(rows)]


def _request_body(packs: Iterable[Pack], new_edits: bool) -> bytes:
    parts: list[bytes | memoryview] = [b'{"docs":[' if new_edits else b'{"new_edits":false,"docs":[']
    for pack in packs:
        parts += memoryview(pack.array)[1:-1], b","  # without its brackets, and without a copy
    return b"".join((*parts[:-1], b"]}"))


def _halve(packs: list[Pack]) -> list[list[Pack]]:
    if len(packs) == 1:
        return [[half] for half in packs[0].halves()]
    return [packs[: len(packs) // 2], packs[len(packs) // 2 :]]


def _fill_rows(documents: Iterable[Document], rows: Iterable[BulkRow]) -> list[BulkRow]:
    """Return a row for each document of a write with ``new_edits=False``, in order.

    CouchDB has rows only for the documents that it refused.
    """
    refused = {row["id"]: row for row in rows}
    return [refused.get(each.id) or {"ok": True, "id": each.id, "rev": each["_rev"]} for each in documents]
