"""Views and ``_all_docs``: their rows, keys, documents and pages."""

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Final

from couchmodel._wire.equality import json_equal
from couchmodel._wire.messages import Request, decode, document_path, encode, request_target
from couchmodel.engine._io.parameters import encode_aiocouch_params, encode_params
from couchmodel.engine._io.rows import Rows
from couchmodel.engine._io.session import Session
from couchmodel.engine.document import DatabaseAddress, Document
from couchmodel.errors import NotFoundError, QueryError
from couchmodel.types import JSONObject, ViewRow

__all__ = ["AllDocsView", "Page", "Rows", "View", "ViewResponse"]

_DESIGN_PREFIX: Final = "_design/"
_HIGHEST_KEY: Final[JSONObject] = {"\uffff": {}}
"""A key that sorts after all keys in use: objects sort last, by the order of their first names."""

_ALREADY_GIVEN: Final = "given"
"""The member of :attr:`Page.next` for the number of rows with the same key and document that earlier pages had.

A document may emit the same key several times.
"""


class KeyParameterError(QueryError, AttributeError):
    """The parameter ``key`` or ``keys`` was given instead of ``ids``. It is an AttributeError too, as in aiocouch."""


@dataclass(frozen=True)
class ViewResponse:
    """The whole answer of a view. ``total_rows`` and ``offset`` are None if CouchDB sends none, as in a reduce."""

    _database: DatabaseAddress = field(repr=False)
    rows: list[ViewRow]
    offset: int | None = None
    total_rows: int | None = None
    update_seq: Any = None

    def keys(self) -> Iterator[Any]:
        """Return the id of each row, or the key of a reduced row, which has no id. Rows with an error are left out."""
        return map(_row_id, _without_errors(self.rows))

    def values(self) -> Iterator[Any]:
        """Return the value of each row. Rows with an error are left out."""
        return (row.get("value") for row in _without_errors(self.rows))

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Return the key and the value of each row. Rows with an error are left out."""
        return ((row["key"], row.get("value")) for row in _without_errors(self.rows))

    def docs(self, create: bool = False, include_ddocs: bool = False) -> Iterator[Document]:
        """Yield the document of each row. The answer has documents only if ``include_docs=True`` was asked for.

        Design documents are left out unless ``include_ddocs``. Raises NotFoundError if a document is missing, unless
        ``create``: it yields a new document of that id then.
        """
        for row in self.rows:
            if include_ddocs or not _is_design(row):
                yield _row_document(self._database, row, b"", create)


@dataclass(frozen=True)
class Page:
    """A page of the rows of a view. ``next`` is where the next page begins, as JSON; None after the last page."""

    rows: list[ViewRow]
    next: JSONObject | None


class View:
    """A view of a design document. Creating the object sends nothing, so the view need not exist.

    The parameters of its methods are CouchDB's: ``startkey``, ``endkey``, ``descending``, ``limit``, ``reduce``,
    ``group_level`` … A key is any JSON value. A string that is the JSON text of a string, list or object is taken for
    that value, as in aiocouch, except by :meth:`rows`, :meth:`page` and :meth:`queries`, and in ``ids``.

    The methods raise BadRequestError if CouchDB cannot answer the parameters, NotFoundError if the view is missing.
    """

    def __init__(
        self, database: DatabaseAddress, design_doc: str, id: str, scope: tuple[str, ...] | None = None
    ) -> None:
        """``design_doc`` may begin with ``_design/`` or not; ``scope`` is the path of a partition."""
        self.ddoc = design_doc.removeprefix(_DESIGN_PREFIX)
        self.id = id
        document_path((), id)  # refuses names that would lead to another path
        self.path = (*document_path(scope or database.path, _DESIGN_PREFIX + self.ddoc), "_view", id)
        self._database = database

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'/'.join(self.path)}>"

    @property
    def session(self) -> Session:
        """The session to the server."""
        return self._database.session

    @property
    def endpoint(self) -> str:
        """The path of the view, percent-encoded."""
        return request_target(self.path)

    @property
    def prefix_sentinel(self) -> str:
        """A character that, appended to a prefix, sorts after all strings that begin with the prefix."""
        # ICU sorts it above every other character.
        return "\uffff"

    async def get(self, **params: Any) -> ViewResponse:
        """Return the whole answer, in memory. :meth:`rows` yields the rows one by one instead."""
        return await self._read_whole(None, encode_aiocouch_params(params))

    async def post(
        self, ids: Sequence[Any] | None = None, keys: Sequence[Any] | None = None, **params: Any
    ) -> ViewResponse:
        """Return the whole answer for these keys, in memory. They may be given as ``ids`` or as ``keys``."""
        return await self._read_whole(keys if ids is None else ids, encode_aiocouch_params(params))

    async def rows(self, keys: Sequence[Any] | None = None, **params: Any) -> AsyncGenerator[ViewRow, None]:
        """Yield all rows, or those of ``keys``, as they arrive. Only a few of them are in memory at a time."""
        async for row in self._read_rows(keys, encode_params(params)):
            yield row

    async def page(self, size: int, after: Mapping[str, Any] | None = None, **params: Any) -> Page:
        """Return a page of ``size`` rows: the first, or the one that begins at ``after``.

        ``after`` is the :attr:`Page.next` of the page before. A page is found by its first key, so every page costs the
        same. No row is missed or repeated unless it is changed meanwhile. ``params`` must be the same for all pages.
        Raises QueryError if ``size`` is less than 1 or if a ``limit`` is given.
        """
        if size < 1 or "limit" in params:
            raise QueryError("the size of a page must be at least 1, and limit= cannot be given with it")
        # `skip` was for the first page. A later one begins at the first row that the page before did not have.
        if after is not None:
            params = {**params, "skip": 0, **after}
        given = params.pop(_ALREADY_GIVEN, 0)
        # One row more than the page has tells whether there is another page, and where it begins.
        rows = [row async for row in self.rows(**params, limit=size + 1 + given)]
        start = _count_repeats(rows[:given], params)
        end = start + size
        following = None
        if len(rows) > end:
            following = _page_start(rows[end], params)
            if count := _count_repeats(reversed(rows[:end]), following):
                following[_ALREADY_GIVEN] = count
        return Page(rows[start:end], following)

    async def queries(self, queries: Iterable[Mapping[str, Any]]) -> list[ViewResponse]:
        """Return the answers to several sets of parameters, asked in one request."""
        body = encode({"queries": list(queries)})
        answer = await self.session.json(Request("POST", (*self.path, "queries"), body=body))
        return [self._response(each["rows"], each) for each in answer["results"]]

    async def akeys(self, **params: Any) -> AsyncGenerator[Any, None]:
        """Yield the id of each row, or the key of a reduced row, which has no id."""
        async for row in self._read_valid_rows(None, params):
            yield _row_id(row)

    async def aitems(self, **params: Any) -> AsyncGenerator[tuple[Any, Any], None]:
        """Yield the key and the value of each row."""
        async for row in self._read_valid_rows(None, params):
            yield row["key"], row.get("value")

    async def avalues(self, **params: Any) -> AsyncGenerator[Any, None]:
        """Yield the value of each row."""
        async for row in self._read_valid_rows(None, params):
            yield row.get("value")

    async def ids(
        self, ids: Sequence[Any] | None = None, prefix: str | None = None, **params: Any
    ) -> AsyncGenerator[Any, None]:
        """Yield the document ids of all rows, or of those whose keys are in ``ids`` or begin with ``prefix``.

        Raises QueryError for the parameters ``key`` and ``keys``.
        """
        async for row in self._read_valid_rows(ids, self._with_prefix(prefix, params)):
            yield _row_id(row)

    async def docs(
        self,
        ids: Sequence[Any] | None = None,
        create: bool = False,
        prefix: str | None = None,
        include_ddocs: bool = False,
        **params: Any,
    ) -> AsyncGenerator[Document, None]:
        """Yield the documents of all rows, or of those whose keys are in ``ids`` or begin with ``prefix``.

        Design documents are left out unless ``ids`` or ``include_ddocs`` is given. Raises NotFoundError when it comes
        to a missing document, unless ``create``: it yields a new document of that id then. Raises QueryError for the
        parameters ``key`` and ``keys``, and for a ``prefix`` beside ``ids`` or ``create``.
        """
        if prefix is not None and (ids is not None or create):
            raise QueryError("prefix= cannot be given together with ids= or create=")
        params = self._with_prefix(prefix, params) | {"include_docs": True}
        has_design = ids is not None or include_ddocs
        async for batch in self._read_batches(ids, encode_aiocouch_params(params)):
            for text in batch:
                row: ViewRow = decode(text)
                if has_design or not _is_design(row):
                    yield _row_document(self._database, row, text, create)

    def _with_prefix(self, prefix: str | None, params: Mapping[str, Any]) -> dict[str, Any]:
        if not params.keys().isdisjoint({"key", "keys"}):
            raise KeyParameterError("key= and keys= are not supported here: give a list as ids=")
        if prefix is None:
            return {**params}
        # As JSON texts, since `params` go through the reading of aiocouch's keys.
        first, last = encode(prefix).decode(), encode(prefix + self.prefix_sentinel).decode()
        if params.get("descending"):
            first, last = last, first
        return {**params, "startkey": first, "endkey": last}

    async def _read_valid_rows(
        self, ids: Sequence[Any] | None, params: Mapping[str, Any]
    ) -> AsyncGenerator[ViewRow, None]:
        async for row in self._read_rows(ids, encode_aiocouch_params(params)):
            if "error" not in row:
                yield row

    async def _read_rows(self, ids: Sequence[Any] | None, query: Mapping[str, str]) -> AsyncGenerator[ViewRow, None]:
        async for batch in self._read_batches(ids, query):
            for text in batch:
                yield decode(text)

    async def _read_batches(
        self, ids: Sequence[Any] | None, query: Mapping[str, str]
    ) -> AsyncGenerator[list[bytes], None]:
        if ids is None or ids:  # no ids, no rows: there is nothing to ask
            async for batch in Rows(self.session, self._request(ids, query)).batches():
                yield batch

    async def _read_whole(self, ids: Sequence[Any] | None, query: Mapping[str, str]) -> ViewResponse:
        rows = Rows(self.session, self._request(ids, query))
        decoded = [decode(row) async for batch in rows.batches() for row in batch]
        return self._response(decoded, rows.members)

    def _request(self, ids: Sequence[Any] | None, query: Mapping[str, str]) -> Request:
        if ids is None:
            return Request("GET", self.path, query)
        return Request("POST", self.path, query, body=encode({"keys": list(ids)}))

    def _response(self, rows: list[ViewRow], members: Mapping[str, Any]) -> ViewResponse:
        stated = {name: members[name] for name in ("offset", "total_rows", "update_seq") if name in members}
        return ViewResponse(self._database, rows, **stated)


class AllDocsView(View):
    """The list of all documents by id (``_all_docs``) with the methods of a view. Its keys are the ids."""

    def __init__(self, database: DatabaseAddress, scope: tuple[str, ...] | None = None) -> None:
        """``scope`` is the path of a partition of the database."""
        self.ddoc = ""
        self.id = "_all_docs"
        self.path = (*(scope or database.path), "_all_docs")
        self._database = database

    @property
    def prefix_sentinel(self) -> str:
        """The last character. Appended to a prefix, it sorts after all ids that begin with the prefix."""
        return chr(0x10FFFE)


def _without_errors(rows: Iterable[ViewRow]) -> Iterator[ViewRow]:
    return (row for row in rows if "error" not in row)


def _row_id(row: ViewRow) -> Any:
    return row["id"] if "id" in row else row["key"]


def _is_design(row: ViewRow) -> bool:
    return row.get("id", "").startswith(_DESIGN_PREFIX)


def _page_start(row: ViewRow, params: Mapping[str, Any]) -> JSONObject:
    key: Any = row["key"]
    if params.get("descending") and isinstance(key, list) and len(key) == int(params.get("group_level") or 0):
        # The key of a group is a prefix of the keys of its rows, which sort after it. A descending page has to start
        # behind all of them.
        key = [*key, _HIGHEST_KEY]
    start: JSONObject = {"startkey": key}
    return {**start, "startkey_docid": row["id"]} if "id" in row else start


def _count_repeats(rows: Iterable[ViewRow], start: Mapping[str, Any]) -> int:
    """Return how many of the first rows have the key and the document where a page starts."""
    if "startkey_docid" not in start:  # the keys of a reduce are distinct
        return 0
    # By type too: 1 and true are two keys.
    id, key = start["startkey_docid"], start["startkey"]
    return sum(1 for _ in takewhile(lambda row: row.get("id") == id and json_equal(row["key"], key), rows))


def _document_text(row: ViewRow, text: bytes) -> bytes | None:
    """Return the JSON text of the document, cut out of the text of its row, or None if that is not safe.

    ``doc`` is the last member of a row. In a row of ``_all_docs`` nothing before it can contain a member of that name;
    in a row of a view, the key or the value can.
    """
    value = row.get("value")
    start = text.find(b',"doc":{')
    if start < 0 or row.get("id") != row["key"] or not isinstance(value, dict) or len(value) > 1 or "rev" not in value:
        return None
    return text[start + 7 : -1]


def _row_document(database: DatabaseAddress, row: ViewRow, text: bytes, create: bool) -> Document:
    data = row.get("doc")
    if data is not None:
        # The id is that of `doc`, not of the row: a row may include another document, by an `_id` in its value.
        return Document.from_json(database, _document_text(row, text) or encode(data), data)
    if not create:
        raise NotFoundError(
            row.get("error", "deleted"), method="GET", path=request_target((*database.path, str(_row_id(row))))
        )
    return Document(database, _row_id(row))
