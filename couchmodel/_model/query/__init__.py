"""Queries as values: conditions, an order and limits, and the selector that CouchDB is asked."""
