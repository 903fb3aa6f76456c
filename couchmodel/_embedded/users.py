"""What users may write, beside what the security of a database says."""

from couchmodel._embedded.edits import Edit
from couchmodel._embedded.store import Database
from couchmodel._embedded.writing import Check
from couchmodel._wire.users import User

__all__ = ["check_for"]


def check_for(database: Database, user: User) -> Check | None:
    """What each write of a user to a database has to pass; None where they may write anything."""
    if database.security.is_admin(user):
        return None

    def check(edit: Edit) -> None:
        if edit.id.startswith("_design/"):
            database.security.require_admin(user)

    return check
