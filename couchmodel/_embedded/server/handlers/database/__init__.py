"""The endpoints of a database: its documents together, changes, queries, indexes, views."""
