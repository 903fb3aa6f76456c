"""Deletions: tombstones that keep their document, and purges, which keep nothing."""
