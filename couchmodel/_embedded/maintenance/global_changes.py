"""Events of databases, recorded in the database ``_global_changes`` if it exists.

Each event is a document. Its id is the kind of the event and the name of the database, as in CouchDB. The same event
again makes a new revision of the document.
"""

import threading
from contextlib import suppress
from typing import Final

from couchmodel._embedded.documents.incoming import parse_document
from couchmodel._embedded.documents.reader import find_winner
from couchmodel._embedded.documents.writer import WriteBatch
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.revisions import Rev
from couchmodel.errors import StoreFileError

__all__ = ["GLOBAL_CHANGES", "GlobalChangesRecorder"]

GLOBAL_CHANGES: Final = "_global_changes"


class GlobalChangesRecorder:
    """The recorder of the events of a store's databases. Events that come before the next write share it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._events: dict[str, None] = {}
        self._lock = threading.Lock()
        # It is called in any thread. ``_write`` runs on the writing thread, so the lock guards the events.
        store.on_event = self._hear

    def _hear(self, event: str, name: str) -> None:
        # A record of its own changes would never end.
        if name == GLOBAL_CHANGES or GLOBAL_CHANGES not in self._store.databases:
            return
        with self._lock:
            is_first = not self._events
            self._events[f"{event}:{name}"] = None
        # Only the first event queues a write. It takes all that have come until it runs.
        if is_first:
            with suppress(StoreFileError):  # the store is being closed
                self._store.enqueue(self._write, on_commit=self._note_written)

    def _write(self, connection: Connection) -> None:
        with self._lock:
            events, self._events = self._events, {}
        database = self._store.databases.get(GLOBAL_CHANGES)
        if database is None:
            return
        writing = WriteBatch(connection, database.number)
        for id in events:
            edit = parse_document({}, id=id)
            found = find_winner(connection, database.number, id)
            edit.path = [Rev.parse(found.rev)] if found else []
            writing.edit(edit)
        writing.finish()

    def _note_written(self, _result: None) -> None:
        database = self._store.databases.get(GLOBAL_CHANGES)
        if database is not None:
            database.notify()
