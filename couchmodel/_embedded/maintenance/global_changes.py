"""What becomes of databases, written down in ``_global_changes`` where somebody has made that database.

Each event is a document whose id has its kind and the database's name, as in CouchDB; the same event again is a new
revision of it.
"""

import threading
from contextlib import suppress
from typing import Final

from couchmodel._embedded.documents.incoming import parse_document
from couchmodel._embedded.documents.reader import winner
from couchmodel._embedded.documents.writer import Writing
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.revisions import Rev
from couchmodel.errors import StoreFileError

__all__ = ["GLOBAL_CHANGES", "Updates"]

GLOBAL_CHANGES: Final = "_global_changes"


class Updates:
    """Writes down what becomes of the databases of a store. Those of one moment are written together."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._events: dict[str, None] = {}
        self._lock = threading.Lock()
        store.heard = self._hear

    def _hear(self, event: str, name: str) -> None:
        if name == GLOBAL_CHANGES or GLOBAL_CHANGES not in self._store.databases:
            return
        with self._lock:
            is_first = not self._events
            self._events[f"{event}:{name}"] = None
        if is_first:
            with suppress(StoreFileError):  # it is being closed
                self._store.enqueue(self._write, committed=self._written)

    def _write(self, connection: Connection) -> None:
        with self._lock:
            events, self._events = self._events, {}
        database = self._store.databases.get(GLOBAL_CHANGES)
        if database is None:
            return
        writing = Writing(connection, database.number)
        for id in events:
            edit = parse_document({}, id=id)
            found = winner(database.number, id, connection)
            edit.path = [Rev.parse(found.rev)] if found else []
            writing.edit(edit)
        writing.finish()

    def _written(self, _result: None) -> None:
        database = self._store.databases.get(GLOBAL_CHANGES)
        if database is not None:
            database.notify()
