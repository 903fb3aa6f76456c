"""Pure functions that read and write JSON as CouchDB does, large texts in pieces."""
