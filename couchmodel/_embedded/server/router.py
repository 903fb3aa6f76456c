"""Route requests to the handlers of endpoints, and turn errors into responses.

The router never raises for a client's mistake. Only here do errors become responses. An exception that is not one of
this library's errors is a fault of the store: it is logged, and the response is 500.
"""

import logging
from typing import Final

from couchmodel._embedded.auth.authentication import Authentication
from couchmodel._embedded.maintenance.global_changes import GlobalChangesRecorder
from couchmodel._embedded.replicator.endpoints import OpenTransport
from couchmodel._embedded.replicator.scheduler import REPLICATOR, Replicator
from couchmodel._embedded.rules.params import check_text
from couchmodel._embedded.rules.partitions import require_partition
from couchmodel._embedded.server.endpoints import (
    ATTACHMENT,
    AUTH_ENDPOINTS,
    COMPACT_DESIGN,
    DATABASE,
    DATABASE_ENDPOINTS,
    DESIGN_INFO,
    DOCUMENT,
    INDEX,
    PARTITION,
    PARTITION_ENDPOINTS,
    REPLICATION_ENDPOINTS,
    ROOT,
    SERVER_ENDPOINTS,
    SHARDS,
    UNKNOWN_VIEW,
    VIEW,
    VIEW_QUERIES,
    Endpoint,
    NotAllowedError,
    ResponseCoroutine,
)
from couchmodel._embedded.server.handlers.database import database, partition, update
from couchmodel._embedded.server.handlers.document import document
from couchmodel._embedded.server.handlers.server import unsupported
from couchmodel._embedded.server.permissions import admit
from couchmodel._embedded.server.responses import error_answer
from couchmodel._embedded.settings import Configuration
from couchmodel._embedded.storage.store import Database, Store
from couchmodel._wire.messages import Request, Response, is_valid_unicode
from couchmodel._wire.turns import give_turn, turn_is_due
from couchmodel._wire.users import ADMIN, User
from couchmodel.errors import (
    BadRequestError,
    NotFoundError,
    ResponseError,
    ServerError,
    TransportError,
)

__all__ = ["Router"]

_log = logging.getLogger("couchmodel.embedded")


_WITH_LONGER_PATHS: Final = {
    "_compact": COMPACT_DESIGN,
    "_shards": SHARDS,
    "_find": DATABASE_ENDPOINTS["_find",],
    "_explain": DATABASE_ENDPOINTS["_explain",],
}
"""Endpoints of a database whose path may go on: with a design document's name, a document's id, or anything."""


class Router:
    """A router that answers requests to a store as a CouchDB server does."""

    def __init__(
        self, store: Store, configuration: Configuration | None = None, *, remote: OpenTransport | None = None
    ) -> None:
        """Create a router. ``remote`` opens transports to other servers, for replication.

        Raises ConfigurationError if the configuration cannot work.
        """
        self.store = store
        self.authentication = Authentication(store, configuration or Configuration())
        self.replicator = Replicator(store, self.answer, remote)
        self.updates = GlobalChangesRecorder(store)

    async def open(self) -> None:
        """Open the store, and resume its replications. Raises StoreFileError if the store cannot be opened."""
        await self.store.open()
        self.replicator.watch()

    async def close(self) -> None:
        """End the replications. The store stays open."""
        await self.replicator.close()

    async def answer_anybody(self, request: Request) -> Response:
        """Answer a request as the user that its headers name.

        Raises StoreFileError if the store cannot be opened.
        """
        cookie = None
        try:
            user, cookie = await self.authentication.identify(request)
        except ResponseError as error:
            answer = error_answer(error)
        except TransportError:
            raise
        except Exception as error:  # noqa: BLE001 - a client gets an answer, whatever it is
            answer = _log_failure(request, error)
        else:
            answer = await self.answer(request, user)
        if cookie is not None and "set-cookie" not in answer.headers:
            answer.headers = {**answer.headers, "set-cookie": cookie}
        if answer.status == 401:
            answer.headers = {**answer.headers, **self._challenge(request)}
        return answer

    def _challenge(self, request: Request) -> dict[str, str]:
        """Return the header that makes a browser ask for a name and a password.

        It is empty unless the client sends ``X-CouchDB-WWW-Authenticate`` or the configuration requires a user.
        """
        challenge = request.headers.get("x-couchdb-www-authenticate")
        if challenge is None and self.authentication.configuration.require_valid_user:
            challenge = 'Basic realm="server"'
        return {} if challenge is None or not is_valid_unicode(challenge) else {"www-authenticate": challenge}

    async def answer(self, request: Request, user: User = ADMIN) -> Response:
        """Answer a request as a given user. Errors become responses.

        Raises StoreFileError if the store cannot be opened.
        """
        request.user = user
        # A handler may run from here to its end without a wait, so a client in a loop would starve other tasks.
        if turn_is_due():
            await give_turn()
        try:
            if not self.store.is_open:
                await self.open()
            answer = await self._route(request)
        except ResponseError as error:
            answer = error_answer(error)
            if isinstance(error, NotAllowedError):
                answer.headers = {**answer.headers, "allow": error.allow}
        except TransportError:
            raise
        except Exception as error:  # noqa: BLE001 - a client gets an answer, whatever it is
            answer = _log_failure(request, error)
        return await _drop_body(answer) if request.method == "HEAD" else answer

    def _route(self, request: Request) -> ResponseCoroutine:
        """Return the coroutine that answers a request. Every read passes here, so it checks no more than it must."""
        path, user = request.path, request.user
        if request.query or not "".join(path).isascii():
            check_text(request)
        if user is not ADMIN:
            admit(self.store, request)
        if not path:
            return ROOT.handler(request)(self.store, request, user)
        first = path[0]
        if first[:1] == "_" and (coroutine := self._route_server(request, first)) is not None:
            return coroutine
        if len(path) == 1:
            return self._route_database(request, first)
        database = self.store.database(first)
        second = path[1]
        if second[:1] == "_":
            return self._route_special(database, request, second)
        if database.partitioned:
            require_partition(second)
        if len(path) == 2:
            return DOCUMENT.handler(request)(self.store, database, request, second)
        return self._route_attachment(database, request, second, path[2:])

    def _route_server(self, request: Request, first: str) -> ResponseCoroutine | None:
        """Route to an endpoint of the server. Return None if the path names a database, such as ``_users``."""
        path = request.path
        if first in AUTH_ENDPOINTS:
            return _auth_endpoint(path).handler(request)(self.authentication, request)
        if first in REPLICATION_ENDPOINTS:
            return _replication_endpoint(path).handler(request)(self.replicator, request)
        if first in SERVER_ENDPOINTS:
            return _server_endpoint(path).handler(request)(self.store, request, request.user)
        if first == REPLICATOR:
            # The database may have been created after the store was opened. If it is watched already, nothing happens.
            self.replicator.watch()
        return None

    def _route_database(self, request: Request, name: str) -> ResponseCoroutine:
        match request.method:
            case "PUT":
                return database.create(self.store, request, name)
            case "DELETE":
                return database.drop(self.store, request, name)
        return DATABASE.handler(request)(self.store, self.store.database(name), request)

    def _route_special(self, database: Database, request: Request, second: str) -> ResponseCoroutine:
        """Route a path whose second segment begins with an underscore: an endpoint, a design or a local document."""
        path = request.path
        if second == "_design" and len(path) > 2:
            return self._route_design(database, request, path[2], path[3:])
        if second == "_partition":
            return self._route_partition(database, request)
        if second == "_local":
            return DOCUMENT.handler(request)(self.store, database, request, _local_id(path[2:]))
        if second == "_index":
            return self._route_index(database, request)
        endpoint = DATABASE_ENDPOINTS.get(path[1:]) or _WITH_LONGER_PATHS.get(second)
        if endpoint is not None:
            return endpoint.handler(request)(self.store, database, request)
        return self._route_underscored_document(database, request, second)

    def _route_index(self, database: Database, request: Request) -> ResponseCoroutine:
        """Route to the Mango indexes of a database, or to one of them by its name."""
        path = request.path
        if request.method != "GET":
            database.security.require_admin(request.user)
        endpoint = DATABASE_ENDPOINTS.get(path[1:])
        if endpoint is None and (len(path) == 5 or (len(path) == 6 and path[2] == "_design")):
            endpoint = INDEX
        if endpoint is None:
            raise NotFoundError("missing")
        return endpoint.handler(request)(self.store, database, request)

    def _route_underscored_document(self, database: Database, request: Request, id: str) -> ResponseCoroutine:
        """Route a path that names no endpoint: as a document whose id begins with an underscore."""
        if id == "_local/":
            raise BadRequestError("Invalid _local document id.")
        # A client escaped the slash of the id. CouchDB redirects it to the usual address.
        if id.startswith("_design/") and request.method in ("GET", "HEAD"):
            return document.redirect(request)
        if len(request.path) == 2:
            return DOCUMENT.handler(request)(self.store, database, request, id)
        return self._route_attachment(database, request, id, request.path[2:])

    def _route_partition(self, database: Database, request: Request) -> ResponseCoroutine:
        """Route to a partition's information, or to an endpoint or a view that is narrowed to the partition."""
        path = request.path
        if len(path) < 3:
            raise BadRequestError("invalid_partition_req")
        if len(path) == 3:
            return PARTITION.handler(request)(self.store, database, request)
        narrowed = partition.database_request(database, request)
        if path[3] not in PARTITION_ENDPOINTS and not (path[3] == "_design" and len(path) > 5 and path[5][:1] == "_"):
            raise NotFoundError("missing")
        return self._route_special(database, narrowed, path[3])

    def _route_design(
        self, database: Database, request: Request, name: str, rest: tuple[str, ...]
    ) -> ResponseCoroutine:
        id = f"_design/{name}"
        if not rest:
            return DOCUMENT.handler(request)(self.store, database, request, id)
        if rest[0] == "_view":
            return _view_endpoint(rest).handler(request)(self.store, database, request)
        if rest == ("_info",):
            return DESIGN_INFO.handler(request)(self.store, database, request)
        if rest[0] == "_update":
            return update.update(self.store, database, request)
        if rest[0] in unsupported.DESIGN_FUNCTIONS:
            return unsupported.design_function(self.store, database, request)
        return self._route_attachment(database, request, id, rest)

    def _route_attachment(
        self, database: Database, request: Request, id: str, name: tuple[str, ...]
    ) -> ResponseCoroutine:
        return ATTACHMENT.handler(request)(self.store, database, request, id, "/".join(name))


def _log_failure(request: Request, error: Exception) -> Response:
    _log.error("%r failed", request, exc_info=error)
    return error_answer(ServerError(type(error).__name__))


def _auth_endpoint(path: tuple[str, ...]) -> Endpoint:
    if path[0] == "_session" and path != ("_session",):
        raise NotFoundError("missing")
    return AUTH_ENDPOINTS[path[0]]


def _replication_endpoint(path: tuple[str, ...]) -> Endpoint:
    endpoint = REPLICATION_ENDPOINTS[path[0]]
    if len(path) > 1 and path[0] != "_scheduler":
        raise NotFoundError("missing")
    return endpoint


def _server_endpoint(path: tuple[str, ...]) -> Endpoint:
    name, *more = path
    if more and name not in _IGNORING_REST:
        raise NotFoundError("missing")
    return SERVER_ENDPOINTS[name]


_IGNORING_REST: Final = ("_reshard", "_up")
"""Endpoints of the server that ignore the rest of the path behind their name, as in CouchDB."""


def _view_endpoint(rest: tuple[str, ...]) -> Endpoint:
    match rest:
        case _, name if name:
            return VIEW
        case _, _, "queries":
            return VIEW_QUERIES
    return UNKNOWN_VIEW


def _local_id(rest: tuple[str, ...]) -> str:
    if len(rest) > 1:
        raise BadRequestError("_local documents do not accept attachments.")
    if not rest or not rest[0]:
        raise BadRequestError("Invalid _local document id.")
    return f"_local/{rest[0]}"


async def _drop_body(answer: Response) -> Response:
    headers = dict(answer.headers)
    if answer.stream is not None:
        await answer.stream.aclose()
    elif answer.status != 304:
        headers.setdefault("content-length", str(len(answer.body)))
    return Response(answer.status, headers)
