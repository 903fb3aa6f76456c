"""Read the users of a server, hash their passwords, and check writes according to the user and the database.

Users are the documents of the database ``_users``. The checks of CouchDB's ``_design/_auth`` in that database are made
here. Only server administrators can read and write it, since its security object is CouchDB's default and fixed.
"""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

from couchmodel._embedded import limits
from couchmodel._embedded.auth import passwords
from couchmodel._embedded.documents.incoming import Edit
from couchmodel._embedded.documents.reader import ReadOptions, open_winner
from couchmodel._embedded.documents.verdicts import Author, Verdicts
from couchmodel._embedded.documents.writer import WriteCheck
from couchmodel._embedded.replicator.jobs import parse_replication_request
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import decode, encode
from couchmodel._wire.users import User
from couchmodel.errors import BadRequestError, ForbiddenError, NotFoundError, ServerError, UnauthorizedError

__all__ = [
    "PREFIX",
    "USERS",
    "UserDocument",
    "hash_password",
    "hash_passwords",
    "hashing_threads",
    "read_user",
    "write_check",
]

USERS: Final = "_users"
"""The name of the database of users."""

PREFIX: Final = "org.couchdb.user:"
"""The beginning of a user document's id, before the user's name."""


def hashing_threads() -> ThreadPoolExecutor:
    """Return the threads that hash passwords. Hashing would block the event loop, or hold up the work of other threads.

    A forked process does not inherit its parent's threads, so it gets its own.
    """
    return _make_threads(os.getpid())


@lru_cache(maxsize=1)
def _make_threads(process: int) -> ThreadPoolExecutor:
    # Two: hashing takes 150 ms of a core, and other work needs cores, too.
    return ThreadPoolExecutor(2, thread_name_prefix="couchmodel-passwords")


class UserDocument(NamedTuple):
    """A user as stored: the roles, and ``kept``, the members with the password's hash."""

    roles: tuple[str, ...]
    kept: dict[str, Any]

    def __repr__(self) -> str:
        return f"<UserDocument {list(self.roles)}>"  # without the hash


async def read_user(store: Store, name: str) -> UserDocument | None:
    """Read a user by name; None if there is none. Raises UnauthorizedError if the user's document has conflicts."""
    database = store.databases.get(USERS)
    if database is None:
        return None
    try:
        opened = await store.read(open_winner, database.number, PREFIX + name, ReadOptions(conflicts=True))
    except NotFoundError:
        return None
    document = decode(opened.text)
    if "_conflicts" in document:
        reason = "User document conflicts must be resolved before the document is used for authentication purposes."
        raise UnauthorizedError(reason)
    return UserDocument(tuple(document.get("roles", ())), document)


async def hash_password(database: Database, edit: Edit) -> None:
    """Replace the password in a write to the users' database by its hash.

    Raises ForbiddenError if the password is not a string, ContentTooLargeError if the document is too large.
    """
    if database.name != USERS:
        return
    body = edit.body if len(edit.text) <= limits.LARGE_BODY else await asyncio.to_thread(getattr, edit, "body")
    if body.get("password") is not None:
        edit.content = await _hash_in_thread(body)
        edit.text = encode(edit.content)


async def hash_passwords(database: Database, documents: list[Any]) -> list[Any]:
    """Return documents to be written, with hashes instead of passwords if they go to the users' database.

    Raises ForbiddenError if a password is not a string.
    """
    if database.name != USERS:
        return documents
    return [await _hash_in_thread(document) if _has_password(document) else document for document in documents]


def write_check(database: Database, user: User) -> WriteCheck:
    """Return the check that each write of a user to a database has to pass."""
    author = Author(user, database.name, database.security.document, database.validation_scripts)
    verdicts = Verdicts(author)
    if database.name == USERS:
        return WriteCheck(author, verdicts, partial(_check_user, database, user))
    if database.name == "_replicator":
        return WriteCheck(author, verdicts, partial(_check_replication, database, user))
    if database.security.is_admin(user):
        return WriteCheck(author, verdicts)
    return WriteCheck(author, verdicts, partial(_check_design, database, user))


async def _hash_in_thread(document: dict[str, Any]) -> dict[str, Any]:
    return await asyncio.get_running_loop().run_in_executor(hashing_threads(), passwords.with_hash, document)


def _has_password(document: object) -> bool:
    return isinstance(document, dict) and document.get("password") is not None


def _check_design(database: Database, user: User, edit: Edit) -> None:
    if edit.id.startswith("_design/"):
        database.security.require_admin(user)


def _check_user(database: Database, user: User, edit: Edit) -> None:
    """Raise ForbiddenError if a document is not a valid user, with CouchDB's reasons in CouchDB's order."""
    database.security.require_admin(user)
    # CouchDB's `?AUTH_DB_DOC_VALIDATE_FUNCTION` (`couch_js_functions.hrl`), check by check: the first that fails is
    # what the client is told.
    if edit.deleted or edit.id.startswith("_design/"):
        return
    body = edit.body
    if body.get("type") != "user":
        raise ForbiddenError("doc.type must be user")
    if not body.get("name"):
        raise ForbiddenError("doc.name is required")
    _check_roles(body.get("roles"))
    if edit.id != f"{PREFIX}{body['name']}":
        raise ForbiddenError("Doc ID must be of the form org.couchdb.user:name")
    _check_password(body)
    _check_name(body["name"], body["roles"])


def _check_roles(roles: object) -> None:
    # What JavaScript takes for false in `!newDoc.roles`. An empty array is true there.
    if roles is None or roles is False or roles in ("", 0):
        raise ForbiddenError("doc.roles must exist")
    if not isinstance(roles, list):
        raise ForbiddenError("doc.roles must be an array")
    if not all(isinstance(role, str) for role in roles):
        raise ForbiddenError("doc.roles can only contain strings")


def _check_password(body: dict[str, Any]) -> None:
    scheme = body.get("password_scheme")
    if body.get("password_sha") and not body.get("salt"):
        reason = "Users with password_sha must have a salt.See /_utils/script/couch.js for example code."
        raise ForbiddenError(reason)
    if scheme and scheme not in ("simple", "pbkdf2", "simple+pbkdf2"):
        raise ForbiddenError(f"Password scheme `{scheme}` not supported.")
    if scheme == "pbkdf2":
        if not isinstance(body.get("iterations"), int | float):
            raise ForbiddenError("iterations must be a number.")
        if not isinstance(body.get("derived_key"), str):
            raise ForbiddenError("derived_key must be a string.")


def _check_name(name: object, roles: list[str]) -> None:
    if any(role.startswith("_") and role != "_metrics" for role in roles):
        raise ForbiddenError("No system roles (starting with underscore) in users db.")
    if not isinstance(name, str):
        raise ForbiddenError("doc.name must be a string")
    if name.startswith("_"):
        raise ForbiddenError("Username may not start with underscore.")
    if ":" in name:
        raise ForbiddenError("Character `:` is not allowed in usernames.")


def _check_replication(database: Database, user: User, edit: Edit) -> None:
    """Raise ForbiddenError if a document does not describe a replication, as CouchDB does."""
    if edit.id.startswith("_design/"):
        database.security.require_admin(user)
    # A replication that failed is marked in its own document, which has to be written although it is invalid.
    elif not edit.deleted and edit.body.get("_replication_state") != "failed":
        try:
            parse_replication_request(edit.body)
        except (BadRequestError, ServerError) as error:
            raise ForbiddenError(error.reason) from None
