"""A view of one model, which asks the database that the model is bound to."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Generic, Literal, Protocol, TypeVar, TypeVarTuple, overload

from couchmodel._model.query.pages import Page, read_token, write_token
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.views.decoding import group_decoder, is_link, key_decoder, row_decoder
from couchmodel._model.views.definition import ViewDefinition, view_of
from couchmodel._model.views.merging import merge_groups
from couchmodel._model.views.ranges import UNSET, Range, make_range
from couchmodel._model.views.results import Group, ViewRow
from couchmodel._wire.equality import json_equal
from couchmodel._wire.messages import decode
from couchmodel.engine import Session
from couchmodel.engine._io.rows import document_text
from couchmodel.errors import QueryError
from couchmodel.types import JSONObject

__all__ = ["BoundView", "ViewSource"]

M = TypeVar("M", bound=DocumentModel)
E = TypeVar("E", bound=DocumentModel)
A = TypeVar("A")
V = TypeVar("V")
T = TypeVar("T")
K1 = TypeVar("K1")
Ks = TypeVarTuple("Ks")


class ViewSource(Protocol):
    """The database that a view is asked from: the repository of its model."""

    @property
    def session(self) -> Session: ...

    def load(self, row: bytes) -> Any:
        """Return the document of a JSON text."""
        ...

    def repository_of(self, model: Any) -> Any:
        """Return the repository of another model."""
        ...

    def view_rows(self, design: str, name: str, params: Mapping[str, Any]) -> AsyncGenerator[list[bytes], None]:
        """Yield the rows of a view as JSON texts, in batches as they arrive."""
        ...


class BoundView(Generic[M, A, V, T]):
    """A view of a model. Its methods send requests; CouchDB brings the view up to date before it answers.

    ``key`` is one key. ``start`` and ``end`` are where reading begins and ends; both are part of it, and a tuple that
    is shorter than the keys stands for all keys that begin with it. ``prefix`` is the first items of the keys, or the
    beginning of their text. With ``descending``, the highest key comes first.
    """

    def __init__(self, model: type[M], name: str, source: ViewSource | None = None) -> None:
        self._model = model
        self._name = name
        self._source = source

    def __repr__(self) -> str:
        return f"<view {self._model.__name__}.{self._name}>"

    def within(self, source: Any) -> "BoundView[M, A, V, T]":
        """Return the same view in the database of another repository of the model."""
        return BoundView(self._model, self._name, source)

    async def rows(
        self,
        *,
        key: A = UNSET,
        start: Any = UNSET,
        end: Any = UNSET,
        prefix: Any = UNSET,
        descending: bool = False,
        limit: int | None = None,
    ) -> AsyncGenerator[ViewRow[A, V], None]:
        """Yield the rows as they arrive, all or at most ``limit``.

        Raises QueryError for a key that the view cannot have; DocumentError for a row that does not fit its types;
        NotFoundError if the view is not in the database yet.
        """
        view = self._definition
        span = make_range(view, key=key, start=start, end=end, prefix=prefix, descending=descending)
        read = row_decoder(view)
        async with aclosing(self._texts(span, {"reduce": False}, limit)) as texts:
            async for text in texts:
                yield read(text)

    async def docs(
        self,
        *,
        key: A = UNSET,
        start: Any = UNSET,
        end: Any = UNSET,
        prefix: Any = UNSET,
        descending: bool = False,
        limit: int | None = None,
    ) -> AsyncGenerator[M, None]:
        """Yield the document of each row. A document with several rows comes several times.

        Raises as :meth:`rows` does, and DocumentError for a document that does not fit the model.
        """
        span = make_range(self._definition, key=key, start=start, end=end, prefix=prefix, descending=descending)
        load = self._bound.load
        async with aclosing(self._texts(span, {"reduce": False, "include_docs": True}, limit)) as texts:
            async for text in texts:
                document = document_text(text)
                if document is not None:  # deleted since the view was read
                    yield load(document)

    async def linked(
        self,
        model: type[E],
        *,
        key: A = UNSET,
        start: Any = UNSET,
        end: Any = UNSET,
        prefix: Any = UNSET,
        descending: bool = False,
        limit: int | None = None,
    ) -> AsyncGenerator[E, None]:
        """Yield the document of ``model`` that the value of each row links to, with one request for all.

        Links to nothing are left out. Raises QueryError if the values of the view are no links, or lead to another
        database; DocumentError for a document that does not fit ``model``.
        """
        view = self._definition
        repository = self._bound.repository_of(model)
        # `include_docs` follows the member `_id` of a value within one database only.
        if not is_link(view) or repository.path != getattr(self._bound, "path", None):
            raise QueryError(f"{view.where} has no links to {model.__name__} as its values, in the same database")
        span = make_range(view, key=key, start=start, end=end, prefix=prefix, descending=descending)
        read = row_decoder(view)
        async with aclosing(self._texts(span, {"reduce": False, "include_docs": True}, limit)) as texts:
            async for text in texts:
                document = document_text(text)
                if document is not None and read(text).value is not None:
                    yield repository.load(document)

    @overload
    def groups(
        self: "BoundView[M, tuple[K1, *Ks], V, T]",
        *,
        level: Literal[1],
        key: Any = UNSET,
        start: Any = UNSET,
        end: Any = UNSET,
        prefix: Any = UNSET,
        descending: bool = False,
    ) -> AsyncIterator[Group[tuple[K1], T]]: ...
    @overload
    def groups(
        self,
        *,
        level: int | None = None,
        key: Any = UNSET,
        start: Any = UNSET,
        end: Any = UNSET,
        prefix: Any = UNSET,
        descending: bool = False,
    ) -> AsyncIterator[Group[A, T]]: ...
    async def groups(
        self,
        *,
        level: int | None = None,
        key: Any = UNSET,
        start: Any = UNSET,
        end: Any = UNSET,
        prefix: Any = UNSET,
        descending: bool = False,
    ) -> AsyncIterator[Group[Any, T]]:
        """Yield a group of rows for each key, or for the first ``level`` items of keys that are tuples.

        Raises QueryError if the view is not reduced, and as :meth:`rows` does.
        """
        view = self._reduced
        self._check_level(view, level)
        span = make_range(view, key=key, start=start, end=end, prefix=prefix, descending=descending)
        # CouchDB's ``group_level`` counts the items of arrays, and groups other keys as a whole.
        grouping: JSONObject = {"group": True} if level is None or not view.is_tuple else {"group_level": level}
        read = group_decoder(view, level)
        async with aclosing(self._texts(span, grouping, None)) as texts:
            async for text in texts:
                yield read(text)

    async def distinct(
        self, *, start: Any = UNSET, end: Any = UNSET, prefix: Any = UNSET, descending: bool = False
    ) -> AsyncGenerator[A, None]:
        """Yield the different keys. CouchDB reads the rows, and sends only the keys. Raises as :meth:`rows` does."""
        view = self._definition
        span = make_range(view, start=start, end=end, prefix=prefix, descending=descending)
        read = key_decoder(view)
        # Every view has a reduce function, so every view has groups.
        async with aclosing(self._texts(span, {"group": True}, None)) as texts:
            async for text in texts:
                yield read(text)

    async def total(self, *, key: Any = UNSET, start: Any = UNSET, end: Any = UNSET, prefix: Any = UNSET) -> T | None:
        """Return the reduction of all rows, or of a range of them; None if there are no rows.

        Raises QueryError if the view is not reduced, and as :meth:`rows` does.
        """
        view = self._reduced
        span = make_range(view, key=key, start=start, end=end, prefix=prefix)
        # The range of a text's prefix may have a few rows too many, so its groups are fetched, sorted out and merged.
        grouping: JSONObject = {} if span.prefix is None else {"group": True}
        async with aclosing(self._texts(span, grouping, None)) as texts:
            found = [text async for text in texts]
        if not found:
            return None
        if span.prefix is not None:
            merged: T = merge_groups(view, [group.value for group in map(group_decoder(view, None), found)])
            return merged
        whole: T = group_decoder(view, 0)(found[0]).value
        return whole

    async def page(
        self,
        size: int,
        after: str | None = None,
        *,
        key: A = UNSET,
        start: Any = UNSET,
        end: Any = UNSET,
        prefix: Any = UNSET,
        descending: bool = False,
    ) -> Page[ViewRow[A, V]]:
        """Return a page of ``size`` rows: the first, or the one that the token ``after`` leads to.

        ``after`` is the ``next`` of the page before. Every page costs the same, and no row is missed or repeated if
        others are changed meanwhile. Raises QueryError if ``size`` is less than 1, or if ``after`` is no token of this
        view and range.
        """
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise QueryError(f"a page has 1 row or more, not {size!r}")
        view = self._definition
        span = make_range(view, key=key, start=start, end=end, prefix=prefix, descending=descending)
        query = [view.design, view.name, span.params, span.prefix]
        begin, given = None if after is None else _read_position(query, after), 0
        params: JSONObject = {"reduce": False}
        if begin is not None:
            last_key, last_id, given = begin
            # CouchDB has `startkey_docid` for this. It begins at the last row itself, so as many rows are asked for
            # again and dropped.
            params |= {"startkey": last_key, "startkey_docid": last_id}
            # CouchDB takes `key` for both ends, so it would take the place of `startkey`.
            if "key" in span.params:
                span = Range({**_without_key(span.params), "endkey": last_key}, span.prefix)
        # One row more tells whether there is a next page.
        async with aclosing(self._texts(span, params, size + 1 + given)) as texts:
            found = [text async for text in texts]
        if begin is not None:
            # Some of these rows may be gone by now, so only those that are there are dropped.
            found = found[_repeats(found[:given], begin[0], begin[1]) :]
        rows, token = found[:size], None
        if len(found) > size:
            last = decode(rows[-1])
            count = _repeats(rows[::-1], last["key"], last["id"])
            if (
                begin is not None
                and count == len(rows)
                and json_equal(last["key"], begin[0])
                and last["id"] == begin[1]
            ):
                # All rows of this page are those of one document with one key, as were the last of the page before.
                count += given
            token = write_token(query, [last["key"], last["id"], count])
        return Page(items=list(map(row_decoder(view), rows)), next=token)

    @property
    def _definition(self) -> ViewDefinition:
        return view_of(self._model, self._name)

    @property
    def _reduced(self) -> ViewDefinition:
        view = self._definition
        if view.reduce is None:
            raise QueryError(f'{view.where} is not reduced: declare it with reduce="_count", for example')
        return view

    @property
    def _bound(self) -> ViewSource:
        model: Any = self._model
        source: ViewSource = model.repository() if self._source is None else self._source
        return source

    async def _texts(self, span: Range, params: JSONObject, limit: int | None) -> AsyncGenerator[bytes, None]:
        """Yield the rows of a range as JSON texts, all or at most ``limit``."""
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            raise QueryError(f"a limit is a number of rows, 0 or more, not {limit!r}")
        if limit == 0:
            return
        view, left = self._definition, limit
        asked = {**span.params, **params}
        # A prefix of text is a range that may have a few rows too many, which are left out here. So the limit is
        # counted here, too.
        if limit is not None and span.prefix is None:
            asked["limit"] = limit
        async with aclosing(self._bound.view_rows(view.design, view.name, asked)) as batches:
            async for batch in batches:
                for text in batch:
                    if span.prefix is not None and not span.has(decode(text)["key"]):
                        continue
                    yield text
                    if left is not None and (left := left - 1) == 0:
                        return

    @staticmethod
    def _check_level(view: ViewDefinition, level: Any) -> None:
        most = len(view.keys)
        if level is not None and (not isinstance(level, int) or isinstance(level, bool) or not 1 <= level <= most):
            raise QueryError(f"{view.where}: level is a number of items of the key, from 1 to {most}, not {level!r}")


def _read_position(query: Any, token: str) -> tuple[Any, str, int]:
    position = read_token(query, token)
    if len(position) != 3 or not isinstance(position[1], str) or not isinstance(position[2], int):
        raise QueryError(f"after={token!r} is not the token of a page of a view")
    key, id, given = position
    return key, id, given


def _without_key(params: JSONObject) -> JSONObject:
    return {name: value for name, value in params.items() if name != "key"}


def _repeats(texts: list[bytes], key: Any, id: str) -> int:
    """Return how many of the first rows have a key and a document. A document may emit one key several times."""
    count = 0
    for text in texts:
        row = decode(text)
        if row["id"] != id or not json_equal(row["key"], key):
            break
        count += 1
    return count
