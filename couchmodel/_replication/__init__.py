"""Replication between any two databases, by CouchDB's replication protocol, over the transport of each."""
