"""Queries as values: conditions, an order and limits. A query is sent when its results are asked for."""

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, Generic, Literal, Self, TypeVar, cast, get_args, overload

from pydantic import BaseModel

from couchmodel._model.query import changes, pages
from couchmodel._model.query.aggregates import Average, Largest, Smallest, Sum
from couchmodel._model.query.id_bounds import separate_id_bounds
from couchmodel._model.query.indexes import ChosenIndex, choose_index, indexable_paths, warn_of_scan
from couchmodel._model.query.ordering import read_order
from couchmodel._model.query.pages import Page, PageRequest
from couchmodel._model.query.prefetch import fetch_links, prefetch, require_links
from couchmodel._model.query.readers import ProjectionReader, RowReader, ValuesReader
from couchmodel._model.query.selector import all_of, build_selector
from couchmodel._model.query.source import DocumentSource
from couchmodel._model.schema.expressions.conditions import Comparison, Condition, require_condition
from couchmodel._model.schema.expressions.field_expressions import FieldExpression
from couchmodel._model.schema.expressions.places import Assignment, Ordering, Place, place_of
from couchmodel._model.schema.links.link import LinkExpression
from couchmodel._wire.messages import decode, encode
from couchmodel.errors import DocumentError, MultipleFoundError, NotFoundError, QueryError
from couchmodel.types import JSONObject

__all__ = ["Explanation", "Query"]

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
E = TypeVar("E", bound=BaseModel)
N = TypeVar("N", int, float, Decimal, timedelta)
D = TypeVar("D", Decimal, timedelta)

OnInvalid = Literal["raise", "skip", "collect"]

_NO_INDEX: Final = "No matching index found"
"""The beginning of CouchDB's warning of a query that reads all documents."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """How CouchDB answers a query.

    ``index`` is the name of the index, None if no index serves the query. ``scans`` is True if all documents are read.
    ``raw`` is CouchDB's answer to ``_explain``.
    """

    index: str | None
    scans: bool
    raw: JSONObject = field(repr=False)


@dataclass(frozen=True, slots=True)
class Query(Generic[T]):
    """A query for documents of a model, or for parts of them.

    A query is a value: :meth:`find`, :meth:`sort`, :meth:`limit`, :meth:`skip`, :meth:`project` and :meth:`values`
    return another query, and a query can be used again. ``await`` gives the list of its results, ``async for`` gives
    them one by one. Without a limit, it gives all of them.

    One document that does not fit its model is a DocumentError, unless ``on_invalid`` is ``"skip"``, which leaves it
    out, or ``"collect"``, which puts the error into ``errors``. These are the errors of the last time that it was sent.
    """

    source: DocumentSource
    conditions: tuple[Condition, ...] = ()
    orderings: tuple[Ordering, ...] = ()
    max_count: int | None = None
    skip_count: int = 0
    reader: RowReader[T] | None = None
    links: tuple[LinkExpression[Any], ...] = ()
    on_invalid: OnInvalid = "raise"
    errors: list[DocumentError] = field(default_factory=list, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.on_invalid not in get_args(OnInvalid):
            raise QueryError(f"on_invalid is 'raise', 'skip' or 'collect', not {self.on_invalid!r}")

    # --- other queries

    def find(self, *conditions: Condition | Mapping[str, Any]) -> Self:
        """Return the query for the documents that meet these conditions as well.

        Raises QueryError if an argument is not a condition on fields of the model.
        """
        added = tuple(map(require_condition, conditions))
        selector = build_selector(added, model=self.source.model)  # refuses operands, and fields of other models
        try:
            encode(selector)
        except DocumentError as error:
            raise QueryError(f"a condition cannot be sent: {error}") from None
        return replace(self, conditions=(*self.conditions, *added))

    def sort(self, *fields: Ordering | FieldExpression[Any] | str) -> Self:
        """Return the query with its results in the order of these fields. Replaces an earlier order.

        A field is one of the class, such as ``Recipe.rating.desc()``, or its name, such as ``"-rating"``; a name may
        come from outside. CouchDB needs an index whose fields begin with these, and all have one direction. Raises
        QueryError for anything else.
        """
        return replace(self, orderings=read_order(self.source.model, fields))

    def limit(self, count: int | None) -> Self:
        """Return the query with a limit of ``count`` results; None is no limit."""
        return replace(self, max_count=_check_count("limit", count))

    def skip(self, count: int) -> Self:
        """Return the query without its first ``count`` results.

        CouchDB reads and drops them, so use this for small numbers only; :meth:`page` costs the same for each page.
        """
        return replace(self, skip_count=_check_count("skip", count))

    def project(self, model: type[E]) -> "Query[E]":
        """Return the query for a part of each document: the fields that ``model`` has. Only those are read.

        Raises QueryError if a field of ``model`` that is required is no field of the documents.
        """
        return self._with_reader(ProjectionReader(self.source.model, model))

    @overload
    def values(self, a: FieldExpression[A], /) -> "Query[A]": ...
    @overload
    def values(self, a: FieldExpression[A], b: FieldExpression[B], /) -> "Query[tuple[A, B]]": ...
    @overload
    def values(
        self, a: FieldExpression[A], b: FieldExpression[B], c: FieldExpression[C], /
    ) -> "Query[tuple[A, B, C]]": ...
    @overload
    def values(self, *fields: FieldExpression[Any]) -> "Query[Any]": ...
    def values(self, *fields: FieldExpression[Any]) -> "Query[Any]":
        """Return the query for the values of one field, or for tuples of the values of several.

        A value that a document lacks is None. Raises QueryError for what is not a field of the model.
        """
        return self._with_reader(ValuesReader(self.source.model, fields))

    def prefetch(self, *links: LinkExpression[Any]) -> Self:
        """Return the query whose documents come with the documents that these links lead to.

        They are fetched with one request a level, and are the ``document`` of each link. A link to nothing has none.
        ``prefetch(Book.author, Author.publisher)`` fetches two levels. Raises QueryError for something else than links,
        and for parts of documents.
        """
        if self.reader is not None:
            raise QueryError("prefetch() is for whole documents, not for projections and values")
        return replace(self, links=(*self.links, *require_links(links)))

    # --- results

    def __aiter__(self) -> AsyncGenerator[T, None]:
        results = self._results()
        return prefetch(results, self.source.model, self.links, self.source) if self.links else results

    async def _results(self) -> AsyncGenerator[T, None]:
        self.errors.clear()
        read = self._read
        async with aclosing(self._rows(self.body(), self.max_count)) as batches:
            async for batch in batches:
                for row in batch:
                    try:
                        result = read(row)
                    except DocumentError as error:
                        self._note_invalid(error)
                    else:
                        yield result

    def __await__(self) -> Generator[Any, None, list[T]]:
        return self.to_list().__await__()

    async def to_list(self) -> list[T]:
        """Return all results. Raises DocumentError if a document does not fit the model: see ``on_invalid``."""
        self.errors.clear()
        found: list[T] = []
        async with aclosing(self._rows(self.body(), self.max_count)) as batches:
            async for batch in batches:
                found += self._read_all(batch)
        await fetch_links(found, self.source.model, self.links, self.source)
        return found

    async def first(self) -> T | None:
        """Return the first result; None if there is none."""
        for result in await self.limit(_at_most(1, self.max_count)).to_list():
            return result
        return None

    async def one_or_none(self) -> T | None:
        """Return the only result; None if there is none. Raises MultipleFoundError if there are several."""
        found = await self.limit(_at_most(2, self.max_count)).to_list()
        return self._only(found) if found else None

    async def one(self) -> T:
        """Return the only result. Raises NotFoundError if there is none, MultipleFoundError if there are several."""
        found = await self.limit(_at_most(2, self.max_count)).to_list()
        if not found:
            raise NotFoundError(f"no document of {self._name} matches {self._describe_conditions()}")
        return self._only(found)

    def _only(self, found: list[T]) -> T:
        """Return the only one of some results. Raises MultipleFoundError if there are several."""
        if len(found) > 1:
            raise MultipleFoundError(
                f"several documents of {self._name} match {self._describe_conditions()}:"
                " add conditions, or take one with limit(1)"
            )
        return found[0]

    async def exists(self) -> bool:
        """Return True if there is a result. Only one id is read."""
        return await self.limit(_at_most(1, self.max_count)).count() > 0

    async def count(self) -> int:
        """Return the number of documents. CouchDB cannot count them, so this fetches their ids and counts those."""
        rows = self._rows({**self.body(), "fields": ["_id"]}, self.max_count)
        return sum([len(batch) async for batch in rows])

    async def page(self, size: int, after: str | None = None) -> Page[T]:
        """Return a page of ``size`` results: the first, or the one that the token ``after`` leads to.

        ``after`` is the ``next`` of the page before. Without a sort, the order is that of the index that serves the
        query, else that of the ids. Every page costs the same. Raises QueryError if ``after`` is no token of this
        query, and if the query has a limit or skips results.
        """
        rows, token = await self.page_rows(self.page_request(size, after))
        items = self._read_all(rows)
        await fetch_links(items, self.source.model, self.links, self.source)
        return Page(items=items, next=token)

    def page_request(self, size: int, after: str | None = None) -> PageRequest:
        """Return what is asked for a page: see :meth:`page`."""
        if not isinstance(size, int) or size < 1:
            raise QueryError(f"a page has 1 result or more, not {size!r}")
        if self.max_count is not None or self.skip_count:
            raise QueryError("a query with a limit or a skip has no pages: the size of a page is its limit")
        selector = self.selector()
        order, chosen = pages.page_order(self.source.model, selector, self.orderings)
        # CouchDB sorts the rows of one key by their ids anyway, and an index has no column for them.
        query = replace(self, orderings=order[:-1] or order)
        key = [selector, [list(each) for each in order]]
        body = query.body(chosen)
        if chosen is not None:  # another index may have more columns, and so another order
            body["use_index"] = [chosen.index.design, chosen.index.name]
        if after is not None:
            rest = pages.continue_after(body["selector"], order, pages.read_token(key, after))
            body["selector"] = separate_id_bounds(rest)
        # The position of the last row needs the members that the order is made of.
        if "fields" in body:
            body["fields"] = list(dict.fromkeys([*body["fields"], *(each.path for each in order)]))
        return PageRequest(body, key, order, size)

    async def page_rows(self, request: PageRequest) -> tuple[list[bytes], str | None]:
        """Return the results of a page as JSON texts, and the token of the next page."""
        self.errors.clear()
        rows = [row async for batch in self._rows(request.body, request.size + 1) for row in batch]
        return request.cut(rows)

    async def explain(self) -> Explanation:
        """Return how CouchDB answers the query. Nothing is read."""
        raw = await self.source.explain(self.body())
        name = raw["index"]["name"]
        # A condition on ids narrows what is read of _all_docs, as one on its columns does of an index.
        is_scan = raw["index"]["ddoc"] is None and "_id" not in indexable_paths(self.selector())
        return Explanation(None if raw["index"]["ddoc"] is None else name, is_scan, raw)

    # --- sums of a query

    async def sum(self, field: FieldExpression[N]) -> N:
        """Return the sum of a field over the documents, which are read one by one; 0 of none.

        A view keeps such a sum, and is faster if it is asked for often.
        """
        total: N = await self._aggregate(field, Sum())
        return total

    @overload
    async def avg(self, field: FieldExpression[int] | FieldExpression[float]) -> float | None: ...
    @overload
    async def avg(self, field: FieldExpression[D]) -> D | None: ...
    async def avg(self, field: FieldExpression[Any]) -> Any:
        """Return the mean of a field over the documents; None of none."""
        return await self._aggregate(field, Average())

    async def min(self, field: FieldExpression[A]) -> A | None:
        """Return the smallest value of a field over the documents, in the order of Python; None of none."""
        smallest: A | None = await self._aggregate(field, Smallest())
        return smallest

    async def max(self, field: FieldExpression[A]) -> A | None:
        """Return the largest value of a field over the documents, in the order of Python; None of none."""
        largest: A | None = await self._aggregate(field, Largest())
        return largest

    async def _aggregate(self, field: FieldExpression[Any], total: Any) -> Any:
        async for value in self.values(field):
            try:
                if value is not None:
                    total.add(value)
            except TypeError as error:
                said = f"{place_of(field).path} has the value {value!r} of {type(value).__name__}"
                raise QueryError(f"{said}, so there is no {type(total).__name__.lower()}: {error}") from None
        return total.result()

    # --- changes

    async def update(self, *values: Assignment) -> int:
        """Assign values to fields of all documents of the query, and store them. Return how many documents there were.

        Each document is guarded by its revision: one that changes meanwhile is looked at again. Raises QueryError for
        what is no assignment to a field; DocumentError, before anything is stored, for a value that does not fit;
        BulkError if documents were refused, after all others are stored.
        """
        return await changes.update_documents(self._documents(), self.source, values)

    async def delete(self, /, **remarks: Any) -> int:
        """Delete all documents of the query. Return how many were deleted.

        Each is guarded by its revision: one that changes meanwhile is looked at again. The tombstones of a
        :class:`SoftDelete` model have the ``remarks``. Raises BulkError if documents were refused, after all others are
        deleted; ConfigurationError if the model keeps no remarks; DocumentError for remarks that are no JSON.
        """
        return await changes.delete_documents(self._documents(), self.source, remarks)

    async def stubs(self) -> list[JSONObject]:
        """Return the members of each document of the query that its deletion has: its id, its revision and its type."""
        fields = list(dict.fromkeys(["_id", "_rev", *self.source.kind]))
        rows = self._rows({**self.body(), "fields": fields}, self.max_count)
        return [decode(row) async for batch in rows for row in batch]

    def only(self, ids: Sequence[str]) -> Self:
        """Return the query for those of its documents that have one of the ids, without a limit."""
        place = Place(("_id",), str)
        among = Comparison(place, "$in", list(ids))
        # CouchDB does not narrow what it reads by $in.
        bounds = Comparison(place, "$gte", min(ids)), Comparison(place, "$lte", max(ids))
        return replace(self, conditions=(*self.conditions, among, *bounds), max_count=None, skip_count=0, errors=[])

    def _documents(self) -> "Query[Any]":
        return cast("Query[Any]", replace(self, reader=None, links=()))

    # --- what is sent

    def selector(self) -> JSONObject:
        """Return the selector of the query."""
        return build_selector(self.conditions, self.source.kind, model=self.source.model)

    def body(self, chosen: ChosenIndex | None = None) -> JSONObject:
        """Return the body of the ``_find`` request, without its limit. ``chosen`` is the best index by default."""
        selector = self.selector()
        body: JSONObject = {"selector": selector}
        chosen = chosen or self._index(selector)
        if self.orderings and self.orderings[0].path == "_id":  # CouchDB sorts by ids only if a condition is on them
            body["selector"] = all_of(selector, {"_id": {"$gt": None}})
        elif chosen is not None:
            body["selector"] = all_of(selector, *({path: {"$exists": True}} for path in chosen.added))
            if chosen.is_named:
                body["use_index"] = [chosen.index.design, chosen.index.name]
        body["selector"] = separate_id_bounds(body["selector"])
        if self.orderings:
            body["sort"] = [{ordering.path: ordering.direction} for ordering in self.orderings]
        if self.skip_count:
            body["skip"] = self.skip_count
        if self.reader is not None:
            body["fields"] = list(dict.fromkeys(["_id", *self.reader.paths]))
        return body

    def _index(self, selector: JSONObject) -> ChosenIndex | None:
        return choose_index(self.source.model, selector, self.orderings)

    def _rows(self, body: JSONObject, limit: int | None) -> AsyncGenerator[list[bytes], None]:
        return self.source.rows(body, limit, self._note_answer)

    def _note_answer(self, members: JSONObject) -> None:
        # A query without conditions asks for all documents, so an index would not help.
        if self.conditions and str(members.get("warning", "")).startswith(_NO_INDEX):
            warn_of_scan(self.source.model, self.selector(), self.orderings)

    @property
    def _read(self) -> Callable[[bytes], T]:
        return self.source.load if self.reader is None else self.reader.read

    def _read_all(self, rows: list[bytes]) -> list[T]:
        found, read = [], self._read
        for row in rows:
            try:
                found.append(read(row))
            except DocumentError as error:
                self._note_invalid(error)
        return found

    def _note_invalid(self, error: DocumentError) -> None:
        if self.on_invalid == "raise":
            raise error
        if self.on_invalid == "collect":
            self.errors.append(error)

    def _with_reader(self, reader: RowReader[A]) -> "Query[A]":
        if self.links:
            raise QueryError("prefetch() is for whole documents, not for projections and values")
        values: Any = {"reader": reader}  # of another type of results
        return cast("Query[A]", replace(self, **values))

    @property
    def _name(self) -> str:
        name: str = self.source.model.__name__
        return name

    def _describe_conditions(self) -> str:
        return " and ".join(map(repr, self.conditions)) or "the query, which has no condition"


def _at_most(count: int, max_count: int | None) -> int:
    return count if max_count is None else min(max_count, count)


def _check_count(method: str, count: Any) -> Any:
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 0):
        raise QueryError(f"{method}() takes a number of documents, 0 or more, not {count!r}")
    return count
