"""A query: conditions, an order and limits as a value, sent when its results are asked for."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, Protocol, Self, TypeVar

from couchmodel._model.query.selector import selector
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.expressions import Condition, FieldExpression, Ordering, checked
from couchmodel.errors import QueryError
from couchmodel.types import JSONObject

__all__ = ["Query"]

M = TypeVar("M", bound=DocumentModel)
M_co = TypeVar("M_co", bound=DocumentModel, covariant=True)


class Source(Protocol[M_co]):
    """What answers a query."""

    def documents(self, body: JSONObject, limit: int | None) -> AsyncIterator[M_co]:
        """The documents that a body of ``_find`` asks for."""
        ...

    def rows(self, body: JSONObject, limit: int | None) -> AsyncIterator[list[bytes]]:
        """The same as JSON texts, as many at a time as arrive together."""
        ...


@dataclass(frozen=True, slots=True)
class Query(Generic[M]):
    """Documents of a model that meet some conditions.

    It is a value: each method returns another one, and it can be used again. Iterating it (``async for``),
    :meth:`to_list`, :meth:`first` and :meth:`count` send it. No result is cut short: without a limit, all come.
    """

    source: Source[M]
    conditions: tuple[Condition, ...] = ()
    orderings: tuple[Ordering, ...] = ()
    most: int | None = None
    leave: int = 0

    def find(self, *conditions: Condition | bool) -> Self:
        """With further conditions. Raises QueryError for what is none."""
        return replace(self, conditions=(*self.conditions, *map(checked, conditions)))

    def sort(self, *fields: Ordering | FieldExpression[Any]) -> Self:
        """In this order, which an index of the model must have: ``sort(Recipe.rating.desc())``.

        Raises QueryError for what is no field.
        """
        return replace(self, orderings=tuple(map(_ordering, fields)))

    def limit(self, count: int | None) -> Self:
        """At most so many of them; None for all."""
        return replace(self, most=_checked_count(count))

    def skip(self, count: int) -> Self:
        """Without the first ones. CouchDB reads and drops them, so this is for small numbers."""
        return replace(self, leave=_checked_count(count))

    def body(self) -> JSONObject:
        """The body of the ``_find`` request, without its limit."""
        body: JSONObject = {"selector": selector(self.conditions)}
        if self.orderings:
            body["sort"] = [{ordering.path: ordering.direction} for ordering in self.orderings]
        if self.leave:
            body["skip"] = self.leave
        return body

    def __aiter__(self) -> AsyncIterator[M]:
        return self.source.documents(self.body(), self.most)

    async def to_list(self) -> list[M]:
        """All of them. Raises DocumentError at one that does not fit the model."""
        return [document async for document in self]

    async def first(self) -> M | None:
        """The first of them; None where there is none."""
        async for document in self.limit(_one(self.most)):
            return document
        return None

    async def count(self) -> int:
        """How many they are. CouchDB has no count of its own: the ids are fetched and counted."""
        rows = self.source.rows({**self.body(), "fields": ["_id"]}, self.most)
        return sum([len(batch) async for batch in rows])


_NOT_A_FIELD: Final = "sort() takes fields of the model's class, as in Recipe.rating or Recipe.rating.desc()"


def _ordering(field: Any) -> Ordering:
    if isinstance(field, Ordering):
        return field
    if isinstance(field, FieldExpression):
        return field.asc()
    raise QueryError(f"{_NOT_A_FIELD}, not {field!r}")


def _one(most: int | None) -> int:
    return 1 if most is None else min(most, 1)


def _checked_count(count: Any) -> Any:
    if count is not None and (not isinstance(count, int) or count < 0):
        raise QueryError(f"a limit is a number of documents, not {count!r}")
    return count
