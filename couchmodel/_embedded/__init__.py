"""CouchDB's semantics on SQLite: a router that answers the requests that a CouchDB server answers."""
