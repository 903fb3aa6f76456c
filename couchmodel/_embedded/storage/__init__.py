"""The store's file: SQLite connections and threads, tables, locks and the set of databases.

Nothing here knows what a document is.
"""
