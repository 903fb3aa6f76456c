"""Limits of time and size, and turns between pieces of work on a thread."""
