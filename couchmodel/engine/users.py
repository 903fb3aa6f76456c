"""The users of a server, which are documents of its ``_users`` database."""

from collections.abc import AsyncGenerator, Iterable
from typing import Any, Final

from couchmodel.engine._io.session import Session
from couchmodel.engine.document import Document, Place
from couchmodel.engine.view import AllDocsView
from couchmodel.errors import ConfigurationError

__all__ = ["User", "Users"]

_PREFIX: Final = "org.couchdb.user:"


class Users:
    """The users of a server. Server admins that stand in its configuration are not among them.

    Whoever is no admin of the server may read and change themselves only.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.path = ("_users",)

    def __repr__(self) -> str:
        return f"<Users of {self.session!r}>"

    async def create(self, name: str, password: str, roles: Iterable[str] = (), **members: Any) -> "User":
        """Create a user; further ``members`` are kept in their document.

        Raises ConflictError where there is one of that name; ForbiddenError for what CouchDB does not accept, such as a
        role that begins with an underscore; ConfigurationError for an empty name or password.
        """
        user = User(self, name)
        user.update({**members, "name": name, "type": "user", "roles": list(roles)})
        await user.change_password(password)
        return user

    async def names(self, prefix: str = "") -> AsyncGenerator[str, None]:
        """The names of all users, in their order, or of those that begin with ``prefix``."""
        async for id in AllDocsView(self).ids(prefix=_PREFIX + prefix):
            yield id.removeprefix(_PREFIX)

    async def get(self, name: str) -> "User":
        """The user of this name. Raises NotFoundError."""
        user = User(self, name)
        await user.fetch(discard_changes=True)
        return user


class User(Document):
    """A user: a document with a name, roles, and a password that CouchDB keeps as a hash."""

    def __init__(self, users: Place, name: str) -> None:
        """Raises ConfigurationError for an empty name."""
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"a user cannot be named {name!r}")
        super().__init__(users, _PREFIX + name)

    @property
    def name(self) -> str:
        """The name to log in with."""
        return self.id.removeprefix(_PREFIX)

    @property
    def roles(self) -> list[str]:
        """What the security of databases may ask for."""
        return list(self.get("roles", ()))

    async def change_password(self, password: str) -> None:
        """Give them another password, and store what else has been changed here.

        The password does not stay here: CouchDB's hash of it takes its place. Raises ConflictError; ConfigurationError
        for an empty password.
        """
        if not isinstance(password, str) or not password:
            raise ConfigurationError(f"the password of {self.name!r} has to be a text, and not an empty one")
        self["password"] = password
        try:
            await self.save()
        finally:
            self.pop("password", None)
        await self.fetch(discard_changes=True)

    async def change_roles(self, roles: Iterable[str]) -> None:
        """Give them these roles instead, and store what else has been changed here.

        Raises ConflictError; ForbiddenError for a role that begins with an underscore.
        """
        before = self.get("roles", [])
        self["roles"] = list(roles)
        try:
            await self.save()
        except BaseException:
            self["roles"] = before
            raise
