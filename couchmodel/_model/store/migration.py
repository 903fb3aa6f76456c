"""Migration of stored documents to the form that their model has by now."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from couchmodel._model.codec import codec
from couchmodel._model.schema.base import DocumentModel
from couchmodel.errors import BulkError, ConflictError, CouchModelError, DocumentError

__all__ = ["MigrationReport", "migrate"]

M = TypeVar("M", bound=DocumentModel)

_BATCH: Final = 500
"""Documents that are stored with one request."""


@dataclass(slots=True)
class MigrationReport:
    """The number of documents that were stored anew, and the ids of those that do not fit their model."""

    upgraded: int = 0
    failed: list[str] = field(default_factory=list)


async def migrate(
    rows: AsyncIterator[list[bytes]],
    load: Callable[[bytes], M],
    store: Callable[[list[tuple[M, bytes]]], Awaitable[list[tuple[M, CouchModelError]]]],
) -> MigrationReport:
    """Store anew the documents whose stored form lacks a field of their model, or has an older form or name of one.

    ``rows`` are the JSON texts of all documents. ``store`` writes documents with the texts to send, and returns those
    that were refused. A document that somebody else changes meanwhile is stored in today's form already, so a conflict
    is no failure. Raises BulkError for any other refusal.
    """
    report, batch = MigrationReport(), list[tuple[M, bytes]]()

    async def flush() -> None:
        refused = await store(batch)
        report.upgraded += len(batch) - len(refused)
        others = [error for _, error in refused if not isinstance(error, ConflictError)]
        if others:
            raise BulkError(f"{len(others)} documents were refused", others)
        batch.clear()

    async for texts in rows:
        for text in texts:
            try:
                document = load(text)
                body = codec.body_to_migrate(document)
            except DocumentError as error:
                report.failed.append(error.document_id or "")
                continue
            if body is not None:
                batch.append((document, body))
        if len(batch) >= _BATCH:
            await flush()
    if batch:
        await flush()
    return report
