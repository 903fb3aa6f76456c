"""Changes that a function of a design document lets pass, which is asked between two reads: it may take seconds."""

from functools import partial

from couchmodel._embedded.documents.design_functions import FunctionFilter
from couchmodel._embedded.queries.changes import (
    BATCH_BYTES,
    BATCH_EXAMINED,
    BATCH_ROWS,
    Batch,
    Change,
    Query,
    choose,
    read_batch,
    read_candidates,
)
from couchmodel._embedded.storage.store import Database, Store

__all__ = ["scan"]


async def scan(store: Store, database: Database, query: Query) -> Batch:
    """The next changes, on the reading thread. Raises ResponseError."""
    if query.filter.function is None or query.limit == 0:
        return await store.scan(partial(read_batch, database, query))
    return await _filtered(store, database, query, query.filter.function)


async def _filtered(store: Store, database: Database, query: Query, function: FunctionFilter) -> Batch:
    """As many as a batch has, of documents that the function is asked about few by few."""
    rows: list[Change] = []
    size = examined = 0
    rest: Query | None = query
    batch = Batch([], 0, 0, None)
    while rest is not None and size <= BATCH_BYTES and len(rows) < BATCH_ROWS and examined < BATCH_EXAMINED:
        candidates = await store.scan(partial(read_candidates, database, rest))
        passing = await function.passing([text for item in candidates.candidates for _, text in item.leaves])
        batch = await store.scan(partial(choose, database, candidates, passing))
        rows += batch.rows
        size += sum(len(row.text) for row in batch.rows)
        examined += len(candidates.candidates)
        rest = batch.rest
    return batch._replace(rows=rows)
