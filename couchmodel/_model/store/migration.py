"""Migration of stored documents to the form and to the version of the schema that their model has by now."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from couchmodel._model.codec import codec
from couchmodel.errors import ConflictError, CouchModelError, DocumentError

__all__ = ["MigrationReport", "migrate"]

_BATCH: Final = 500
"""Documents that are stored with one request."""

_ATTEMPTS: Final = 10
"""How often a document is stored that others change meanwhile."""


@dataclass(slots=True)
class MigrationReport:
    """The number of documents that were stored anew, and the ids of those that were not, with their errors.

    A document fails if it does not fit its model, if one of its upgrades raises, or if the database refuses it.
    """

    upgraded: int = 0
    failed: list[str] = field(default_factory=list)
    errors: list[CouchModelError] = field(default_factory=list, repr=False)

    def note_failure(self, id: str, error: CouchModelError) -> None:
        """Record that a document was not stored."""
        self.failed.append(id)
        self.errors.append(error)


_Write = Callable[[list[tuple[Any, bytes]]], Awaitable[list[tuple[Any, CouchModelError]]]]
_Read = Callable[[Sequence[str]], AsyncIterator[bytes | None]]


class RowLoader(Protocol):
    """The part of a repository that is needed here."""

    def load(self, row: bytes) -> Any: ...


async def migrate(
    rows: AsyncIterator[list[bytes]],
    source: RowLoader,
    store: _Write,
    read: _Read,
) -> MigrationReport:
    """Store anew the documents whose stored form lacks a field of their model, or has an older form or name of one.

    ``rows`` are the JSON texts of all documents. ``store`` writes documents with the texts to send, and returns those
    that were refused. ``read`` returns the texts of documents by their ids: one that somebody else changes meanwhile is
    looked at again.
    """
    migration = _Migration(source, store, read)
    # The rows are of one moment, and others write meanwhile. CouchDB refuses to replace a revision that is not the last
    # one, so nothing of theirs is lost.
    async for texts in rows:
        for text in texts:
            migration.add(text)
        if len(migration.batch) >= _BATCH:
            await migration.flush()
    await migration.flush()
    return migration.report


class _Migration:
    """A migration under way: the documents that are to be stored with the next request."""

    def __init__(self, source: RowLoader, store: _Write, read: _Read) -> None:
        self._source = source
        self._store = store
        self._read = read
        self.report = MigrationReport()
        self.batch: list[tuple[Any, bytes]] = []

    def add(self, text: bytes) -> None:
        """Add the document of a text, unless it is stored in its model's form."""
        try:
            document = self._source.load(text)
            body = codec.body_to_migrate(document, text)
        except DocumentError as error:
            self.report.note_failure(error.document_id or "", error)
        else:
            if body is not None:
                self.batch.append((document, body))

    async def flush(self) -> None:
        """Store the batch, and again what others have changed meanwhile."""
        for attempt in range(1, _ATTEMPTS + 1):
            changed = await self._write(is_last=attempt == _ATTEMPTS)
            if not changed:
                return
            async for text in self._read(changed):
                if text is not None:  # it was not deleted
                    self.add(text)

    async def _write(self, *, is_last: bool) -> list[str]:
        """Store the batch, and return the ids of the documents that others have changed meanwhile."""
        if not self.batch:
            return []
        refused = await self._store(self.batch)
        self.report.upgraded += len(self.batch) - len(refused)
        # ``flush`` adds the documents that it reads again to the batch.
        self.batch.clear()
        changed = []
        for document, error in refused:
            if isinstance(error, ConflictError) and not is_last:
                changed.append(document.id)
            else:
                self.report.note_failure(document.id, error)
        return changed
