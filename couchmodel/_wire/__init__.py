"""CouchDB's vocabulary, spoken by both ends: no I/O, and no knowledge of which end is which."""
