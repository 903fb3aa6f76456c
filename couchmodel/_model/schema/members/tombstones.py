"""The member of a tombstone that keeps the document it deletes."""

from typing import Final

__all__ = ["REMARKS_MEMBER"]

REMARKS_MEMBER: Final = "deletion_remarks"
"""The name of the member. It has what was said at the deletion; a tombstone without it has kept nothing."""
