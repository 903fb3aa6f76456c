"""Queries as values: conditions, an order and limits. A query is sent when its results are asked for."""

from collections.abc import AsyncIterator, Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, Protocol, Self, TypeVar

from couchmodel._model.query.prefetch import LinkedSource, prefetch, require_links
from couchmodel._model.query.selector import build_selector
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.expressions import Condition, FieldExpression, Ordering, require_condition
from couchmodel._model.schema.links import LinkExpression
from couchmodel.errors import QueryError
from couchmodel.types import JSONObject

__all__ = ["Query"]

M = TypeVar("M", bound=DocumentModel)
M_co = TypeVar("M_co", bound=DocumentModel, covariant=True)


class DocumentSource(LinkedSource, Protocol[M_co]):
    """A source of documents that answers queries."""

    @property
    def model(self) -> type[M_co]:
        """The model of the documents."""
        ...

    @property
    def kind(self) -> JSONObject:
        """The selector of the source's own documents among others; empty if there are no others."""
        ...

    def documents(self, body: JSONObject, limit: int | None) -> AsyncIterator[M_co]:
        """Yield the documents that a body of ``_find`` asks for: all, or at most ``limit``."""
        ...

    def rows(self, body: JSONObject, limit: int | None) -> AsyncIterator[list[bytes]]:
        """Yield the same as JSON texts, in batches as they arrive."""
        ...


@dataclass(frozen=True, slots=True)
class Query(Generic[M]):
    """A query for documents of a model.

    A query is a value: :meth:`find`, :meth:`sort`, :meth:`limit` and :meth:`skip` return another query, and a query can
    be used again. Iterating over it (``async for``), :meth:`to_list`, :meth:`first` and :meth:`count` send it. Without
    a limit, it gives all documents.
    """

    source: DocumentSource[M]
    conditions: tuple[Condition, ...] = ()
    orderings: tuple[Ordering, ...] = ()
    max_count: int | None = None
    skip_count: int = 0
    links: tuple[LinkExpression[Any], ...] = ()

    def find(self, *conditions: Condition | Mapping[str, Any]) -> Self:
        """Return the query with further conditions. Raises QueryError if an argument is not a condition."""
        return replace(self, conditions=(*self.conditions, *map(require_condition, conditions)))

    def sort(self, *fields: Ordering | FieldExpression[Any]) -> Self:
        """Return the query with this order, as in ``sort(Recipe.rating.desc())``. The model must have an index for it.

        Raises QueryError if an argument is not a field of a model's class.
        """
        return replace(self, orderings=tuple(map(_as_ordering, fields)))

    def limit(self, count: int | None) -> Self:
        """Return the query with a limit of ``count`` documents; None is no limit."""
        return replace(self, max_count=_check_count("limit", count))

    def skip(self, count: int) -> Self:
        """Return the query without its first ``count`` documents.

        CouchDB reads and drops them, so use this for small numbers only.
        """
        return replace(self, skip_count=_check_count("skip", count))

    def prefetch(self, *links: LinkExpression[Any]) -> Self:
        """Return the query whose documents come with the documents that these links lead to.

        They are fetched with one request a level, and are the ``document`` of each link. A link to nothing has none.
        ``prefetch(Book.author, Author.publisher)`` fetches two levels. Raises QueryError for something else than links.
        """
        return replace(self, links=(*self.links, *require_links(links)))

    def body(self) -> JSONObject:
        """Return the body of the ``_find`` request, without its limit."""
        body: JSONObject = {"selector": build_selector(self.conditions, self.source.kind)}
        if self.orderings:
            body["sort"] = [{ordering.path: ordering.direction} for ordering in self.orderings]
        if self.skip_count:
            body["skip"] = self.skip_count
        return body

    def __aiter__(self) -> AsyncIterator[M]:
        documents = self.source.documents(self.body(), self.max_count)
        return prefetch(documents, self.source.model, self.links, self.source) if self.links else documents

    def __await__(self) -> Generator[Any, None, list[M]]:
        return self.to_list().__await__()

    async def to_list(self) -> list[M]:
        """Return all documents. Raises DocumentError if one does not fit the model."""
        return [document async for document in self]

    async def first(self) -> M | None:
        """Return the first document; None if there is none."""
        async for document in self.limit(_at_most_one(self.max_count)):
            return document
        return None

    async def count(self) -> int:
        """Return the number of documents. CouchDB cannot count them, so this fetches their ids and counts those."""
        rows = self.source.rows({**self.body(), "fields": ["_id"]}, self.max_count)
        return sum([len(batch) async for batch in rows])


_NOT_A_FIELD: Final = "sort() takes fields of the class, such as Recipe.rating or Recipe.rating.desc()"


def _as_ordering(field: Any) -> Ordering:
    if isinstance(field, Ordering):
        return field
    if isinstance(field, FieldExpression):
        return field.asc()
    raise QueryError(f"{_NOT_A_FIELD}, not {field!r}")


def _at_most_one(max_count: int | None) -> int:
    return 1 if max_count is None else min(max_count, 1)


def _check_count(method: str, count: Any) -> Any:
    if count is not None and (not isinstance(count, int) or count < 0):
        raise QueryError(f"{method}() takes a number of documents, 0 or more, not {count!r}")
    return count
