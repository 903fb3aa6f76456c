"""Replication between any two databases, by CouchDB's replication protocol, over the transport of each.

``replication`` is one session between two ``peer`` databases, with ``options`` and ``filters``. ``transfer`` moves the
revisions, and ``checkpoints`` are what both databases remember for the next session.
"""
