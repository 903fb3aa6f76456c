"""Rows of bulk writes whose outcome is in doubt, settled as the writes of single documents are."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from couchmodel._model.attachments.stubs import set_stubs, stored_stubs
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.store.bulk import Refused
from couchmodel._model.store.documents import StoredDocuments
from couchmodel._model.store.edits import save_merged
from couchmodel._model.store.revisions.basis import Basis
from couchmodel._model.store.revisions.doubt import ForkError, Sent, find_own, settle_deletion, settle_write
from couchmodel._wire.messages import encode
from couchmodel.errors import ConflictError, CouchModelError
from couchmodel.types import BulkRow

__all__ = ["Doubt", "settle_rows"]

M = TypeVar("M", bound=DocumentModel)

_SECONDS: Final = 0.2
"""The time that a write of one document is taken to need."""


@dataclass(frozen=True, slots=True)
class Doubt(Generic[M]):
    """The row of a document in a bulk write that is accepted only, or refused after a write that got no answer."""

    document: M
    row: BulkRow
    body: bytes
    before: Basis | None
    """The state of the document before the write, if it is accepted."""
    error: CouchModelError | None


async def settle_rows(repository: StoredDocuments[M], doubts: Sequence[Doubt[M]]) -> Refused[M]:
    """Settle rows, all at once since each may have to wait, and return the documents that are refused."""
    errors = await asyncio.gather(*(_settle(repository, each) for each in doubts))
    return [(each.document, error) for each, error in zip(doubts, errors, strict=True) if error is not None]


async def _settle(repository: StoredDocuments[M], doubt: Doubt[M]) -> CouchModelError | None:
    """Settle a row, and return the error if the document is refused."""
    document, rev = doubt.document, doubt.row.get("rev", "")
    try:
        if doubt.before is None:
            return None if await _find_stored(repository, document) else doubt.error
        if document.rev is None:
            await settle_deletion(repository, document, doubt.before, rev)
        else:
            await settle_write(repository, document, doubt.before, Sent(doubt.body, rev, _SECONDS, True, True))
    except ForkError:
        try:
            await save_merged(repository, document)
        except CouchModelError as error:
            return error
    except ConflictError as error:
        return await repository.complete_conflict(error, document)
    except CouchModelError as error:
        return error
    return None


async def _find_stored(repository: StoredDocuments[M], document: M) -> bool:
    """Return True if an earlier write of a document is stored that got no answer. Save what was changed since."""
    found = await find_own(repository, document)
    if found is None:
        return False
    repository.note_saved(document, encode(found[0].stored), found[0].rev)
    set_stubs(document, stored_stubs(document))
    await repository.save_once(document)
    return True
