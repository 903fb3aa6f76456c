"""Reads and writes of many documents with few requests."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, Generic, NoReturn, TypeVar

from couchmodel._wire.messages import Request, encode
from couchmodel.engine import Database
from couchmodel.engine._io.rows import Rows, document_text
from couchmodel.engine.bulk import row_error, write_in_batches
from couchmodel.errors import BulkError, CouchModelError

__all__ = ["SaveReport", "delete_rows", "document_bodies", "raise_refused"]

M = TypeVar("M")

_KEYS: Final = 1_000
"""The ids of one request."""


@dataclass(frozen=True, slots=True)
class SaveReport(Generic[M]):
    """The documents that were stored, and those that were refused, each with its error."""

    saved: list[M] = field(default_factory=list)
    refused: list[tuple[M, CouchModelError]] = field(default_factory=list)


async def document_bodies(database: Database, ids: Sequence[str]) -> AsyncGenerator[bytes | None, None]:
    """Yield the JSON text of each document by its id; None for one that is missing or deleted."""
    for start in range(0, len(ids), _KEYS):
        body = encode({"keys": ids[start : start + _KEYS]})
        request = Request("POST", (*database.path, "_all_docs"), {"include_docs": "true"}, body=body)
        async with aclosing(Rows(database.session, request).batches()) as batches:
            async for batch in batches:
                for row in batch:
                    yield document_text(row)


async def delete_rows(
    database: Database, ids: Sequence[str], bodies: Sequence[bytes]
) -> list[tuple[str, CouchModelError]]:
    """Write deletions, and return the ids of the documents that were refused, each with its error."""
    refused: list[tuple[str, CouchModelError]] = []
    left = iter(ids)
    async for rows in write_in_batches(database.session, database.path, bodies):
        for row, id in zip(rows, left, strict=False):
            if "rev" not in row:
                refused.append((id, row_error(row, f"/{database.id}/{id}")))
    return refused


def raise_refused(database: str, count: int, errors: Sequence[CouchModelError]) -> NoReturn:
    """Raise BulkError for documents of a bulk write of ``count`` documents."""
    raise BulkError(f"database {database!r} refused {len(errors)} of {count} documents", errors)
