"""An exchange: a request that is being answered, with what the server knows about it.

Handlers take an exchange and return a response. The functions below them take what they need of it.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from couchmodel._embedded.auth.authentication import Authentication
from couchmodel._embedded.replicator.scheduler import Replicator
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import EMPTY, Request
from couchmodel._wire.users import User

__all__ = ["IN_PROCESS", "Client", "Exchange", "Services"]


class Client(NamedTuple):
    """The sender of a request: the address, empty in the same process, and True if the request came over TLS."""

    address: str = ""
    secure: bool = False


IN_PROCESS: Final = Client()
"""The client in the same process."""


class Services(NamedTuple):
    """The parts of a server that handlers use."""

    store: Store
    authentication: Authentication
    replicator: Replicator


class Exchange:
    """A request that is being answered.

    - ``user``: the user on whose behalf it is answered; ``client``: where it came from.
    - ``arguments``: the parts of the path that the pattern of its route names.
    - ``services``: the parts of the server; ``store``: one of them, which nearly every handler needs.
    """

    __slots__ = ("_database", "arguments", "client", "request", "services", "store", "user")

    def __init__(self, services: Services, request: Request, user: User, client: Client) -> None:
        self.services = services
        self.store = services.store
        self.request = request
        self.user = user
        self.client = client
        self.arguments: Mapping[str, str] = EMPTY
        self._database: Database | None = None

    @property
    def database(self) -> Database:
        """The database that the first segment of the path names. Raises NotFoundError if there is none."""
        database = self._database
        # Looked up once: a database that is dropped meanwhile stays this request's, and its reads raise NotFoundError.
        if database is None:
            database = self._database = self.store.database(self.request.path[0])
        return database
