"""Typed documents: models, queries, attachments, and the repository that maps them onto the engine."""
