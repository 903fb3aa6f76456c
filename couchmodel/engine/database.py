"""The client of one database."""

from collections.abc import AsyncGenerator, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Protocol, cast

from couchmodel._wire.messages import Request, database_path, encode, request_target
from couchmodel.engine._io.parameters import encode_params
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


class SessionOwner(Protocol):
    """The part of a server that a database uses."""

    @property
    def session(self) -> Session: ...


class Database:
    """A database of a server. Creating the object sends nothing, so the database need not exist."""

    def __init__(self, couchdb: SessionOwner, id: str) -> None:
        """Raises BadRequestError if no database may have the name ``id``."""
        self.id = id
        self.session = couchdb.session
        self.path = database_path(id)

    def __repr__(self) -> str:
        return f"<Database {self.id}>"

    def __getitem__(self, id: str) -> Coroutine[Any, Any, Document]:
        """Return the document by ``await database[id]``, as :meth:`get` does."""
        return self.get(id)

    @property
    def endpoint(self) -> str:
        """The path of the database, percent-encoded."""
        return request_target(self.path)

    @property
    def all_docs(self) -> AllDocsView:
        """The list of all documents by id (``_all_docs``), with the methods of a view."""
        return AllDocsView(self)

    async def exists(self) -> bool:
        """Return True if the database exists."""
        try:
            await self.session.send(Request("HEAD", self.path))
        except NotFoundError:
            return False
        return True

    async def info(self) -> DatabaseInfo:
        """Return the counts and sizes of the database. Raises NotFoundError."""
        return cast(DatabaseInfo, await self.session.get(self.path))

    async def delete(self) -> None:
        """Delete the database with all its documents. Raises NotFoundError."""
        await self.session.send(Request("DELETE", self.path))

    async def compact(self) -> None:
        """Start the compaction of the database, which removes the bodies of old revisions.

        The server goes on compacting after this returns: ``info()["compact_running"]`` is True until it has finished.
        Raises UnauthorizedError if the user is not an admin of the database.
        """
        # An empty object, as CouchDB insists on a JSON type.
        await self.session.send(Request("POST", (*self.path, "_compact"), body=b"{}"))

    async def security(self) -> SecurityDocument:
        """Load the security object of the database: its members and its admins."""
        document = SecurityDocument(self)
        await document.fetch()
        return document

    # Documents, one by one

    async def get(self, id: str, default: Mapping[str, Any] | None = None, rev: str | None = None) -> Document:
        """Load a document; ``rev`` selects a revision other than the winning one.

        Raises NotFoundError if the document is missing, unless a ``default`` is given: the result is then a new,
        unsaved document with the members of ``default``.
        """
        document = Document(self, id, data=default)
        try:
            await document.fetch(discard_changes=True, rev=rev)
        except NotFoundError:
            if default is None:
                raise
        return document

    async def create(self, id: str, exists_ok: bool = False, data: Mapping[str, Any] | None = None) -> Document:
        """Return a new document with the members of ``data``, to be saved later. Nothing is stored yet.

        Raises ConflictError if a document of this id exists, unless ``exists_ok``: it is loaded and returned then.
        """
        document = Document(self, id, data=data)
        await self._load_or_require_missing(document, exists_ok)
        return document

    async def design_doc(self, id: str, exists_ok: bool = False) -> DesignDocument:
        """Return a new design document to be saved later, under the rules of :meth:`create`."""
        document = DesignDocument(self, id)
        await self._load_or_require_missing(document, exists_ok)
        return document

    # Many documents

    def akeys(self, **params: Any) -> AsyncGenerator[str, None]:
        """Yield the ids of all documents, including design documents.

        ``params`` are those of :meth:`View.ids`: ``ids`` yields those of the given ids that exist, ``prefix`` those
        that begin with it.
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
        """Yield the documents of ``ids`` in the given order, or those whose ids begin with ``prefix``, or all by id.

        Design documents are left out unless their ids are given or ``include_ddocs`` is true. A missing document raises
        NotFoundError when its turn comes; with ``create``, a new document of that id is yielded instead.
        """
        return self.all_docs.docs(ids, create, prefix, include_ddocs, **params)

    def values(self, **params: Any) -> AsyncGenerator[Document, None]:
        """Yield documents as :meth:`docs` does; aiocouch has both names."""
        return self.all_docs.docs(**params)

    def update_docs(self, ids: Sequence[str] = (), create: bool = False, new_edits: bool = True) -> BulkUpdateOperation:
        """Return a context manager that loads these documents, and on exit stores those that have changed, together.

        For an id without a document, entering the context raises NotFoundError. With ``create`` it makes a new one.
        """
        return BulkUpdateOperation(self, ids, create, new_edits)

    def create_docs(self, ids: Sequence[str] = (), new_edits: bool = True) -> BulkCreateOperation:
        """Return a context manager that stores new documents together on exit."""
        return BulkCreateOperation(self, ids, new_edits)

    async def delete_docs(self, ids: Sequence[str]) -> list[BulkRow]:
        """Delete documents without loading them, and return CouchDB's row for each, in the order of ``ids``.

        A row has ``rev``, or ``error`` and ``reason`` if its document is missing or was changed meanwhile.
        """
        # By key, as a row of a missing document has no id.
        stored = {row["key"]: rev async for row in self.all_docs.rows(ids) if (rev := _live_rev(row))}
        bodies = [encode({"_id": id, "_rev": rev, "_deleted": True}) for id, rev in stored.items()]
        rows = {row["id"]: row for row in await write_documents(self.session, self.path, bodies)}
        return [rows.get(id) or _missing_row(id) for id in ids]

    # Queries

    def find(self, selector: JSONObject, limit: int | None = None, **params: Any) -> Find:
        """Return an iterator over the documents that a Mango selector matches: all of them, or at most ``limit``.

        ``params`` are further members of the body of ``_find``, such as ``sort``, ``skip`` and ``use_index``. Raises
        QueryError for ``fields``, which would make documents that lack members; the iterator raises BadRequestError if
        CouchDB cannot answer the query. :class:`Find` describes what CouchDB returns beside the documents.
        """
        return Find(self, self.path, selector, limit, params)

    async def explain(self, selector: JSONObject, **params: Any) -> JSONObject:
        """Return how CouchDB would answer :meth:`find`, and by which index."""
        return await explain(self.session, self.path, selector, params)

    async def index(self, index: JSONObject, **params: Any) -> IndexAnswer:
        """Create a Mango index, e.g. ``{"fields": ["rating"]}``; ``params`` are ``name``, ``ddoc`` and ``type``."""
        body = encode({"index": index, **params})
        return cast(IndexAnswer, await self.session.json(Request("POST", (*self.path, "_index"), body=body)))

    async def indexes(self) -> list[JSONObject]:
        """Return the Mango indexes: ``ddoc``, ``name``, ``type`` and ``def`` of each.

        The first one is CouchDB's own index of all documents.
        """
        return cast(list[JSONObject], (await self.session.get((*self.path, "_index")))["indexes"])

    async def delete_index(self, ddoc: str, name: str, type: str = "json") -> None:
        """Delete a Mango index; ``type`` may be ``text``. Raises NotFoundError."""
        path = (*self.path, "_index", "_design", ddoc.removeprefix("_design/"), type, name)
        await self.session.send(Request("DELETE", path))

    def view(self, design_doc: str, view: str) -> View:
        """Return a view of a design document, whose name may begin with ``_design/`` or not. Sends nothing."""
        return View(self, design_doc, view)

    def partition(self, name: str) -> Partition:
        """Return a partition of a database that was created with ``partitioned=True``. Sends nothing."""
        return Partition(self, name)

    def changes(self, last_event_id: str | int | None = None, **params: Any) -> Changes:
        """Return an asynchronous iterator over the changes since a sequence, or since the beginning.

        It gives the latest change of each document. ``last_event_id`` or ``since`` is a sequence, or ``now``.

        ``feed`` is one of:

        * ``normal``: the feed ends with the changes that exist now;
        * ``longpoll``: the feed waits for the first change if there is none;
        * ``continuous``: the feed goes on, over lost connections as well, until the caller leaves it (``eventsource``
          does the same here).

        These parameters select changes: ``doc_ids``, ``selector``, ``view``, or the name of a ``filter`` such as
        ``design/function``, which may take parameters of its own; ``limit``, ``descending``, ``style``. These say what
        a change has: ``include_docs``, ``conflicts``, ``attachments``, ``seq_interval``. These are times in
        milliseconds: ``timeout`` ends a feed after so long a wait for a change; ``heartbeat`` is how often the server
        sends a sign of life.

        Raises QueryError if the parameters cannot be sent. :class:`Changes` lists the errors of the iterator.
        """
        return Changes(self, last_event_id, **params)

    # Revisions, as replication reads and writes them

    async def bulk_get(self, docs: Iterable[JSONObject], **params: Any) -> list[JSONObject]:
        """Load revisions of many documents, each asked for as ``{"id": …, "rev": …}``, in which ``rev`` is optional.

        Return a dictionary of ``id`` and ``docs`` for each; an item of ``docs`` is ``{"ok": document}`` or
        ``{"error": …}``. ``params`` are ``revs``, ``attachments`` and ``latest``.
        """
        request = Request("POST", (*self.path, "_bulk_get"), encode_params(params), body=encode({"docs": list(docs)}))
        return cast(list[JSONObject], (await self.session.json(request))["results"])

    async def revs_diff(self, revs: Mapping[str, Sequence[str]]) -> dict[str, JSONObject]:
        """Return which of these revisions, by document id, this database lacks: ``{id: {"missing": […]}}``."""
        request = Request("POST", (*self.path, "_revs_diff"), body=encode(revs))
        return cast(dict[str, JSONObject], await self.session.json(request))

    async def purge(self, revs: Mapping[str, Sequence[str]]) -> JSONObject:
        """Remove these leaf revisions, by document id, without a trace. ``purged`` of the answer has those removed."""
        request = Request("POST", (*self.path, "_purge"), body=encode(revs))
        return cast(JSONObject, await self.session.json(request))

    async def _load_or_require_missing(self, document: Document, exists_ok: bool) -> None:
        """Load the document if ``exists_ok``, or raise ConflictError if it exists."""
        try:
            if exists_ok:
                await document.fetch(discard_changes=True)
                return
            # HEAD, because only the existence matters.
            await self.session.send(Request("HEAD", document.path))
        except NotFoundError:
            return
        raise ConflictError(f"a document {document.id!r} exists in {self.id!r} already", method="HEAD")


def _live_rev(row: ViewRow) -> str | None:
    value = row.get("value") or {}
    return None if value.get("deleted") else value.get("rev")


def _missing_row(id: str) -> BulkRow:
    return {"id": id, "error": "not_found", "reason": "missing"}
