"""A database of documents."""

from collections.abc import AsyncGenerator, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Protocol, cast

from couchmodel._wire.messages import Request, database_path, encode, target
from couchmodel.engine._io.parameters import exact
from couchmodel.engine._io.session import Session
from couchmodel.engine.bulk import BulkCreateOperation, BulkUpdateOperation, write_documents
from couchmodel.engine.changes import Changes
from couchmodel.engine.design import DesignDocument
from couchmodel.engine.document import Document
from couchmodel.engine.find import Find, explain, find_rows
from couchmodel.engine.partition import Partition
from couchmodel.engine.security import SecurityDocument
from couchmodel.engine.view import AllDocsView, View
from couchmodel.errors import ConflictError, NotFoundError
from couchmodel.types import BulkRow, DatabaseInfo, IndexAnswer, JSONObject, ViewRow

__all__ = ["Database", "find_rows"]


class Server(Protocol):
    """What a database needs of its server."""

    @property
    def session(self) -> Session: ...


class Database:
    """A database by name. Making one sends nothing, so it need not exist."""

    def __init__(self, couchdb: Server, id: str) -> None:
        """Raises BadRequestError for a name that no database may have."""
        self.id = id
        self.session = couchdb.session
        self.path = database_path(id)

    def __repr__(self) -> str:
        return f"<Database {self.id}>"

    def __getitem__(self, id: str) -> Coroutine[Any, Any, Document]:
        """``await database[id]`` is ``await database.get(id)``."""
        return self.get(id)

    @property
    def endpoint(self) -> str:
        """Its address, quoted."""
        return target(self.path)

    @property
    def all_docs(self) -> AllDocsView:
        """Its documents by id, to be asked as a view."""
        return AllDocsView(self)

    async def exists(self) -> bool:
        """Whether the server has it."""
        try:
            await self.session.send(Request("HEAD", self.path))
        except NotFoundError:
            return False
        return True

    async def info(self) -> DatabaseInfo:
        """Its counts and sizes. Raises NotFoundError."""
        return cast(DatabaseInfo, await self.session.get(self.path))

    async def delete(self) -> None:
        """Delete it with all its documents. Raises NotFoundError."""
        await self.session.send(Request("DELETE", self.path))

    async def compact(self) -> None:
        """Have the server give up the bodies of old revisions, which it does after this returns.

        ``info()["compact_running"]`` tells whether it still does. Raises UnauthorizedError for whoever is no admin of
        the database.
        """
        await self.session.send(Request("POST", (*self.path, "_compact"), body=b"{}"))

    async def security(self) -> SecurityDocument:
        """Who may read and who may administer it."""
        document = SecurityDocument(self)
        await document.fetch()
        return document

    # Documents, one by one

    async def get(self, id: str, default: Mapping[str, Any] | None = None, rev: str | None = None) -> Document:
        """The document. Raises NotFoundError where it is missing, unless there is a ``default`` to start one from."""
        document = Document(self, id, data=default)
        try:
            await document.fetch(discard_changes=True, rev=rev)
        except NotFoundError:
            if default is None:
                raise
        return document

    async def create(self, id: str, exists_ok: bool = False, data: Mapping[str, Any] | None = None) -> Document:
        """A document to fill and save; nothing is stored yet.

        Raises ConflictError where there is one of that id, unless ``exists_ok``: then that one is returned.
        """
        document = Document(self, id, data=data)
        await self._claim(document, exists_ok)
        return document

    async def design_doc(self, id: str, exists_ok: bool = False) -> DesignDocument:
        """A design document to fill and save, as :meth:`create` has documents."""
        document = DesignDocument(self, id)
        await self._claim(document, exists_ok)
        return document

    # Many documents

    def akeys(self, **params: Any) -> AsyncGenerator[str, None]:
        """The ids of all documents, design documents among them; those of ``ids`` that are there; or with a ``prefix``.

        ``params`` are those of :meth:`View.ids`.
        """
        return self.all_docs.ids(**params)

    def docs(
        self,
        ids: Sequence[str] | None = None,
        create: bool = False,
        prefix: str | None = None,
        include_ddocs: bool = False,
        **params: Any,
    ) -> AsyncGenerator[Document, None]:
        """The documents of these ids, in this order; or those whose ids begin with ``prefix``; or all, by their ids.

        Design documents are left out unless they are named or ``include_ddocs``. Raises NotFoundError at an id that is
        not there, unless ``create``: that is a new document then.
        """
        return self.all_docs.docs(ids, create, prefix, include_ddocs, **params)

    def values(self, **params: Any) -> AsyncGenerator[Document, None]:
        """:meth:`docs` by its other name."""
        return self.all_docs.docs(**params)

    def update_docs(self, ids: Sequence[str] = (), create: bool = False, new_edits: bool = True) -> BulkUpdateOperation:
        """A context that loads these documents, and stores at its end those that have changed, together."""
        return BulkUpdateOperation(self, ids, create, new_edits)

    def create_docs(self, ids: Sequence[str] = (), new_edits: bool = True) -> BulkCreateOperation:
        """A context that stores new documents together at its end."""
        return BulkCreateOperation(self, ids, new_edits)

    async def delete_docs(self, ids: Sequence[str]) -> list[BulkRow]:
        """Delete documents without loading them; CouchDB's row for each, in their order.

        A row has ``rev``, or ``error`` and ``reason`` where its document is missing or was changed meanwhile.
        """
        stored = {row["key"]: rev async for row in self.all_docs.rows(ids) if (rev := _revision(row))}
        bodies = [encode({"_id": id, "_rev": rev, "_deleted": True}) for id, rev in stored.items()]
        rows = {row["id"]: row for row in await write_documents(self.session, self.path, bodies)}
        return [rows.get(id) or _missing(id) for id in ids]

    # Queries

    def find(self, selector: JSONObject, limit: int | None = None, **params: Any) -> Find:
        """The documents that a Mango selector matches: all of them, or ``limit``.

        ``params`` are further members of ``_find``'s body, such as ``sort``, ``skip`` and ``use_index``. Raises
        BadRequestError for what CouchDB cannot answer, QueryError for ``fields``, which would make torn documents.
        What CouchDB says beside the documents is said in :class:`Find`.
        """
        return Find(self, self.path, selector, limit, params)

    async def explain(self, selector: JSONObject, **params: Any) -> JSONObject:
        """How :meth:`find` would be answered, and by which index."""
        return await explain(self.session, self.path, selector, params)

    async def index(self, index: JSONObject, **params: Any) -> IndexAnswer:
        """Create a Mango index, such as ``{"fields": ["rating"]}``; ``params`` are ``name``, ``ddoc`` and ``type``."""
        body = encode({"index": index, **params})
        return cast(IndexAnswer, await self.session.json(Request("POST", (*self.path, "_index"), body=body)))

    async def indexes(self) -> list[JSONObject]:
        """The Mango indexes, CouchDB's own of all documents first: ``ddoc``, ``name``, ``type`` and ``def`` of each."""
        return cast(list[JSONObject], (await self.session.get((*self.path, "_index")))["indexes"])

    async def delete_index(self, ddoc: str, name: str, type: str = "json") -> None:
        """Delete a Mango index; ``type`` may be ``text``. Raises NotFoundError."""
        path = (*self.path, "_index", "_design", ddoc.removeprefix("_design/"), type, name)
        await self.session.send(Request("DELETE", path))

    def view(self, design_doc: str, view: str) -> View:
        """A view of the design document, which is named with or without ``_design/``; nothing is sent."""
        return View(self, design_doc, view)

    def partition(self, name: str) -> Partition:
        """A partition of a database that was created with ``partitioned=True``; nothing is sent."""
        return Partition(self, name)

    def changes(self, last_event_id: str | int | None = None, **params: Any) -> Changes:
        """The changes since a sequence, or since the beginning, each once a document; an asynchronous iterator.

        ``feed`` is ``normal``, which ends with what there is now; ``longpoll``, which waits for the first change if
        there is none; or ``continuous``, which goes on, over lost connections as well, until it is left
        (``eventsource`` is the same thing). ``last_event_id`` or ``since`` is a sequence, or ``now``.

        Which changes: ``doc_ids``, a ``selector``, a ``view``, or a ``filter`` by name such as ``design/function``,
        whose own parameters are further ones; ``limit``, ``descending``, ``style``. What of them: ``include_docs``,
        ``conflicts``, ``attachments``, ``seq_interval``. How long, in milliseconds: ``timeout`` ends a feed that has
        waited as long for a change; ``heartbeat`` is how often the server shows that it is there.

        Raises QueryError for what cannot be asked; what the iterator raises is said in :class:`Changes`.
        """
        return Changes(self, last_event_id, **params)

    # Revisions, as replication reads and writes them

    async def bulk_get(self, docs: Iterable[JSONObject], **params: Any) -> list[JSONObject]:
        """Documents by ``{"id": …, "rev": …}``, with or without ``rev``: for each ``id`` and ``docs``.

        Each of ``docs`` is ``{"ok": document}`` or ``{"error": …}``. ``params`` are ``revs``, ``attachments`` and
        ``latest``.
        """
        request = Request("POST", (*self.path, "_bulk_get"), exact(params), body=encode({"docs": list(docs)}))
        return cast(list[JSONObject], (await self.session.json(request))["results"])

    async def revs_diff(self, revs: Mapping[str, Sequence[str]]) -> dict[str, JSONObject]:
        """Of these revisions by document id, those that are missing here: ``{id: {"missing": […]}}``."""
        request = Request("POST", (*self.path, "_revs_diff"), body=encode(revs))
        return cast(dict[str, JSONObject], await self.session.json(request))

    async def purge(self, revs: Mapping[str, Sequence[str]]) -> JSONObject:
        """Forget these leaf revisions by document id, as if they had never been; ``purged`` has what was forgotten."""
        request = Request("POST", (*self.path, "_purge"), body=encode(revs))
        return cast(JSONObject, await self.session.json(request))

    async def _claim(self, document: Document, exists_ok: bool) -> None:
        try:
            if exists_ok:
                await document.fetch(discard_changes=True)
                return
            await self.session.send(Request("HEAD", document.path))
        except NotFoundError:
            return
        raise ConflictError(f"there is a document {document.id!r} in {self.id!r} already", method="HEAD")


def _revision(row: ViewRow) -> str | None:
    value = row.get("value") or {}
    return None if value.get("deleted") else value.get("rev")


def _missing(id: str) -> BulkRow:
    return {"id": id, "error": "not_found", "reason": "missing"}
