"""Deletions: tombstones that keep their document, purges, which keep nothing, and what links do to a deletion."""
