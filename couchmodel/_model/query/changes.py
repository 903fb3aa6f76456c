"""Changes to all documents of a query. Each document is guarded by its revision."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, Self

from couchmodel._model.query.assignments import assign, check_assignments
from couchmodel.errors import BulkError, ConflictError, CouchModelError
from couchmodel.types import JSONObject

__all__ = ["DocumentStore", "delete_documents", "update_documents"]

_ATTEMPTS: Final = 10
"""How often the documents that change meanwhile are looked at again."""


class DocumentQuery(Protocol):
    """A query for whole documents."""

    async def to_list(self) -> list[Any]:
        """Return the documents."""
        ...

    async def stubs(self) -> list[JSONObject]:
        """Return the members of each document that its deletion has: its id, its revision and its type."""
        ...

    def only(self, ids: Sequence[str]) -> Self:
        """Return the query for those of its documents that have one of the ids."""
        ...


class DocumentStore(Protocol):
    """A store of documents, which writes many of them together."""

    model: Any

    async def save_each(self, documents: Sequence[Any]) -> list[tuple[Any, CouchModelError]]:
        """Store documents, and return those that were refused, each with its error."""
        ...

    async def delete_each(
        self, stubs: Sequence[JSONObject], remarks: Mapping[str, Any]
    ) -> list[tuple[str, CouchModelError]]:
        """Delete documents, given such members, and return the ids of those that were refused, with the errors."""
        ...

    def rows(self, body: JSONObject, limit: int | None) -> AsyncGenerator[list[bytes], None]:
        """Yield the documents that a body of ``_find`` asks for, as JSON texts in batches."""
        ...


async def update_documents(query: DocumentQuery, store: DocumentStore, values: Iterable[object]) -> int:
    """Make assignments to all documents of a query, store them, and return how many there were."""
    assignments = check_assignments(store.model, values)

    async def update(part: DocumentQuery) -> _Outcome:
        documents = await part.to_list()
        for document in documents:
            assign(document, assignments)
        refused = await store.save_each(documents)
        return len(documents), [(document.id, error) for document, error in refused]

    return await _change(query, store, update)


async def delete_documents(query: DocumentQuery, store: DocumentStore, remarks: Mapping[str, Any]) -> int:
    """Delete all documents of a query, with remarks for their tombstones, and return how many were deleted."""

    async def delete(part: DocumentQuery) -> _Outcome:
        stubs = await part.stubs()
        return len(stubs), await store.delete_each(stubs, remarks)

    return await _change(query, store, delete)


_Outcome = tuple[int, list[tuple[str, CouchModelError]]]
"""The number of documents that a change was tried on, and the ids of those that were refused, with the errors."""


async def _change(
    query: DocumentQuery, store: DocumentStore, change: Callable[[DocumentQuery], Awaitable[_Outcome]]
) -> int:
    """Change all documents of a query, and those again that have changed meanwhile. Return how many were changed.

    Raises BulkError if documents were refused, after all others are changed.
    """
    changed = 0
    refused: list[CouchModelError] = []
    for attempt in range(_ATTEMPTS):
        count, failed = await change(query)
        changed += count - len(failed)
        again, others = _split(failed, is_last=attempt == _ATTEMPTS - 1)
        refused += others
        if not again:
            break
        # The conditions are asked again: a document that has changed may not meet them any more.
        query = query.only(again)
    if refused:
        raise BulkError(
            f"{len(refused)} documents of {store.model.__name__} were refused; {changed} were changed", refused
        )
    return changed


def _split(failed: Iterable[tuple[str, CouchModelError]], *, is_last: bool) -> tuple[list[str], list[CouchModelError]]:
    """Return the ids of documents to try again, because they have changed meanwhile, and the errors of the others."""
    again: list[str] = []
    errors: list[CouchModelError] = []
    for each, error in failed:
        if isinstance(error, ConflictError) and not is_last:
            again.append(each)
        else:
            errors.append(error)
    return again, errors
