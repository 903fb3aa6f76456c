"""The member of a stored document that has the version of its schema."""

from typing import Final

__all__ = ["VERSION_MEMBER"]

VERSION_MEMBER: Final = "schema_version"
"""The name of the member. A document without it is of version 1."""
