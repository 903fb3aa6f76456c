"""The store's file: SQLite connections and threads, tables, locks and the set of databases.

- ``store`` opens and closes it, and passes jobs to ``sqlite``, which alone handles connections and SQLite's errors.
- ``files`` creates and checks the file, ``lockfile`` locks it against other processes, ``schema`` has its tables.
- ``database_row`` and ``meta`` read rows that everything needs. ``readers`` knows what is still read, and ``garbage``
  removes what nothing uses. ``uuids`` makes ids.

Nothing here knows what a document is.
"""
