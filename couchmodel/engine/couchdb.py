"""A CouchDB server, or an embedded store that is one."""

import asyncio
from collections.abc import Generator
from types import TracebackType
from typing import Any, Self, cast

from couchmodel._wire.messages import Request, Transport, encode
from couchmodel.engine.database import Database
from couchmodel.engine.session import Session
from couchmodel.errors import NotFoundError, PreconditionFailedError
from couchmodel.transports import open_transport
from couchmodel.types import ServerInfo

__all__ = ["CouchDB"]


class CouchDB:
    """A server of databases. Making one sends nothing; leaving its context closes it."""

    def __init__(
        self, server: str | Transport, user: str | None = None, password: str | None = None, **options: Any
    ) -> None:
        """``server`` is a URL (``http://…``, ``https://…``, ``sqlite:FILE``, ``memory:``) or a transport of your own.

        ``user`` and ``password`` may stand in the URL as well; ``options`` go to :class:`aiohttp.ClientSession`.
        Raises ConfigurationError for a URL of no known form.
        """
        transport = open_transport(server, user, password, **options) if isinstance(server, str) else server
        self.session = Session(transport)

    def __repr__(self) -> str:
        return f"<CouchDB {self.session!r}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.shield(self.close())

    def __getitem__(self, id: str) -> "_Awaitable":
        """``await couch[id]`` is the database. Raises NotFoundError."""
        return _Awaitable(self, id)

    def database(self, id: str) -> Database:
        """The database of this name; nothing is sent."""
        return Database(self, id)

    async def create(self, id: str, exists_ok: bool = False, **params: Any) -> Database:
        """Create a database; ``params`` are ``q``, ``n`` and ``partitioned``.

        Raises PreconditionFailedError where there is one of that name, unless ``exists_ok``; BadRequestError for a name
        that CouchDB refuses.
        """
        database = Database(self, id)
        query = {name: encode(value).decode() for name, value in params.items()}
        try:
            await self.session.send(Request("PUT", database.path, query))
        except PreconditionFailedError:
            if not exists_ok:
                raise
        return database

    async def keys(self, **params: Any) -> list[str]:
        """The names of all databases."""
        query = {name: encode(value).decode() for name, value in params.items()}
        return cast(list[str], await self.session.get(("_all_dbs",), query))

    async def info(self) -> ServerInfo:
        """The server's welcome."""
        return cast(ServerInfo, await self.session.get(()))

    async def check_credentials(self) -> None:
        """Raise UnauthorizedError where the name or the password is wrong."""
        await self.session.send(Request("GET", ("_session",)))

    async def close(self) -> None:
        """Let go of connections and files. Closing twice is harmless."""
        await self.session.close()


class _Awaitable:
    """What ``couch[id]`` is until it is awaited."""

    def __init__(self, couch: CouchDB, id: str) -> None:
        self._couch = couch
        self._id = id

    def __await__(self) -> Generator[Any, None, Database]:
        return self._get().__await__()

    async def _get(self) -> Database:
        database = self._couch.database(self._id)
        if not await database.exists():
            raise NotFoundError("Database does not exist.", method="HEAD", path=f"/{self._id}")
        return database
