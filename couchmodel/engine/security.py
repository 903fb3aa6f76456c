"""Who may read and who may administer a database: its ``_security`` object."""

from collections.abc import Iterator, Mapping, MutableMapping
from types import TracebackType
from typing import Any, Self

from couchmodel._wire.messages import Request, encode, target
from couchmodel.engine.document import Place
from couchmodel.errors import ForbiddenError, NotFoundError, ServerError
from couchmodel.types import JSONObject

__all__ = ["SecurityDocument"]


class SecurityDocument(MutableMapping[str, Any]):
    """The members and admins of a database, by name and by role. Making one sends nothing.

    As a context it is loaded, and saved at the end unless an exception ends it. It has no revision: the last one who
    saves it wins.
    """

    def __init__(self, database: Place, data: Mapping[str, Any] | None = None) -> None:
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
        """Its address, as unquoted segments."""
        return (*self._database.path, "_security")

    @property
    def endpoint(self) -> str:
        """Its address, quoted."""
        return target(self.path)

    @property
    def data(self) -> JSONObject:
        """The live dictionary of it."""
        return self._data

    @property
    def json(self) -> JSONObject:
        """A copy of it."""
        return dict(self._data)

    @property
    def members(self) -> list[str] | None:
        """The users who may read and write; None where nothing is said of them."""
        return self._list("members", "names")

    @property
    def member_roles(self) -> list[str] | None:
        """The roles whose users may read and write."""
        return self._list("members", "roles")

    @property
    def admins(self) -> list[str] | None:
        """The users who may change design documents and this."""
        return self._list("admins", "names")

    @property
    def admin_roles(self) -> list[str] | None:
        """The roles whose users may change design documents and this."""
        return self._list("admins", "roles")

    def add_member(self, member: str) -> None:
        """Add a user who may read and write."""
        self._add("members", "names", member)

    def add_member_role(self, role: str) -> None:
        """Add a role whose users may read and write."""
        self._add("members", "roles", role)

    def add_admin(self, admin: str) -> None:
        """Add a user who may change design documents and this."""
        self._add("admins", "names", admin)

    def add_admin_role(self, role: str) -> None:
        """Add a role whose users may change design documents and this."""
        self._add("admins", "roles", role)

    def remove_member(self, member: str) -> None:
        """Take a user away. Raises NotFoundError, a KeyError, for one who is not there."""
        self._remove("members", "names", member)

    def remove_member_role(self, role: str) -> None:
        """Take a role away. Raises NotFoundError, a KeyError, for one that is not there."""
        self._remove("members", "roles", role)

    def remove_admin(self, admin: str) -> None:
        """Take a user away. Raises NotFoundError, a KeyError, for one who is not there."""
        self._remove("admins", "names", admin)

    def remove_admin_role(self, role: str) -> None:
        """Take a role away. Raises NotFoundError, a KeyError, for one that is not there."""
        self._remove("admins", "roles", role)

    async def fetch(self) -> None:
        """Load what is stored."""
        self._data = await self._database.session.get(self.path)

    async def save(self) -> None:
        """Store it. Raises ForbiddenError, or UnauthorizedError, for whoever is no admin of the database."""
        try:
            await self._database.session.send(Request("PUT", self.path, body=encode(self._data)))
        except ServerError as error:
            # What CouchDB says when its nodes refuse the user, one by one.
            if error.reason != "no_majority":
                raise
            hint = "only an admin of the database may change it"
            raise ForbiddenError(error.reason, method=error.method, path=error.path, hint=hint) from error

    def _list(self, group: str, kind: str) -> list[str] | None:
        listed: list[str] | None = self._data.get(group, {}).get(kind)
        return listed

    def _add(self, group: str, kind: str, name: str) -> None:
        listed = self._data.setdefault(group, {}).setdefault(kind, [])
        if name not in listed:
            listed.append(name)

    def _remove(self, group: str, kind: str, name: str) -> None:
        listed = self._list(group, kind) or []
        if name not in listed:
            raise NotFoundError(f"{name!r} is not among the {kind} of the {group}", path=self.endpoint)
        listed.remove(name)
