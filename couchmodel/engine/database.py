"""A database of documents."""

from collections.abc import AsyncIterator, Generator, Mapping, Sequence
from typing import Any, Final, Protocol, cast

from couchmodel._wire.messages import NOTHING, Request, database_path, decode, encode
from couchmodel.engine.document import Document
from couchmodel.engine.session import Session
from couchmodel.engine.view import Rows
from couchmodel.errors import ConflictError, NotFoundError, QueryError
from couchmodel.types import ChangeRow, DatabaseInfo, IndexAnswer, JSONObject

__all__ = ["Database", "find_rows"]

_PAGE: Final = 10_000
"""How many rows a request of a paged read asks for. They are streamed, so this bounds no memory of ours."""


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

    async def get(self, id: str, default: Mapping[str, Any] | None = None, rev: str | None = None) -> Document:
        """The document. Raises NotFoundError where it is missing, unless there is a ``default`` to start one from."""
        document = Document(self, id, data=default)
        try:
            await document.fetch(discard_changes=True, rev=rev)
        except NotFoundError:
            if default is None:
                raise
        return document

    def __getitem__(self, id: str) -> "_Awaitable":
        """``await database[id]`` is ``await database.get(id)``."""
        return _Awaitable(self, id)

    async def create(self, id: str, exists_ok: bool = False, data: Mapping[str, Any] | None = None) -> Document:
        """A document to fill and save; nothing is stored yet.

        Raises ConflictError where there is one of that id, unless ``exists_ok``: then that one is returned.
        """
        document = Document(self, id, data=data)
        try:
            if exists_ok:
                await document.fetch(discard_changes=True)
                return document
            await self.session.send(Request("HEAD", document.path))
        except NotFoundError:
            return document
        raise ConflictError(f"there is a document {id!r} in {self.id!r} already", method="HEAD")

    async def akeys(self) -> AsyncIterator[str]:
        """The ids of all documents, in their order; design documents are left out."""
        rows = Rows(self.session, Request("GET", (*self.path, "_all_docs")))
        async for batch in rows.batches():
            for row in batch:
                document_id: str = decode(row)["id"]
                if not document_id.startswith("_design/"):
                    yield document_id

    async def docs(self, ids: Sequence[str] | None = None) -> AsyncIterator[Document]:
        """The documents of these ids, in this order; or all, in the order of their ids, without design documents.

        Raises NotFoundError at an id that is not there.
        """
        body = None if ids is None else encode({"keys": list(ids)})
        request = Request("POST" if body else "GET", (*self.path, "_all_docs"), {"include_docs": "true"}, body=body)
        async for batch in Rows(self.session, request).batches():
            for row in map(decode, batch):
                if not row.get("doc"):
                    raise NotFoundError("missing", method="GET", path=f"/{self.id}/{row['key']}")
                if ids is not None or not row["id"].startswith("_design/"):
                    yield self._document(row["doc"])

    async def find(self, selector: JSONObject, limit: int | None = None, **params: Any) -> AsyncIterator[Document]:
        """The documents that a Mango selector matches: all of them, or ``limit``.

        ``params`` are further members of ``_find``'s body, such as ``sort``, ``skip`` and ``use_index``. Raises
        BadRequestError for what CouchDB cannot answer, QueryError for ``fields``, which would make torn documents.
        """
        if "fields" in params:
            raise QueryError("a document cannot be made of some fields only: leave fields out")
        async for batch in find_rows(self.session, self.path, {"selector": selector, **params}, limit):
            for row in batch:
                yield self._document(decode(row))

    async def index(self, index: JSONObject, **params: Any) -> IndexAnswer:
        """Create a Mango index, such as ``{"fields": ["rating"]}``; ``params`` are ``name``, ``ddoc`` and ``type``."""
        body = encode({"index": index, **params})
        return cast(IndexAnswer, await self.session.json(Request("POST", (*self.path, "_index"), body=body)))

    async def changes(self, last_event_id: str | None = None, **params: Any) -> AsyncIterator[ChangeRow]:
        """The changes since a sequence, or since the beginning, until now."""
        query = {name: value if isinstance(value, str) else encode(value).decode() for name, value in params.items()}
        if last_event_id is not None:
            query["since"] = last_event_id
        async for batch in Rows(self.session, Request("GET", (*self.path, "_changes"), query or NOTHING)).batches():
            for row in batch:
                yield cast(ChangeRow, decode(row))

    def _document(self, data: JSONObject) -> Document:
        document = Document(self, data["_id"])
        document.load(encode(data))
        return document


class _Awaitable:
    """What ``database[id]`` is until it is awaited."""

    def __init__(self, database: Database, id: str) -> None:
        self._database = database
        self._id = id

    def __await__(self) -> Generator[Any, None, Document]:
        return self._database.get(self._id).__await__()


async def find_rows(
    session: Session, database: tuple[str, ...], body: JSONObject, limit: int | None
) -> AsyncIterator[list[bytes]]:
    """The documents that ``_find`` answers, as JSON texts, page after page: all of them, or ``limit``."""
    body = dict(body)
    while limit is None or limit > 0:
        body["limit"] = _PAGE if limit is None else min(limit, _PAGE)
        rows = Rows(session, Request("POST", (*database, "_find"), body=encode(body)))
        count = 0
        async for batch in rows.batches():
            count += len(batch)
            yield batch
        if count < body["limit"] or "bookmark" not in rows.members:
            return
        # CouchDB would skip again on every page.
        body["skip"], body["bookmark"] = 0, rows.members["bookmark"]
        limit = None if limit is None else limit - count
