"""Views, and ``_all_docs`` as one of them: rows, keys, documents and pages."""

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Final

from couchmodel._wire.equality import same
from couchmodel._wire.messages import Request, decode, document_path, encode, target
from couchmodel.engine._io.parameters import exact, lenient
from couchmodel.engine._io.rows import Rows
from couchmodel.engine._io.session import Session
from couchmodel.engine.document import Document, Place
from couchmodel.errors import NotFoundError, QueryError
from couchmodel.types import JSONObject, ViewRow

__all__ = ["AllDocsView", "Page", "Rows", "View", "ViewResponse"]

_DESIGN: Final = "_design/"
_LAST: Final[JSONObject] = {"\uffff": {}}
"""What comes after every key in use: objects are the last of all, by the order of their first names."""


_GIVEN: Final = "given"
"""In :attr:`Page.next`, how many rows of its key and document are given already: a document may emit a key again."""


class KeyParameterError(QueryError, AttributeError):
    """``key`` or ``keys`` where ``ids`` says it; aiocouch's users catch an AttributeError."""


@dataclass(frozen=True)
class ViewResponse:
    """The whole answer of a view; ``total_rows`` and ``offset`` are None where CouchDB tells none, as in a reduce."""

    _database: Place = field(repr=False)
    rows: list[ViewRow]
    offset: int | None = None
    total_rows: int | None = None
    update_seq: Any = None

    def keys(self) -> Iterator[Any]:
        """The id of each row; its key where it stands for several documents."""
        return map(_name, _found(self.rows))

    def values(self) -> Iterator[Any]:
        """The value of each row."""
        return (row.get("value") for row in _found(self.rows))

    def items(self) -> Iterator[tuple[Any, Any]]:
        """The key and the value of each row."""
        return ((row["key"], row.get("value")) for row in _found(self.rows))

    def docs(self, create: bool = False, include_ddocs: bool = False) -> Iterator[Document]:
        """The document of each row, of an answer to ``include_docs=True``.

        One that is not there is an error, NotFoundError, or a new document, as ``create`` says.
        """
        for row in self.rows:
            if include_ddocs or not _is_design(row):
                yield _document(self._database, row, b"", create)


@dataclass(frozen=True)
class Page:
    """Some rows of a view; ``next``, which can be kept as JSON, is where the next page begins: None after the last."""

    rows: list[ViewRow]
    next: JSONObject | None


class View:
    """A view of a design document. Making one sends nothing, so it need not exist.

    Parameters are CouchDB's: ``startkey``, ``endkey``, ``descending``, ``limit``, ``reduce``, ``group_level`` … A key
    is any JSON value; what looks like the JSON text of a string, list or object is taken for that, as aiocouch has it,
    except by :meth:`rows`, :meth:`page` and :meth:`queries`, and in ``ids``.

    Raises BadRequestError for what CouchDB cannot answer, NotFoundError where the view is missing.
    """

    def __init__(self, database: Place, design_doc: str, id: str, scope: tuple[str, ...] | None = None) -> None:
        """``design_doc`` is named with or without ``_design/``; ``scope`` is the path of a partition."""
        self.ddoc = design_doc.removeprefix(_DESIGN)
        self.id = id
        document_path((), id)  # refuses what would lead elsewhere
        self.path = (*document_path(scope or database.path, _DESIGN + self.ddoc), "_view", id)
        self._database = database

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'/'.join(self.path)}>"

    @property
    def session(self) -> Session:
        """The line to its server."""
        return self._database.session

    @property
    def endpoint(self) -> str:
        """Its address, quoted."""
        return target(self.path)

    @property
    def prefix_sentinel(self) -> str:
        """What comes, appended to a prefix, after all texts that begin with it."""
        return "\uffff"

    async def get(self, **params: Any) -> ViewResponse:
        """The whole answer, in memory; :meth:`rows` has them one by one."""
        return await self._whole(None, lenient(params))

    async def post(
        self, ids: Sequence[Any] | None = None, keys: Sequence[Any] | None = None, **params: Any
    ) -> ViewResponse:
        """The whole answer for these keys, by either name."""
        return await self._whole(keys if ids is None else ids, lenient(params))

    async def rows(self, keys: Sequence[Any] | None = None, **params: Any) -> AsyncGenerator[ViewRow, None]:
        """The rows as they arrive, with memory for a few of them, however many there are; or those of ``keys``."""
        async for row in self._rows(keys, exact(params)):
            yield row

    async def page(self, size: int, after: Mapping[str, Any] | None = None, **params: Any) -> Page:
        """The first ``size`` rows, or those from ``after`` on, which is the :attr:`Page.next` of the page before.

        Reading on by key costs the same for every page, and misses nothing and repeats nothing that others do not
        change meanwhile. ``params`` must stay the same.
        """
        if size < 1 or "limit" in params:
            raise QueryError("a page has a size, at least 1, and no limit")
        if after is not None:
            params = {**params, "skip": 0, **after}
        given = params.pop(_GIVEN, 0)
        rows = [row async for row in self.rows(**params, limit=size + 1 + given)]
        start = _repeated(rows[:given], params)
        end = start + size
        following = None
        if len(rows) > end:
            following = _start(rows[end], params)
            if count := _repeated(reversed(rows[:end]), following):
                following[_GIVEN] = count
        return Page(rows[start:end], following)

    async def queries(self, queries: Iterable[Mapping[str, Any]]) -> list[ViewResponse]:
        """The answers to several sets of parameters, in one request."""
        body = encode({"queries": list(queries)})
        answer = await self.session.json(Request("POST", (*self.path, "queries"), body=body))
        return [self._response(each["rows"], each) for each in answer["results"]]

    async def akeys(self, **params: Any) -> AsyncGenerator[Any, None]:
        """The id of each row; its key where it stands for several documents."""
        async for row in self._found(None, params):
            yield _name(row)

    async def aitems(self, **params: Any) -> AsyncGenerator[tuple[Any, Any], None]:
        """The key and the value of each row."""
        async for row in self._found(None, params):
            yield row["key"], row.get("value")

    async def avalues(self, **params: Any) -> AsyncGenerator[Any, None]:
        """The value of each row."""
        async for row in self._found(None, params):
            yield row.get("value")

    async def ids(
        self, ids: Sequence[Any] | None = None, prefix: str | None = None, **params: Any
    ) -> AsyncGenerator[Any, None]:
        """The ids of the documents whose keys in the view are ``ids``, or begin with ``prefix``; or all."""
        async for row in self._found(ids, self._ranged(prefix, params)):
            yield _name(row)

    async def docs(
        self,
        ids: Sequence[Any] | None = None,
        create: bool = False,
        prefix: str | None = None,
        include_ddocs: bool = False,
        **params: Any,
    ) -> AsyncGenerator[Document, None]:
        """The documents whose keys in the view are ``ids``, or begin with ``prefix``; or all.

        Design documents are left out unless they are named or ``include_ddocs``. Raises NotFoundError at an id that is
        not there, unless ``create``: that is a new document then.
        """
        if prefix is not None and (ids is not None or create):
            raise QueryError("prefix stands alone: give neither ids nor create with it")
        params = self._ranged(prefix, params) | {"include_docs": True}
        has_design = ids is not None or include_ddocs
        async for batch in self._batches(ids, lenient(params)):
            for text in batch:
                row: ViewRow = decode(text)
                if has_design or not _is_design(row):
                    yield _document(self._database, row, text, create)

    def _ranged(self, prefix: str | None, params: Mapping[str, Any]) -> dict[str, Any]:
        if not params.keys().isdisjoint({"key", "keys"}):
            raise KeyParameterError("key and keys are no parameters here: give ids, a list")
        if prefix is None:
            return {**params}
        first, last = encode(prefix).decode(), encode(prefix + self.prefix_sentinel).decode()
        if params.get("descending"):
            first, last = last, first
        return {**params, "startkey": first, "endkey": last}

    async def _found(self, ids: Sequence[Any] | None, params: Mapping[str, Any]) -> AsyncGenerator[ViewRow, None]:
        async for row in self._rows(ids, lenient(params)):
            if "error" not in row:
                yield row

    async def _rows(self, ids: Sequence[Any] | None, query: Mapping[str, str]) -> AsyncGenerator[ViewRow, None]:
        async for batch in self._batches(ids, query):
            for text in batch:
                yield decode(text)

    async def _batches(self, ids: Sequence[Any] | None, query: Mapping[str, str]) -> AsyncGenerator[list[bytes], None]:
        if ids is None or ids:
            async for batch in Rows(self.session, self._request(ids, query)).batches():
                yield batch

    async def _whole(self, ids: Sequence[Any] | None, query: Mapping[str, str]) -> ViewResponse:
        rows = Rows(self.session, self._request(ids, query))
        decoded = [decode(row) async for batch in rows.batches() for row in batch]
        return self._response(decoded, rows.members)

    def _request(self, ids: Sequence[Any] | None, query: Mapping[str, str]) -> Request:
        if ids is None:
            return Request("GET", self.path, query)
        return Request("POST", self.path, query, body=encode({"keys": list(ids)}))

    def _response(self, rows: list[ViewRow], members: Mapping[str, Any]) -> ViewResponse:
        told = {name: members[name] for name in ("offset", "total_rows", "update_seq") if name in members}
        return ViewResponse(self._database, rows, **told)


class AllDocsView(View):
    """The list of all documents by id, ``_all_docs``, which can be asked as a view; its keys are the ids."""

    def __init__(self, database: Place, scope: tuple[str, ...] | None = None) -> None:
        """``scope`` is the path of a partition of the database."""
        self.ddoc = ""
        self.id = "_all_docs"
        self.path = (*(scope or database.path), "_all_docs")
        self._database = database

    @property
    def prefix_sentinel(self) -> str:
        """What comes, appended to a prefix, after all ids that begin with it; ids are in the order of their bytes."""
        return chr(0x10FFFE)


def _found(rows: Iterable[ViewRow]) -> Iterator[ViewRow]:
    return (row for row in rows if "error" not in row)


def _name(row: ViewRow) -> Any:
    return row["id"] if "id" in row else row["key"]


def _is_design(row: ViewRow) -> bool:
    return row.get("id", "").startswith(_DESIGN)


def _start(row: ViewRow, params: Mapping[str, Any]) -> JSONObject:
    key: Any = row["key"]
    if params.get("descending") and isinstance(key, list) and len(key) == int(params.get("group_level") or 0):
        # A group's key is the beginning of those of its rows, which lie before it from behind.
        key = [*key, _LAST]
    start: JSONObject = {"startkey": key}
    return {**start, "startkey_docid": row["id"]} if "id" in row else start


def _repeated(rows: Iterable[ViewRow], start: Mapping[str, Any]) -> int:
    """How many of the first rows have the key and the document where a page starts."""
    if "startkey_docid" not in start:
        return 0
    id, key = start["startkey_docid"], start["startkey"]
    return sum(1 for _ in takewhile(lambda row: row.get("id") == id and same(row["key"], key), rows))


def _document_text(row: ViewRow, text: bytes) -> bytes | None:
    """The document's text within that of its row, of which it is the last member.

    In a row of ``_all_docs`` nothing before it can hold a member of that name; keys and values of a view can.
    """
    value = row.get("value")
    start = text.find(b',"doc":{')
    if start < 0 or row.get("id") != row["key"] or not isinstance(value, dict) or len(value) > 1 or "rev" not in value:
        return None
    return text[start + 7 : -1]


def _document(database: Place, row: ViewRow, text: bytes, create: bool) -> Document:
    data = row.get("doc")
    if data is not None:
        # A linked document is not the one that emitted the row.
        return Document.read(database, _document_text(row, text) or encode(data), data)
    if not create:
        raise NotFoundError(row.get("error", "deleted"), method="GET", path=target((*database.path, str(_name(row)))))
    return Document(database, _name(row))
