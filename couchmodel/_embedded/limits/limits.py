"""Define sizes from which on work leaves the event loop for a thread."""

from typing import Final

__all__ = ["LARGE"]

LARGE: Final = 65_536
"""Bytes of a body from which on it is parsed on a thread."""
