"""The client of a CouchDB server or of an embedded store."""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, cast

from couchmodel._wire.messages import Request, Transport
from couchmodel._wire.reasons import NO_DATABASE
from couchmodel.engine._io.parameters import encode_aiocouch_params, encode_params
from couchmodel.engine._io.session import Session
from couchmodel.engine.database import Database
from couchmodel.engine.replication import Replications
from couchmodel.engine.users import Users
from couchmodel.errors import NotFoundError, PreconditionFailedError, UnauthorizedError, UnavailableError
from couchmodel.transports import open_transport
from couchmodel.types import ActiveTask, Membership, ServerInfo

__all__ = ["CouchDB"]


class CouchDB:
    """A CouchDB server, or an embedded store. Creating the object sends nothing; leaving its context closes it."""

    def __init__(
        self,
        server: str | Transport,
        user: str | None = None,
        password: str | None = None,
        cookie: str | None = None,
        **options: Any,
    ) -> None:
        """``server`` is a URL (``http://…``, ``https://…``, ``sqlite:FILE``, ``memory:``) or a transport of your own.

        ``user`` and ``password`` may be part of the URL instead; ``cookie`` is the value of an ``AuthSession`` cookie.
        Further ``options`` are those of :class:`~couchmodel.transports.HTTPTransport`: ``auth``, ``headers``, ``ca``,
        ``retry_policy``, ``connections``, and the arguments of :class:`aiohttp.ClientSession`. Raises
        ConfigurationError if the URL has no known form or if the arguments cannot work.
        """
        if isinstance(server, str):
            transport = open_transport(server, user, password, cookie=cookie, **options)
        else:
            transport = server
        self.session = Session(transport)

    def __repr__(self) -> str:
        return f"<CouchDB {self.session!r}>"

    async def __aenter__(self) -> Self:
        # A context may be entered again after it was left.
        self.session.reopen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A cancelled task is to close its connections and files as well.
        await asyncio.shield(self.close())

    def __getitem__(self, id: str) -> Coroutine[Any, Any, Database]:
        """Return the database by ``await couch[id]``. Raises NotFoundError if the server does not have it."""
        return self._get_existing(id)

    def database(self, id: str) -> Database:
        """Return the database of this name. Sends nothing, so the database need not exist.

        Raises BadRequestError if no database may have this name.
        """
        return Database(self, id)

    async def create(self, id: str, exists_ok: bool = False, **params: Any) -> Database:
        """Create a database; ``params`` are ``q``, ``n`` and ``partitioned``.

        Raises PreconditionFailedError if the database exists, unless ``exists_ok``; BadRequestError if CouchDB refuses
        the name; UnauthorizedError if the user is not an admin of the server.
        """
        database = Database(self, id)
        try:
            await self.session.send(Request("PUT", database.path, encode_params(params)))
        except PreconditionFailedError:
            if not exists_ok:
                raise
        except UnauthorizedError:
            # CouchDB checks who may create a database before it checks whether the database exists.
            if not exists_ok or not await database.exists():
                raise
        return database

    async def keys(self, **params: Any) -> list[str]:
        """Return the names of all databases; ``params`` are those of ``_all_dbs``, e.g. ``startkey`` and ``limit``."""
        return cast(list[str], await self.session.get(("_all_dbs",), encode_aiocouch_params(params)))

    async def info(self) -> ServerInfo:
        """Return the server's welcome message (``GET /``), which has its version and features."""
        return cast(ServerInfo, await self.session.get(()))

    @property
    def users(self) -> Users:
        """The users of the server, which can be created and changed."""
        return Users(self.session)

    @property
    def replications(self) -> Replications:
        """The replications that the server runs itself."""
        return Replications(self.session)

    async def up(self) -> bool:
        """Return True if the server takes requests. It does not while it starts, stops, or is in maintenance mode."""
        try:
            answer = await self.session.get(("_up",))
        except (UnavailableError, NotFoundError):  # CouchDB answers 404 in maintenance mode
            return False
        return bool(answer.get("status") == "ok")

    async def active_tasks(self) -> list[ActiveTask]:
        """Return the tasks the server is running, such as compaction, indexing and replication.

        Raises UnauthorizedError or ForbiddenError if the user is not an admin of the server.
        """
        return cast(list[ActiveTask], await self.session.get(("_active_tasks",)))

    async def membership(self) -> Membership:
        """Return the nodes of the cluster.

        Raises UnauthorizedError or ForbiddenError if the user is not an admin of the server.
        """
        return cast(Membership, await self.session.get(("_membership",)))

    async def check_credentials(self) -> None:
        """Raise UnauthorizedError if the user name or the password is wrong."""
        await self.session.send(Request("GET", ("_session",)))

    async def close(self) -> None:
        """Close the connections and files. Closing twice is harmless."""
        await self.session.close()

    async def _get_existing(self, id: str) -> Database:
        database = self.database(id)
        if not await database.exists():
            raise NotFoundError(NO_DATABASE, method="HEAD", path=database.endpoint)
        return database
