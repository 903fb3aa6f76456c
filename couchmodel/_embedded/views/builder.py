"""Build indexes: read the changed documents, map them to rows, and write the rows, a batch at a time.

- Documents are mapped on a thread of their own. A map function may take seconds, and neither the event loop nor the
  writing thread may wait that long.
- A batch is written only if the index is still in the state in which the batch was read. So several builds of one
  index, in several event loops, do no harm.
- Each batch is committed with its sequence. So a build that was killed goes on after its last batch.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from weakref import WeakKeyDictionary

from couchmodel._embedded import limits
from couchmodel._embedded.documents.reader import IS_DESIGN
from couchmodel._embedded.javascript.engine import Scripts
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Store
from couchmodel._embedded.views.builtin_reduce import check_values
from couchmodel._embedded.views.changes import ChangeBatch, ChangedDocument, IndexState, read_changes, read_state
from couchmodel._embedded.views.designs import Design, parse_design
from couchmodel._embedded.views.map import Mapper, open_mapper
from couchmodel._embedded.views.writer import DocumentRows, begin_index, drop_stale_indexes, row_tuples, write_rows
from couchmodel._wire.messages import decode

__all__ = ["bring_up_to_date", "clean_up", "is_building", "start_build"]

_Builds = dict[tuple[asyncio.AbstractEventLoop, int, str], asyncio.Task[None]]

_builds: Final[WeakKeyDictionary[Store, _Builds]] = WeakKeyDictionary()
"""The running builds of a store, at most one for each index and event loop.

The key is the event loop, the number of the database and the signature of the index.
"""

_log = logging.getLogger("couchmodel.embedded")


async def bring_up_to_date(store: Store, database: Database, design: Design) -> IndexState:
    """Build an index until it has every change that was in the database at the call. Return its state.

    Raises:
        NotFoundError: the database has been dropped.
        ResponseError: the index cannot be built, for example because a function does not compile.
    """
    state = await store.read(read_state, database.number, design.signature)
    target = state.database_seq
    # A build can end without this target: another build was faster, or the index was dropped meanwhile. So the state
    # decides.
    while state.number is None or state.update_seq < target:
        # Several queries may wait for the build. One that is cancelled must not end it for the others.
        await asyncio.shield(start_build(store, database, design))
        state = await store.read(read_state, database.number, design.signature)
    return state


def start_build(store: Store, database: Database, design: Design) -> asyncio.Task[None]:
    """Return the build of an index that runs in this event loop, or start one."""
    builds = _builds.setdefault(store, {})
    key = asyncio.get_running_loop(), database.number, design.signature
    task = builds.get(key)
    # A finished build stays in the table until the loop calls ``done``. A caller that awaits it in a loop would not
    # suspend, and so ``done`` would never be called.
    if task is None or task.done():
        task = builds[key] = asyncio.create_task(_build(store, database, design))

        def done(task: asyncio.Task[None]) -> None:
            if builds.get(key) is task:
                del builds[key]
            if not task.cancelled() and (error := task.exception()):
                _log.debug("no index of %s: %s", design.id, error)

        task.add_done_callback(done)
    return task


def is_building(store: Store, database: Database, design: Design) -> bool:
    """Return True if an index is being built in any event loop."""
    builds = _builds.get(store, {})
    return any(
        key[1:] == (database.number, design.signature) and not task.done() and not key[0].is_closed()
        for key, task in tuple(builds.items())
    )


async def clean_up(store: Store, database: Database) -> None:
    """Drop the indexes whose design documents were deleted or changed. Indexes that are being built stay."""
    await store.write(_drop_stale, store, database.number)
    store.clear_indexes()


def _drop_stale(connection: Connection, store: Store, database_id: int) -> None:
    rows = connection.execute(
        f"SELECT id, body FROM document WHERE database = ? AND {IS_DESIGN} AND NOT deleted",
        (database_id,),
    )
    current = [parse_design(id, decode(body)).signature for id, body in rows]
    # A request may use an older revision of a design document. Its index stays while it is built. Otherwise the builds
    # of two revisions would drop each other's index again and again.
    building = [key[2] for key in tuple(_builds.get(store, ())) if key[1] == database_id]
    drop_stale_indexes(connection, database_id, [*current, *building])


async def _build(store: Store, database: Database, design: Design) -> None:
    """Create the index if it does not exist, and index all changes."""
    state = await store.read(read_state, database.number, design.signature)
    if state.number is None:
        await store.write(begin_index, database.number, design)
        await clean_up(store, database)
        state = await store.read(read_state, database.number, design.signature)
    if state.number is not None:
        mapper_thread = _MapperThread(design, database.scripts)
        try:
            await _advance(store, database, design, state, mapper_thread)
        finally:
            mapper_thread.close()


async def _advance(
    store: Store, database: Database, design: Design, state: IndexState, mapper_thread: "_MapperThread"
) -> None:
    """Index all changes. The next batch is read and mapped while the last one is written."""
    writing: asyncio.Future[bool] | None = None
    more = True
    try:
        while more:
            changes = await store.read_in_thread(read_changes, database.number, design, state)
            written = await mapper_thread.rows(changes)
            if writing is not None and not await writing:
                return  # another build has been faster
            writing = asyncio.ensure_future(store.write(write_rows, database.number, changes, written))
            state = state._replace(update_seq=changes.upto)
            more = changes.more
        if writing is not None:
            await writing
    finally:
        if writing is not None:
            # The error that ends the build, such as that of a closed store, may end the write as well. asyncio logs the
            # error of a future that nobody awaits, so it is retrieved here.
            await asyncio.gather(writing, return_exceptions=True)


class _MapperThread:
    """A mapper on a thread of its own: it is opened, used and closed there."""

    def __init__(self, design: Design, scripts: Scripts) -> None:
        self._design = design
        self._scripts = scripts
        self._thread = ThreadPoolExecutor(1, "couchmodel-mapper")
        self._mapper: Mapper | None = None

    async def rows(self, changes: ChangeBatch) -> list[DocumentRows]:
        """Return the rows of the changed documents. Raises ResponseError if a function fails."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._rows, changes)

    def close(self) -> None:
        """Close the mapper and end its thread, without waiting for a call that is running."""
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    # The methods from here on run on the thread.
    def _rows(self, changes: ChangeBatch) -> list[DocumentRows]:
        documents = [document for document in changes.documents if document.body is not None]
        if not documents:
            return []
        if self._mapper is None:
            self._mapper = open_mapper(self._design, self._scripts)
        # Emitted rows are many small objects. In small groups they are freed before the garbage collector moves them to
        # its oldest generation.
        return [written for some in _groups(documents) for written in self._map(self._mapper, some)]

    def _map(self, mapper: Mapper, documents: Sequence[ChangedDocument]) -> list[DocumentRows]:
        mapped = mapper.map(documents)
        for view in self._design.views:
            check_values(view.reduce, (value for rows in mapped for _, _, value in rows[view.place]))
        return [row_tuples(self._design, *pair) for pair in zip(documents, mapped, strict=True)]

    def _close(self) -> None:
        if self._mapper is not None:
            self._mapper.close()


def _groups(documents: Sequence[ChangedDocument]) -> Iterator[Sequence[ChangedDocument]]:
    """Yield the documents in groups of ``limits.MAPPED_DOCUMENTS``."""
    for begin in range(0, len(documents), limits.MAPPED_DOCUMENTS):
        yield documents[begin : begin + limits.MAPPED_DOCUMENTS]
