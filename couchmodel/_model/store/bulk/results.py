"""The results of bulk writes, and reads of many documents with few requests."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar, get_args

from couchmodel._model.store.bulk.chunks import CHUNK
from couchmodel._wire.messages import Request, encode
from couchmodel.engine import Database
from couchmodel.engine._io.rows import Rows, document_text
from couchmodel.engine.bulk import row_error, write_in_batches
from couchmodel.errors import BulkError, ConfigurationError, CouchModelError

__all__ = [
    "BulkResult",
    "Delete",
    "DeleteReport",
    "OnError",
    "OnProgress",
    "Progress",
    "Refused",
    "SaveReport",
    "check_on_error",
    "delete_rows",
    "document_bodies",
    "in_order",
]

M = TypeVar("M")

OnError = Literal["raise", "collect"]


def check_on_error(on_error: object) -> None:
    """Raise ConfigurationError for another value than those of ``OnError``."""
    if on_error not in get_args(OnError):
        raise ConfigurationError(f"on_error is 'raise' or 'collect', not {on_error!r}")


OnProgress = Callable[[int], object]
"""A function that is told how many documents are done: stored, deleted, unchanged or refused."""


class Progress:
    """The count of the documents that are done, which a function of the caller is told, if there is one.

    ``accepted`` are those that less than a majority of a cluster's nodes have stored so far, and ``hook_errors`` the
    errors of hooks after a write.
    """

    def __init__(self, report: OnProgress | None = None) -> None:
        self._report = report
        self._done = 0
        self.accepted: list[Any] = []
        self.hook_errors: list[Exception] = []

    def add(self, count: int) -> None:
        """Add to the count. An exception of the caller's function passes."""
        self._done += count
        if self._report is not None and count:
            self._report(self._done)

    def raise_hook_errors(self, refused: "Refused[Any]") -> None:
        """Raise the errors of hooks, if there are any: a single one as it is, else a group.

        The group has a BulkError, too, if documents were refused, as no report of them is returned.
        """
        errors = self.hook_errors
        if len(errors) == 1 and not refused:
            raise errors[0]
        if errors:
            others = (
                [BulkError(f"{len(refused)} documents were refused", [error for _, error in refused])]
                if refused
                else []
            )
            raise ExceptionGroup(f"the hooks of {len(errors)} documents failed after the write", [*errors, *others])


Refused = list[tuple[M, CouchModelError]]
"""The documents that were refused, each with its error."""


@dataclass(frozen=True, slots=True)
class SaveReport(Generic[M]):
    """The documents that are stored now, unchanged ones among them, and those that were refused, with their errors.

    ``accepted`` are those of the saved ones that less than a majority of a cluster's nodes have stored so far.
    """

    saved: list[M] = field(default_factory=list)
    refused: Refused[M] = field(default_factory=list)
    accepted: list[M] = field(default_factory=list)

    def raise_for_errors(self) -> None:
        """Raise BulkError, with an error for each document that was refused, if there are any."""
        _raise_refused(self.refused, len(self.saved) + len(self.refused))


@dataclass(frozen=True, slots=True)
class DeleteReport(Generic[M]):
    """The documents that were deleted, and those that were refused, with their errors."""

    deleted: list[M] = field(default_factory=list)
    refused: Refused[M] = field(default_factory=list)

    def raise_for_errors(self) -> None:
        """Raise BulkError, with an error for each document that was refused, if there are any."""
        _raise_refused(self.refused, len(self.deleted) + len(self.refused))


@dataclass(frozen=True, slots=True)
class Delete(Generic[M]):
    """The deletion of a document, among the documents that :meth:`Repository.bulk` saves."""

    document: M


@dataclass(frozen=True, slots=True)
class BulkResult(Generic[M]):
    """The outcome for a document of :meth:`Repository.bulk`. ``error`` is None if it was stored or deleted.

    ``is_accepted`` is true if less than a majority of a cluster's nodes have stored that so far.
    """

    document: M
    error: CouchModelError | None = None
    is_accepted: bool = False


def _raise_refused(refused: Refused[M], count: int) -> None:
    if refused:
        raise BulkError(f"{len(refused)} of {count} documents were refused", [error for _, error in refused])


def in_order(refused: Refused[M], documents: Sequence[M]) -> Refused[M]:
    """Return the refused among some documents in the order of these."""
    if len(refused) < 2:
        return refused
    # Documents are compared by their values, so their places are looked up by identity.
    places = {id(document): n for n, document in enumerate(documents)}
    return sorted(refused, key=lambda each: places[id(each[0])])


async def document_bodies(database: Database, ids: Sequence[str]) -> AsyncGenerator[bytes | None, None]:
    """Yield the JSON text of each document by its id; None for one that is missing or deleted."""
    for start in range(0, len(ids), CHUNK):
        # The keys are in the body, because a URL has no room for a thousand of them.
        body = encode({"keys": ids[start : start + CHUNK]})
        request = Request("POST", (*database.path, "_all_docs"), {"include_docs": "true"}, body=body)
        async with aclosing(Rows(database.session, request).batches()) as batches:
            async for batch in batches:
                for row in batch:
                    yield document_text(row)


async def delete_rows(
    database: Database, ids: Sequence[str], bodies: Sequence[bytes]
) -> tuple[list[tuple[str, CouchModelError]], dict[str, str]]:
    """Write deletions. Return the ids of the documents that were refused, each with its error.

    The second result has the revisions of deletions that are accepted only, by the ids of the documents.
    """
    refused: list[tuple[str, CouchModelError]] = []
    accepted: dict[str, str] = {}
    left = iter(ids)
    async for rows in write_in_batches(database.session, database.path, bodies):
        # ``rows`` comes first: zip asks it first, so it takes no id from ``left`` when the rows of a request are at
        # their end.
        for row, id in zip(rows, left, strict=False):
            if "rev" not in row:
                refused.append((id, row_error(row, f"/{database.id}/{id}")))
            elif "accepted" in row:
                accepted[id] = row["rev"]
    return refused, accepted
