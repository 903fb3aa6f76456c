"""What users may write, beside what the security of a database says."""

from couchmodel._embedded.edits import Edit
from couchmodel._embedded.store import Database
from couchmodel._embedded.validation import Author
from couchmodel._embedded.writing import Check
from couchmodel._wire.users import User

__all__ = ["check_for"]


def check_for(database: Database, user: User) -> Check:
    """What each write of a user to a database has to pass."""
    author = Author(user, database.name, database.security.document, database.scripts)
    if database.security.is_admin(user):
        return Check(author)

    def admit(edit: Edit) -> None:
        if edit.id.startswith("_design/"):
            database.security.require_admin(user)

    return Check(author, admit)
