"""The file: SQLite's connections and threads, tables, locks, and the set of databases. It knows no documents."""
