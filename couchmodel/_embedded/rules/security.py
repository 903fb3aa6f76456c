"""Decide who can read and who can administer a database, according to its security object."""

from collections.abc import Mapping
from typing import Any, Final

from couchmodel._wire.messages import decode
from couchmodel._wire.users import User
from couchmodel.errors import BadRequestError, ForbiddenError, ResponseError, UnauthorizedError

__all__ = ["DEFAULT", "Security", "check_security"]

DEFAULT: Final = {"members": {"roles": ["_admin"]}, "admins": {"roles": ["_admin"]}}
"""The security object of a new database, as in CouchDB since 3.0: it is open to administrators only."""


class Security:
    """The access rules of a database.

    ``document`` is the security object, ``text`` its JSON, or None if none was stored.
    """

    __slots__ = ("_admins", "_members", "_public", "document", "text")

    def __init__(self, text: bytes | None, document: dict[str, Any] | None = None) -> None:
        """Read a security object. ``document`` is the parsed ``text`` if the caller has it already."""
        self.text = text
        self.document: dict[str, Any] = document or (DEFAULT if text is None else decode(text))
        self._admins = _NamesAndRoles(self.document.get("admins", {}))
        # `readers` is the old name of `members`.
        members = _NamesAndRoles(self.document.get("members", self.document.get("readers", {})))
        # CouchDB takes a database without members for a public one.
        self._public = not members.names and not members.roles
        self._members = members

    def is_admin(self, user: User) -> bool:
        """Return True if a user is an administrator of the database or of the server."""
        return user.is_admin or self._admins.has(user)

    def is_member(self, user: User) -> bool:
        """Return True if a user can read the database, and write all documents but design documents."""
        return self._public or self.is_admin(user) or self._members.has(user)

    def require_member(self, user: User) -> None:
        """Raise an error if a user cannot read the database: UnauthorizedError if anonymous, else ForbiddenError."""
        if not self.is_member(user):
            word = "authorized" if user.name is None else "allowed"
            raise _refusal(user, f"You are not {word} to access this db.")

    def require_admin(self, user: User) -> None:
        """Raise an error if a user is no administrator here: UnauthorizedError if anonymous, else ForbiddenError."""
        if not self.is_admin(user):
            raise _refusal(user, "You are not a db or server admin.")


class _NamesAndRoles:
    """The names and roles of the admins or the members.

    The role ``_admin`` needs no rule here, because server administrators pass before a group is checked.
    """

    __slots__ = ("names", "roles")

    def __init__(self, group: Mapping[str, Any]) -> None:
        self.names = set(group.get("names", []))
        self.roles = set(group.get("roles", []))

    def has(self, user: User) -> bool:
        return user.name in self.names or not self.roles.isdisjoint(user.roles)


def check_security(value: object) -> None:
    """Raise BadRequestError if a value is not a security object. CouchDB answers 500 to such a value."""
    if not isinstance(value, dict):
        raise BadRequestError("Security object must be a JSON object")
    for part in ("admins", "members", "readers"):
        group = value.get(part, {})
        if not isinstance(group, dict):
            raise BadRequestError(f"`{part}` must be a JSON object")
        for name in ("names", "roles"):
            listed = group.get(name, [])
            if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
                raise BadRequestError(f"`{part}.{name}` must be a JSON list of strings")


def _refusal(user: User, reason: str) -> ResponseError:
    return UnauthorizedError(reason) if user.name is None else ForbiddenError(reason)
