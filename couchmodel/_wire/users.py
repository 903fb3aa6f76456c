"""The user of a request, by name and roles: CouchDB's user context."""

from typing import Final, NamedTuple

__all__ = ["ADMIN", "ANONYMOUS", "User"]


class User(NamedTuple):
    """The user that sends a request.

    ``name`` is None for an anonymous user. ``authenticated_by`` is CouchDB's name of the authentication handler, such
    as ``cookie``.
    """

    name: str | None
    roles: tuple[str, ...] = ()
    authenticated_by: str | None = None

    @property
    def is_admin(self) -> bool:
        """True for an administrator of the server."""
        return "_admin" in self.roles


ADMIN: Final = User("admin", ("_admin",), "default")
"""The user of a store that is opened in the same process without credentials."""

ANONYMOUS: Final = User(None)
"""The user of a request without credentials."""
