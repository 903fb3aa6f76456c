"""The users of a server. They are documents of its ``_users`` database."""

from collections.abc import AsyncGenerator, Iterable
from typing import Any, Final

from couchmodel.engine._io.session import Session
from couchmodel.engine.document import DatabaseAddress, Document
from couchmodel.engine.view import AllDocsView
from couchmodel.errors import ConfigurationError

__all__ = ["User", "Users"]

_PREFIX: Final = "org.couchdb.user:"


class Users:
    """The users of a server, without the server admins that are part of its configuration.

    Users who are not server admins may read and change only their own document.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.path = ("_users",)

    def __repr__(self) -> str:
        return f"<Users of {self.session!r}>"

    async def create(self, name: str, password: str, roles: Iterable[str] = (), **members: Any) -> "User":
        """Create a user; further ``members`` are stored in the user's document.

        Raises ConflictError if a user of that name exists; ForbiddenError if CouchDB refuses the document, for example
        because a role begins with an underscore; ConfigurationError if the name or the password is empty.
        """
        user = User(self, name)
        user.update({**members, "name": name, "type": "user", "roles": list(roles)})
        await user.change_password(password)
        return user

    async def names(self, prefix: str = "") -> AsyncGenerator[str, None]:
        """Yield the names of all users, or those that begin with ``prefix``, in the order of their bytes."""
        async for id in AllDocsView(self).ids(prefix=_PREFIX + prefix):
            yield id.removeprefix(_PREFIX)

    async def get(self, name: str) -> "User":
        """Load the user of this name. Raises NotFoundError."""
        user = User(self, name)
        await user.fetch(discard_changes=True)
        return user


class User(Document):
    """A user: a document with a name, roles, and a password that CouchDB keeps as a hash."""

    def __init__(self, users: DatabaseAddress, name: str) -> None:
        """Raises ConfigurationError if the name is empty."""
        if not isinstance(name, str) or not name:
            raise ConfigurationError(f"a user cannot be named {name!r}")
        super().__init__(users, _PREFIX + name)

    @property
    def name(self) -> str:
        """The name that the user logs in with."""
        return self.id.removeprefix(_PREFIX)

    @property
    def roles(self) -> list[str]:
        """A copy of the user's roles, which the security objects of databases can name."""
        return list(self.get("roles", ()))

    async def change_password(self, password: str) -> None:
        """Change the password, and store all other unsaved changes with it.

        This object does not keep the password: it loads CouchDB's hash instead. Raises ConflictError;
        ConfigurationError if the password is empty.
        """
        if not isinstance(password, str) or not password:
            raise ConfigurationError(f"the password of {self.name!r} must be a string that is not empty")
        # In the document for the length of the save: CouchDB replaces it by a hash.
        self["password"] = password
        try:
            await self.save()
        finally:  # also after a save that failed: the object is not to keep the password
            self.pop("password", None)
        await self.fetch(discard_changes=True)

    async def change_roles(self, roles: Iterable[str]) -> None:
        """Replace the roles, and store all other unsaved changes with them.

        Raises ConflictError; ForbiddenError if a role begins with an underscore.
        """
        before = self.get("roles", [])
        self["roles"] = list(roles)
        try:
            await self.save()
        except BaseException:  # also when cancelled: a later save must not store roles that were refused
            self["roles"] = before
            raise
