"""Who asks: a name and roles, CouchDB's user context."""

from typing import Final, NamedTuple

__all__ = ["ADMIN", "NOBODY", "User"]


class User(NamedTuple):
    """Whoever sends a request; ``name`` is None for a stranger, ``by`` the way that they were recognised."""

    name: str | None
    roles: tuple[str, ...] = ()
    by: str | None = None

    @property
    def is_admin(self) -> bool:
        """Whether this is an administrator of the server."""
        return "_admin" in self.roles


ADMIN: Final = User("admin", ("_admin",), "default")
"""Whoever opened the store in their own process."""

NOBODY: Final = User(None)
"""Whoever has not said who they are."""
