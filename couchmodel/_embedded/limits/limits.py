"""How much of something is much: sizes from which on work leaves the event loop."""

from typing import Final

__all__ = ["LARGE"]

LARGE: Final = 65_536
"""Bytes of a body that is not taken apart in the event loop."""
