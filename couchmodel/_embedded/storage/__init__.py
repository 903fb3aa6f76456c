"""The store's file: SQLite connections and threads, tables, locks and the set of databases.

- ``store`` opens and closes it, runs jobs and keeps the set of its databases. ``database`` is one of them.
- ``connections`` are those of an open store. ``inline`` runs a job in the event loop, ``worker`` on a thread, both in
  the ``transactions`` that leave a connection clean. ``sqlite`` opens connections and knows SQLite's errors.
- ``files`` creates and checks the file, ``lockfile`` locks it against other processes, ``schema`` has its tables.
- ``database_row`` and ``meta`` read and write rows that everything needs. ``readers`` knows what is still read, and
  ``garbage`` removes what nothing uses. ``uuids`` makes ids.

Nothing here knows what a document is.
"""
