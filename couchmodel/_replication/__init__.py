"""Replication between any two databases: CouchDB's protocol, spoken to each end over its transport."""
