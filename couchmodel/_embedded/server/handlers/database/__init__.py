"""The endpoints of a database: lists of documents, bulk reads and writes, changes, queries, indexes and views."""
