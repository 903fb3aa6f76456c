"""The security object of a database: who its members are and who its administrators."""

from collections.abc import Mapping
from typing import Any, Final

from couchmodel._wire.messages import decode
from couchmodel._wire.users import User
from couchmodel.errors import BadRequestError, ForbiddenError, ResponseError, UnauthorizedError

__all__ = ["DEFAULT", "Security", "check_security"]

DEFAULT: Final = {"members": {"roles": ["_admin"]}, "admins": {"roles": ["_admin"]}}


class Security:
    """Who may do what with a database. ``document`` is the security object, ``text`` its JSON where one was stored."""

    __slots__ = ("_admins", "_members", "_public", "document", "text")

    def __init__(self, text: bytes | None, document: dict[str, Any] | None = None) -> None:
        """``document`` spares a parser the text, where it is at hand."""
        self.text = text
        self.document: dict[str, Any] = document or (DEFAULT if text is None else decode(text))
        self._admins = _Group(self.document.get("admins", {}))
        members = _Group(self.document.get("members", self.document.get("readers", {})))
        self._public = not members.names and not members.roles
        self._members = members

    def is_admin(self, user: User) -> bool:
        """Whether somebody administers the database, as every administrator of the server does."""
        return user.is_admin or self._admins.has(user)

    def is_member(self, user: User) -> bool:
        """Whether somebody may read the database, and write what is no design document."""
        return self._public or self.is_admin(user) or self._members.has(user)

    def require_member(self, user: User) -> None:
        """Raise UnauthorizedError for a stranger, ForbiddenError for a user, where they may not read the database."""
        if not self.is_member(user):
            word = "authorized" if user.name is None else "allowed"
            raise _refusal(user, f"You are not {word} to access this db.")

    def require_admin(self, user: User) -> None:
        """Raise UnauthorizedError for a stranger, ForbiddenError for a user, who does not administer the database."""
        if not self.is_admin(user):
            raise _refusal(user, "You are not a db or server admin.")


class _Group:
    """Names and roles. An administrator's own role is no group of a database: they are let in before it is asked."""

    __slots__ = ("names", "roles")

    def __init__(self, group: Mapping[str, Any]) -> None:
        self.names = _set(group.get("names", []))
        self.roles = _set(group.get("roles", []))

    def has(self, user: User) -> bool:
        return user.name in self.names or not self.roles.isdisjoint(user.roles)


def _set(values: list[str]) -> set[str]:
    """The set of a list, which may be long: nobody else gets a turn while values are put into it."""
    result: set[str] = set()
    for start in range(0, len(values), _TOGETHER):
        result.update(values[start : start + _TOGETHER])
    return result


_TOGETHER: Final = 10_000


def check_security(value: object) -> None:
    """Raise BadRequestError for what is no security object. CouchDB answers 500 to it."""
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
