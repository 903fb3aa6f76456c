"""Keeping an index up to date: what has changed is read, made into rows, and written, a batch at a time.

Rows are made on a thread of the mapper's own, for a map function may take seconds, and neither the event loop nor the
writing thread can wait for it. A batch is written only where the index still is as the batch found it, so builds that
meet, in several event loops, are right, and one that was killed goes on where its last batch has ended.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final
from weakref import WeakKeyDictionary

from couchmodel._embedded.javascript.engine import Scripts
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Database, Store
from couchmodel._embedded.views.builtin_reduce import check_values
from couchmodel._embedded.views.designs import Design, parse_design
from couchmodel._embedded.views.map import Mapper, open_mapper
from couchmodel._embedded.views.writer import (
    Changed,
    Changes,
    State,
    Written,
    begin_index,
    drop_stale_indexes,
    read_changes,
    read_state,
    row_tuples,
    write_rows,
)
from couchmodel._wire.messages import decode

__all__ = ["bring_up_to_date", "clean_up", "is_building", "start_build"]

_Builds = dict[tuple[asyncio.AbstractEventLoop, int, str], asyncio.Task[None]]

_builds: Final[WeakKeyDictionary[Store, _Builds]] = WeakKeyDictionary()
"""The builds that are under way, one for an index in each event loop."""

TOGETHER: Final = 100
"""Documents that are put to a map function in one call."""

_log = logging.getLogger("couchmodel.embedded")


async def bring_up_to_date(store: Store, database: Database, design: Design) -> State:
    """The state of an index that has everything which was in the database when it was asked for.

    Raises:
        NotFoundError: the database has been dropped.
        ResponseError: the views cannot be made, such as for a function that does not compile.
    """
    state = await store.read(partial(read_state, database.number, design.signature))
    wanted = state.database_seq
    while state.number is None or state.update_seq < wanted:
        await asyncio.shield(start_build(store, database, design))
        state = await store.read(partial(read_state, database.number, design.signature))
    return state


def start_build(store: Store, database: Database, design: Design) -> asyncio.Task[None]:
    """Return the build of an index that is under way in this event loop, or else begin one."""
    builds = _builds.setdefault(store, {})
    key = asyncio.get_running_loop(), database.number, design.signature
    task = builds.get(key)
    # A build that has ended stays in the table until the loop calls ``done``. To wait for it would not suspend.
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
    """Tell whether an index is being built, in any event loop."""
    builds = _builds.get(store, {})
    return any(
        key[1:] == (database.number, design.signature) and not task.done() and not key[0].is_closed()
        for key, task in tuple(builds.items())
    )


async def clean_up(store: Store, database: Database) -> None:
    """Drop the indexes of design documents that are not there any more, or not as they were.

    Those that are being built stay.
    """
    await store.write(partial(_drop_stale, store, database.number))
    store.clear_indexes()


def _drop_stale(store: Store, database: int, connection: Connection) -> None:
    rows = connection.execute(
        "SELECT id, body FROM document WHERE database = ? AND id >= '_design/' AND id < '_design0' AND NOT deleted",
        (database,),
    )
    current = [parse_design(id, decode(body)).signature for id, body in rows]
    # A request may be by a design document that has changed since. Its index stays while it is built: two builds that
    # dropped each other's would begin again and again.
    building = [key[2] for key in tuple(_builds.get(store, ())) if key[1] == database]
    drop_stale_indexes(database, [*current, *building], connection)


async def _build(store: Store, database: Database, design: Design) -> None:
    state = await store.read(partial(read_state, database.number, design.signature))
    if state.number is None:
        await store.write(partial(begin_index, database.number, design))
        await clean_up(store, database)
        state = await store.read(partial(read_state, database.number, design.signature))
    if state.number is not None:
        mapping = _Mapping(design, database.scripts)
        try:
            await _advance(store, database, design, state, mapping)
        finally:
            mapping.close()


async def _advance(store: Store, database: Database, design: Design, state: State, mapping: "_Mapping") -> None:
    """Index what has changed. The next batch is made into rows while one is written."""
    writing: asyncio.Future[bool] | None = None
    more = True
    try:
        while more:
            changes = await store.scan(partial(read_changes, database.number, design, state))
            written = await mapping.rows(changes)
            if writing is not None and not await writing:
                return  # another build has been faster
            writing = asyncio.ensure_future(store.write(partial(write_rows, database.number, changes, written)))
            state = state._replace(update_seq=changes.upto)
            more = changes.more
        if writing is not None:
            await writing
    finally:
        if writing is not None:
            # What ends the build here, such as a store that is closed, ends the write as well: somebody has to hear it.
            await asyncio.gather(writing, return_exceptions=True)


class _Mapping:
    """A mapper, on a thread of its own from its opening to its end."""

    def __init__(self, design: Design, scripts: Scripts) -> None:
        self._design = design
        self._scripts = scripts
        self._thread = ThreadPoolExecutor(1, "couchmodel-mapper")
        self._mapper: Mapper | None = None

    async def rows(self, changes: Changes) -> list[Written]:
        """The rows of the documents that have changed."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._rows, changes)

    def close(self) -> None:
        """Let the thread end when it can."""
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    def _rows(self, changes: Changes) -> list[Written]:
        documents = [document for document in changes.documents if document.text is not None]
        if not documents:
            return []
        if self._mapper is None:
            self._mapper = open_mapper(self._design, self._scripts)
        # What is emitted is many small objects, which are to be gone before the garbage collector takes them for old.
        return [written for some in _batched(documents) for written in self._map(self._mapper, some)]

    def _map(self, mapper: Mapper, documents: Sequence[Changed]) -> list[Written]:
        mapped = mapper.map([document.text or b"" for document in documents])
        for view in self._design.views:
            check_values(view.reduce, [value for rows in mapped for _, value in rows[view.place]])
        return [row_tuples(self._design, *pair) for pair in zip(documents, mapped, strict=True)]

    def _close(self) -> None:
        if self._mapper is not None:
            self._mapper.close()


def _batched(documents: Sequence[Changed]) -> Iterator[Sequence[Changed]]:
    """The documents, in batches that are fast to map."""
    for begin in range(0, len(documents), TOGETHER):
        yield documents[begin : begin + TOGETHER]
