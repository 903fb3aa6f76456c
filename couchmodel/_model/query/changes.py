"""Changes to all documents of a query. Each document is guarded by its revision."""

from collections.abc import AsyncGenerator, Iterable, Sequence
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

    async def delete_each(self, stubs: Sequence[JSONObject]) -> list[tuple[str, CouchModelError]]:
        """Delete documents, given such members, and return the ids of those that were refused, with the errors."""
        ...

    def rows(self, body: JSONObject, limit: int | None) -> AsyncGenerator[list[bytes], None]:
        """Yield the documents that a body of ``_find`` asks for, as JSON texts in batches."""
        ...


async def update_documents(query: DocumentQuery, store: DocumentStore, values: Iterable[object]) -> int:
    """Make assignments to all documents of a query, store them, and return how many there were."""
    assignments = check_assignments(store.model, values)
    changed, refused = 0, []
    for attempt in range(_ATTEMPTS):
        documents = await query.to_list()
        for document in documents:
            assign(document, assignments)
        failed = await store.save_each(documents)
        changed += len(documents) - len(failed)
        again, others = _split(failed, is_last=attempt == _ATTEMPTS - 1)
        refused += others
        if not again:
            break
        query = query.only([document.id for document in again])
    _raise_refused(refused, changed, store.model)
    return changed


async def delete_documents(query: DocumentQuery, store: DocumentStore) -> int:
    """Delete all documents of a query, and return how many were deleted."""
    deleted, refused = 0, []
    for attempt in range(_ATTEMPTS):
        stubs = await query.stubs()
        failed = await store.delete_each(stubs)
        deleted += len(stubs) - len(failed)
        again, others = _split(failed, is_last=attempt == _ATTEMPTS - 1)
        refused += others
        if not again:
            break
        query = query.only(again)
    _raise_refused(refused, deleted, store.model)
    return deleted


def _split(failed: Iterable[tuple[Any, CouchModelError]], *, is_last: bool) -> tuple[list[Any], list[CouchModelError]]:
    """Return what is to be tried again, as it has changed meanwhile, and the errors of the rest."""
    again: list[Any] = []
    errors: list[CouchModelError] = []
    for each, error in failed:
        if isinstance(error, ConflictError) and not is_last:
            again.append(each)
        else:
            errors.append(error)
    return again, errors


def _raise_refused(errors: Sequence[CouchModelError], done: int, model: Any) -> None:
    if errors:
        raise BulkError(f"{len(errors)} documents of {model.__name__} were refused; {done} were stored", errors)
