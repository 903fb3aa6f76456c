"""JSON as CouchDB reads and writes it, large texts a piece at a time. Everything here is pure."""
