"""Reasons of errors that are recognised by their words, which are CouchDB's."""

from typing import Final

__all__ = ["NO_DATABASE"]

NO_DATABASE: Final = "Database does not exist."
"""The reason of an error 404 for a database, which tells it apart from one for a document."""
