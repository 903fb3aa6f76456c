"""A CouchDB server, or an embedded store that is one."""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, cast

from couchmodel._wire.messages import Request, Transport
from couchmodel.engine._io.parameters import exact, lenient
from couchmodel.engine._io.session import Session
from couchmodel.engine.database import Database
from couchmodel.engine.replication import Replications
from couchmodel.engine.server import active_tasks, is_up, membership
from couchmodel.engine.users import Users
from couchmodel.errors import NotFoundError, PreconditionFailedError, UnauthorizedError
from couchmodel.transports import open_transport
from couchmodel.types import ActiveTask, Membership, ServerInfo

__all__ = ["CouchDB"]


class CouchDB:
    """A server of databases. Making one sends nothing; leaving its context closes it."""

    def __init__(
        self,
        server: str | Transport,
        user: str | None = None,
        password: str | None = None,
        cookie: str | None = None,
        **options: Any,
    ) -> None:
        """``server`` is a URL (``http://…``, ``https://…``, ``sqlite:FILE``, ``memory:``) or a transport of your own.

        ``user`` and ``password`` may stand in the URL as well; ``cookie`` is the value of an ``AuthSession``. Further
        ``options`` are those of :class:`~couchmodel.transports.HTTPTransport`: ``auth``, ``headers``, ``ca``,
        ``patience``, ``connections``, and what :class:`aiohttp.ClientSession` takes. Raises ConfigurationError for a
        URL of no known form, and for arguments that cannot work.
        """
        if isinstance(server, str):
            transport = open_transport(server, user, password, cookie=cookie, **options)
        else:
            transport = server
        self.session = Session(transport)

    def __repr__(self) -> str:
        return f"<CouchDB {self.session!r}>"

    async def __aenter__(self) -> Self:
        self.session.reopen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.shield(self.close())

    def __getitem__(self, id: str) -> Coroutine[Any, Any, Database]:
        """``await couch[id]`` is the database. Raises NotFoundError."""
        return self._there(id)

    def database(self, id: str) -> Database:
        """The database of this name; nothing is sent."""
        return Database(self, id)

    async def create(self, id: str, exists_ok: bool = False, **params: Any) -> Database:
        """Create a database; ``params`` are ``q``, ``n`` and ``partitioned``.

        Raises PreconditionFailedError where there is one of that name, unless ``exists_ok``; BadRequestError for a name
        that CouchDB refuses; UnauthorizedError for whoever is no admin of the server.
        """
        database = Database(self, id)
        try:
            await self.session.send(Request("PUT", database.path, exact(params)))
        except PreconditionFailedError:
            if not exists_ok:
                raise
        except UnauthorizedError:
            # CouchDB asks who may create it before it looks whether it is there.
            if not exists_ok or not await database.exists():
                raise
        return database

    async def keys(self, **params: Any) -> list[str]:
        """The names of all databases; ``params`` are those of ``_all_dbs``, such as ``startkey`` and ``limit``."""
        return cast(list[str], await self.session.get(("_all_dbs",), lenient(params)))

    async def info(self) -> ServerInfo:
        """The server's welcome."""
        return cast(ServerInfo, await self.session.get(()))

    @property
    def users(self) -> Users:
        """Its users, to create and to change."""
        return Users(self.session)

    @property
    def replications(self) -> Replications:
        """The replications that it runs itself."""
        return Replications(self.session)

    async def up(self) -> bool:
        """Whether it takes requests; it does not while it starts, stops, or is put into maintenance."""
        return await is_up(self.session)

    async def active_tasks(self) -> list[ActiveTask]:
        """What it is doing: compacting, indexing, replicating. Raises UnauthorizedError, ForbiddenError."""
        return await active_tasks(self.session)

    async def membership(self) -> Membership:
        """The nodes of its cluster. Raises UnauthorizedError, ForbiddenError."""
        return await membership(self.session)

    async def check_credentials(self) -> None:
        """Raise UnauthorizedError where the name or the password is wrong."""
        await self.session.send(Request("GET", ("_session",)))

    async def close(self) -> None:
        """Let go of connections and files. Closing twice is harmless."""
        await self.session.close()

    async def _there(self, id: str) -> Database:
        database = self.database(id)
        if not await database.exists():
            raise NotFoundError("Database does not exist.", method="HEAD", path=database.endpoint)
        return database
