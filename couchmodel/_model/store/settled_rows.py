"""Rows of bulk writes that are accepted only, settled as the writes of single documents are."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.store.bulk.results import Refused
from couchmodel._model.store.documents import StoredDocuments
from couchmodel._model.store.edits import save_merged
from couchmodel._model.store.revisions.basis import Basis
from couchmodel._model.store.revisions.doubt import ForkError, Sent, settle_deletion, settle_stub, settle_write
from couchmodel.errors import ConflictError, CouchModelError
from couchmodel.types import JSONObject

__all__ = ["Accepted", "settle_accepted", "settle_deleted_stubs"]

M = TypeVar("M", bound=DocumentModel)

_SECONDS: Final = 0.2
"""The time that a write of one document is taken to need."""


@dataclass(frozen=True, slots=True)
class Accepted(Generic[M]):
    """A document of a bulk write that is accepted only: its state before, the text that was sent, and its revision."""

    document: M
    before: Basis
    body: bytes
    rev: str


async def settle_accepted(repository: StoredDocuments[M], accepted: Sequence[Accepted[M]]) -> Refused[M]:
    """Settle rows, all at once since each may have to wait, and return the documents that are refused."""
    errors = await asyncio.gather(*(_settle(repository, each) for each in accepted))
    return [(each.document, error) for each, error in zip(accepted, errors, strict=True) if error is not None]


async def _settle(repository: StoredDocuments[M], row: Accepted[M]) -> CouchModelError | None:
    """Settle a row, and return the error if the document is refused."""
    document = row.document
    try:
        # The row has taken the revision of the document if it was a deletion.
        if document.rev is None:
            await settle_deletion(repository, document, row.before, Sent(row.body, row.rev, _SECONDS, True, True))
        else:
            await settle_write(repository, document, row.before, Sent(row.body, row.rev, _SECONDS, True, True))
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


async def settle_deleted_stubs(
    repository: StoredDocuments[M], stubs: Sequence[JSONObject], accepted: Mapping[str, str]
) -> list[tuple[str, CouchModelError]]:
    """Settle deletions of documents that are not loaded, and return the ids of those that are refused.

    ``stubs`` have the ids and revisions from before, ``accepted`` the revisions of deletions that are accepted only.
    """

    async def settle(stub: JSONObject) -> CouchModelError | None:
        try:
            await settle_stub(repository, stub["_id"], stub["_rev"], accepted[stub["_id"]], _SECONDS)
        except CouchModelError as error:
            return error
        return None

    deleted = [stub for stub in stubs if stub["_id"] in accepted]
    errors = await asyncio.gather(*map(settle, deleted))
    return [(stub["_id"], error) for stub, error in zip(deleted, errors, strict=True) if error is not None]
