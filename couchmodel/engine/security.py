"""The security object of a database (``_security``): its members and its admins."""

from collections.abc import Iterator, Mapping, MutableMapping
from types import TracebackType
from typing import Any, Self

from couchmodel._wire.messages import Request, encode, request_target
from couchmodel.engine.document import DatabaseAddress
from couchmodel.errors import ForbiddenError, NotFoundError, ServerError
from couchmodel.types import JSONObject

__all__ = ["SecurityDocument"]


class SecurityDocument(MutableMapping[str, Any]):
    """The members and admins of a database, by name and by role. Creating the object sends nothing.

    As an asynchronous context manager it loads the security object, and saves it on exit unless an exception ends the
    block. The object has no revision, so the last save wins.
    """

    def __init__(self, database: DatabaseAddress, data: Mapping[str, Any] | None = None) -> None:
        self._database = database
        self._data: JSONObject = dict(data or {})

    def __repr__(self) -> str:
        return f"<SecurityDocument {self._data}>"

    def __getitem__(self, key: str) -> Any:
        return self._data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._data[key] = value

    def __delitem__(self, key: str) -> None:
        del self._data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    async def __aenter__(self) -> Self:
        await self.fetch()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            await self.save()

    @property
    def path(self) -> tuple[str, ...]:
        """The path of the object, as segments without percent-encoding."""
        return (*self._database.path, "_security")

    @property
    def endpoint(self) -> str:
        """The path of the object, percent-encoded."""
        return request_target(self.path)

    @property
    def data(self) -> JSONObject:
        """The dictionary of the object itself, not a copy."""
        return self._data

    @property
    def json(self) -> JSONObject:
        """A shallow copy of the object as a dictionary."""
        return dict(self._data)

    @property
    def members(self) -> list[str] | None:
        """The users who may read and write documents; None if the object has no such list."""
        return self._get_list("members", "names")

    @property
    def member_roles(self) -> list[str] | None:
        """The roles whose users may read and write documents; None if the object has no such list."""
        return self._get_list("members", "roles")

    @property
    def admins(self) -> list[str] | None:
        """The users who may also change design documents and this object; None if the object has no such list."""
        return self._get_list("admins", "names")

    @property
    def admin_roles(self) -> list[str] | None:
        """The roles whose users may also change design documents and this object; None if there is no such list."""
        return self._get_list("admins", "roles")

    def add_member(self, member: str) -> None:
        """Add a user who may read and write documents."""
        self._add("members", "names", member)

    def add_member_role(self, role: str) -> None:
        """Add a role whose users may read and write documents."""
        self._add("members", "roles", role)

    def add_admin(self, admin: str) -> None:
        """Add a user who may also change design documents and this object."""
        self._add("admins", "names", admin)

    def add_admin_role(self, role: str) -> None:
        """Add a role whose users may also change design documents and this object."""
        self._add("admins", "roles", role)

    def remove_member(self, member: str) -> None:
        """Remove a user from the members. Raises NotFoundError, which is a KeyError, if the user is not listed."""
        self._remove("members", "names", member)

    def remove_member_role(self, role: str) -> None:
        """Remove a role from the members. Raises NotFoundError, which is a KeyError, if the role is not listed."""
        self._remove("members", "roles", role)

    def remove_admin(self, admin: str) -> None:
        """Remove a user from the admins. Raises NotFoundError, which is a KeyError, if the user is not listed."""
        self._remove("admins", "names", admin)

    def remove_admin_role(self, role: str) -> None:
        """Remove a role from the admins. Raises NotFoundError, which is a KeyError, if the role is not listed."""
        self._remove("admins", "roles", role)

    async def fetch(self) -> None:
        """Load the stored security object."""
        self._data = await self._database.session.get(self.path)

    async def save(self) -> None:
        """Store the object. Raises ForbiddenError or UnauthorizedError if the user is not an admin of the database."""
        try:
            await self._database.session.send(Request("PUT", self.path, body=encode(self._data)))
        except ServerError as error:
            # CouchDB gives this reason when each of its nodes refuses the user.
            if error.reason != "no_majority":
                raise
            hint = "only an admin of the database may change it"
            raise ForbiddenError(error.reason, method=error.method, path=error.path, hint=hint) from error

    def _get_list(self, group: str, kind: str) -> list[str] | None:
        # CouchDB before 3.0 makes databases with an empty object.
        listed: list[str] | None = self._data.get(group, {}).get(kind)
        return listed

    def _add(self, group: str, kind: str, name: str) -> None:
        listed = self._data.setdefault(group, {}).setdefault(kind, [])
        if name not in listed:
            listed.append(name)

    def _remove(self, group: str, kind: str, name: str) -> None:
        listed = self._get_list(group, kind) or []
        if name not in listed:
            raise NotFoundError(f"{name!r} is not among the {kind} of the {group}", path=self.endpoint)
        listed.remove(name)
