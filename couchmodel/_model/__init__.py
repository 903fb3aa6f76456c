"""Typed documents: models, queries, attachments, and the repositories that store them through the engine."""
