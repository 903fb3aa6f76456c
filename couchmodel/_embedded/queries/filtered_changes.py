"""Changes that a function of a design document filters.

The function is called between two reads, since it may take seconds.
"""

from couchmodel._embedded import limits
from couchmodel._embedded.documents.design_functions import FunctionFilter
from couchmodel._embedded.queries.changes import (
    Change,
    ChangesBatch,
    ChangesQuery,
    batch_of_passing,
    read_batch,
    read_candidates,
)
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.store import Store

__all__ = ["scan"]


async def scan(store: Store, database: Database, query: ChangesQuery) -> ChangesBatch:
    """Read the next changes on the reading thread. Raises ResponseError."""
    if query.filter.function is None or query.limit == 0:
        return await store.read_in_thread(read_batch, database, query)
    return await _read_filtered(store, database, query, query.filter.function)


async def _read_filtered(
    store: Store, database: Database, query: ChangesQuery, function: FunctionFilter
) -> ChangesBatch:
    """Read a batch of changes. The function gets a few of the documents at a time."""
    rows: list[Change] = []
    size = examined = 0
    rest: ChangesQuery | None = query
    batch = ChangesBatch([], 0, 0, None)
    while (
        rest is not None
        and size <= limits.BATCH_BYTES
        and len(rows) < limits.BATCH_ROWS
        and examined < limits.BATCH_EXAMINED
    ):
        # Between the two reads no transaction is open, so a slow function holds up no write.
        candidates = await store.read_in_thread(read_candidates, database, rest)
        verdicts = await function.match_documents([text for item in candidates.candidates for _, text in item.leaves])
        batch = await store.read_in_thread(batch_of_passing, database, candidates, verdicts)
        rows += batch.rows
        size += sum(len(row.text) for row in batch.rows)
        examined += len(candidates.candidates)
        rest = batch.rest
    return batch._replace(rows=rows)
