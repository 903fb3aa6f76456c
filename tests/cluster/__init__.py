"""Checks of writes through all nodes of a real cluster, where several nodes may take a write of one document at once.

``python -m tests.cluster URL URL URL`` runs them. They are no part of the test suite, as they need a cluster.
"""
