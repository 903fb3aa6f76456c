"""The router: which function answers a request, and what an error looks like as an answer.

It never raises for what a client sends. It alone turns errors into answers; one that is not of this library's tree is
a fault of the store: it is logged, and answered with 500.
"""

import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from couchmodel._embedded.admission import admit
from couchmodel._embedded.answers import error_answer
from couchmodel._embedded.arguments import check_text
from couchmodel._embedded.authentication import Authentication
from couchmodel._embedded.configuration import Configuration
from couchmodel._embedded.handlers import (
    all_docs,
    attachment,
    bulk,
    changes,
    database,
    document,
    find,
    index,
    node,
    partition,
    purge,
    replication,
    replicator,
    server,
    session,
    update,
    view,
)
from couchmodel._embedded.partitions import check_access
from couchmodel._embedded.peers import Remote
from couchmodel._embedded.replicator import REPLICATOR, Replicator
from couchmodel._embedded.store import Database, Store
from couchmodel._wire.messages import Request, Response, is_text
from couchmodel._wire.users import ADMIN, User
from couchmodel.errors import (
    BadRequestError,
    MethodNotAllowedError,
    NotFoundError,
    ResponseError,
    ServerError,
    TransportError,
    UnsupportedError,
)

__all__ = ["Router"]

Answering: TypeAlias = Coroutine[Any, Any, Response]
ServerHandler: TypeAlias = Callable[[Store, Request, User], Answering]
DatabaseHandler: TypeAlias = Callable[[Store, Database, Request], Answering]
DocumentHandler: TypeAlias = Callable[[Store, Database, Request, str], Answering]

_log = logging.getLogger("couchmodel.embedded")


class Router:
    """Answers requests to a store as a CouchDB server does."""

    def __init__(
        self, store: Store, configuration: Configuration | None = None, *, remote: Remote | None = None
    ) -> None:
        """``remote`` opens the way to other servers for replication.

        Raises ConfigurationError for a configuration that cannot work.
        """
        self.store = store
        self.authentication = Authentication(store, configuration or Configuration())
        self.replicator = Replicator(store, self.answer, remote)

    async def open(self) -> None:
        """Open the store, and go on with its replications. Raises StoreFileError where it cannot be opened."""
        await self.store.open()
        self.replicator.watch()

    async def close(self) -> None:
        """End the replications. The store stays open."""
        await self.replicator.close()

    async def answer_anybody(self, request: Request) -> Response:
        """The answer to whoever the request's headers say. Raises StoreFileError."""
        cookie = None
        try:
            user, cookie = await self.authentication.identify(request)
        except ResponseError as error:
            answer = error_answer(error)
        except TransportError:
            raise
        except Exception as error:  # noqa: BLE001 - a client gets an answer, whatever it is
            answer = _failure(request, error)
        else:
            answer = await self.answer(request, user)
        if cookie is not None and "set-cookie" not in answer.headers:
            answer.headers = {**answer.headers, "set-cookie": cookie}
        if answer.status == 401:
            answer.headers = {**answer.headers, **self._challenge(request)}
        return answer

    def _challenge(self, request: Request) -> dict[str, str]:
        """The header that makes a browser ask for a name and a password: only where a client wants it so."""
        wanted = request.headers.get("x-couchdb-www-authenticate")
        if wanted is None and self.authentication.configuration.require_valid_user:
            wanted = 'Basic realm="server"'
        return {} if wanted is None or not is_text(wanted) else {"www-authenticate": wanted}

    async def answer(self, request: Request, user: User = ADMIN) -> Response:
        """The answer, whatever its status. Raises StoreFileError where the store cannot be opened."""
        request.user = user
        try:
            if not self.store.is_open:
                await self.open()
            answer = await self._route(request)
        except ResponseError as error:
            answer = error_answer(error)
            if isinstance(error, _NotAllowedError):
                answer.headers = {**answer.headers, "allow": error.allow}
        except TransportError:
            raise
        except Exception as error:  # noqa: BLE001 - a client gets an answer, whatever it is
            answer = _failure(request, error)
        return await _without_body(answer) if request.method == "HEAD" else answer

    def _route(self, request: Request) -> Answering:
        """The coroutine that answers. It is on the way of every read, so it looks at no more than it must."""
        path, user = request.path, request.user
        if request.query or not "".join(path).isascii():
            check_text(request)
        if user is not ADMIN:
            admit(self.store, request)
        if not path:
            return _ROOT.handler(request)(self.store, request, user)
        first = path[0]
        if first[:1] == "_" and (answering := self._route_server(request, first)) is not None:
            return answering
        if len(path) == 1:
            return self._route_database(request, first)
        database = self.store.database(first)
        second = path[1]
        if second[:1] == "_":
            return self._route_special(database, request, second)
        if database.partitioned:
            check_access(second)
        if len(path) == 2:
            return _DOCUMENT.handler(request)(self.store, database, request, second)
        return self._route_attachment(database, request, second, path[2:])

    def _route_server(self, request: Request, first: str) -> Answering | None:
        """What is no database, although it begins with an underscore."""
        path = request.path
        if first in _OWN:
            return _own_endpoint(path).handler(request)(self.authentication, request)
        if first in _REPLICATING:
            return _replicating_endpoint(path).handler(request)(self.replicator, request)
        if first in _SERVER:
            return _server_endpoint(path).handler(request)(self.store, request, request.user)
        if first == REPLICATOR:
            self.replicator.watch()
        return None

    def _route_database(self, request: Request, name: str) -> Answering:
        match request.method:
            case "PUT":
                return database.create(self.store, request, name)
            case "DELETE":
                return database.drop(self.store, request, name)
        return _DATABASE.handler(request)(self.store, self.store.database(name), request)

    def _route_special(self, database: Database, request: Request, second: str) -> Answering:
        """What begins with an underscore: a document in a space of its own, or an endpoint."""
        path = request.path
        if second == "_design" and len(path) > 2:
            return self._route_design(database, request, path[2], path[3:])
        if second == "_partition":
            return self._route_partition(database, request)
        if second == "_local":
            return _DOCUMENT.handler(request)(self.store, database, request, _local_id(path[2:]))
        endpoint = _ENDPOINTS.get(path[1:])
        if endpoint is None and second == "_index" and len(path) in _NAMED_INDEX:
            endpoint = _INDEX
        if second == "_index" and request.method != "GET":
            database.security.require_admin(request.user)
        if endpoint is None and second == "_compact":
            endpoint = _COMPACT_DESIGN
        if endpoint is not None:
            return endpoint.handler(request)(self.store, database, request)
        if second in _NOT_YET:
            raise UnsupportedError(f"The embedded store does not know {second} yet.")
        return self._route_odd(database, request, second)

    def _route_odd(self, database: Database, request: Request, id: str) -> Answering:
        """What names no endpoint, although it begins with an underscore: a document, if at all."""
        if id.startswith("_design/") and request.method in ("GET", "HEAD"):
            return document.redirect(request)
        if len(request.path) == 2:
            return _DOCUMENT.handler(request)(self.store, database, request, id)
        return self._route_attachment(database, request, id, request.path[2:])

    def _route_partition(self, database: Database, request: Request) -> Answering:
        """What is inside a partition, as some endpoints show it."""
        path = request.path
        if len(path) < 3:
            raise BadRequestError("invalid_partition_req")
        if len(path) == 3:
            return _PARTITION.handler(request)(self.store, database, request)
        narrowed = partition.inside(database, request)
        if path[3] not in _IN_PARTITIONS and not (path[3] == "_design" and len(path) > 5 and path[5][:1] == "_"):
            raise NotFoundError("missing")
        return self._route_special(database, narrowed, path[3])

    def _route_design(self, database: Database, request: Request, name: str, rest: tuple[str, ...]) -> Answering:
        id = f"_design/{name}"
        if not rest:
            return _DOCUMENT.handler(request)(self.store, database, request, id)
        if rest[0] == "_view":
            return _view_endpoint(rest).handler(request)(self.store, database, request)
        if rest == ("_info",):
            return _INFO.handler(request)(self.store, database, request)
        if rest[0] == "_update":
            return update.update(self.store, database, request)
        if rest[0][:1] == "_":
            raise UnsupportedError(f"The embedded store does not know {rest[0]} of a design document yet.")
        return self._route_attachment(database, request, id, rest)

    def _route_attachment(self, database: Database, request: Request, id: str, name: tuple[str, ...]) -> Answering:
        return _ATTACHMENT.handler(request)(self.store, database, request, id, "/".join(name))


class _NotAllowedError(MethodNotAllowedError):
    """405, with the methods that are allowed, as the header has them."""

    def __init__(self, allow: str) -> None:
        super().__init__(f"Only {allow} allowed")
        self.allow = allow


class _Endpoint(NamedTuple):
    """What answers each method, and what CouchDB says that it allows."""

    allow: str
    handlers: Mapping[str, Callable[..., Answering]]

    def handler(self, request: Request) -> Callable[..., Answering]:
        """What answers the request. A HEAD is a GET whose body is dropped."""
        method = request.method
        handler = self.handlers.get("GET" if method == "HEAD" else method)
        if handler is None:
            raise _NotAllowedError(self.allow)
        return handler


def _failure(request: Request, error: Exception) -> Response:
    _log.error("%r failed", request, exc_info=error)
    return error_answer(ServerError(type(error).__name__))


def _own_endpoint(path: tuple[str, ...]) -> _Endpoint:
    if path[0] == "_session" and path != ("_session",):
        raise NotFoundError("missing")
    return _OWN[path[0]]


def _replicating_endpoint(path: tuple[str, ...]) -> _Endpoint:
    endpoint = _REPLICATING[path[0]]
    if len(path) > 1 and path[0] != "_scheduler":
        raise NotFoundError("missing")
    return endpoint


def _server_endpoint(path: tuple[str, ...]) -> _Endpoint:
    endpoint = _SERVER[path[0]]
    if endpoint is None:
        raise UnsupportedError(f"The embedded store does not know {path[0]} yet.")
    if len(path) > 1 and path[0] != "_utils":
        raise NotFoundError("missing")
    return endpoint


def _view_endpoint(rest: tuple[str, ...]) -> _Endpoint:
    match rest:
        case _, name if name:
            return _VIEW
        case _, _, "queries":
            return _VIEW_QUERIES
    return _NO_VIEW


def _local_id(rest: tuple[str, ...]) -> str:
    if len(rest) > 1:
        raise BadRequestError("_local documents do not accept attachments.")
    if not rest or not rest[0]:
        raise BadRequestError("Invalid _local document id.")
    return f"_local/{rest[0]}"


async def _without_body(answer: Response) -> Response:
    headers = dict(answer.headers)
    if answer.stream is not None:
        await answer.stream.aclose()
    elif answer.status != 304:
        headers.setdefault("content-length", str(len(answer.body)))
    return Response(answer.status, headers)


_ROOT: Final = _Endpoint("GET,HEAD", {"GET": server.welcome})

_OWN: Final[Mapping[str, _Endpoint]] = {
    "_session": _Endpoint("GET,HEAD,POST,DELETE", {"GET": session.get, "POST": session.begin, "DELETE": session.end}),
    "_node": _Endpoint("GET,PUT,DELETE", {"GET": node.get, "PUT": node.put, "DELETE": node.delete}),
}
"""Endpoints of the server that are about its users and its configuration."""

_REPLICATING: Final[Mapping[str, _Endpoint]] = {
    "_active_tasks": _Endpoint("GET,HEAD", {"GET": replicator.active_tasks}),
    "_replicate": _Endpoint("POST", {"POST": replicator.replicate}),
    "_scheduler": _Endpoint("GET,HEAD", {"GET": replicator.scheduler}),
}
"""Endpoints of the server that are about its replications."""

_SERVER: Final[Mapping[str, _Endpoint | None]] = {
    "_up": _Endpoint("GET,HEAD", {"GET": server.up}),
    "_uuids": _Endpoint("GET", {"GET": server.uuids}),
    "_all_dbs": _Endpoint("GET,HEAD", {"GET": server.databases}),
    "_dbs_info": _Endpoint("GET,HEAD,POST", {"GET": server.databases_info, "POST": server.databases_info}),
    "_utils": _Endpoint("GET,HEAD", {"GET": server.utils}),
    "_membership": _Endpoint("GET,HEAD", {"GET": server.membership}),
    **dict.fromkeys(("_cluster_setup", "_db_updates", "_reshard")),
}
"""Endpoints of the server; those that have none answer 501."""

_DATABASE: Final = _Endpoint("DELETE,GET,HEAD,POST", {"GET": database.info, "POST": database.create_document})

_DOCUMENT: Final = _Endpoint(
    "DELETE,GET,HEAD,POST,PUT,COPY",
    {
        "GET": document.get,
        "PUT": document.put,
        "DELETE": document.delete,
        "COPY": document.copy,
        "POST": document.post,
    },
)

_ATTACHMENT: Final = _Endpoint(
    "DELETE,GET,HEAD,PUT", {"GET": attachment.get, "PUT": attachment.put, "DELETE": attachment.delete}
)

_PARTITION: Final = _Endpoint("GET", {"GET": partition.info})
_IN_PARTITIONS: Final = ("_all_docs", "_explain", "_find", "_index")

_LISTED: Final = _Endpoint("GET,HEAD,POST", {"GET": all_docs.list_documents, "POST": all_docs.list_documents})
_QUERIES: Final = _Endpoint("POST", {"POST": all_docs.list_queries})
_INDEX: Final = _Endpoint("DELETE", {"DELETE": index.delete})
_NAMED_INDEX: Final = (5, 6)
"""Segments of an index's path, as ``_design`` may stand in it or not."""

_VIEW: Final = _Endpoint("GET,POST,HEAD", {"GET": view.list_rows, "POST": view.list_rows})
_VIEW_QUERIES: Final = _Endpoint("POST", {"POST": view.list_queries})
_NO_VIEW: Final = _Endpoint("GET,POST,HEAD", {})
_INFO: Final = _Endpoint("GET", {"GET": view.info})
_COMPACT_DESIGN: Final = _Endpoint("POST", {"POST": view.compact})

_LIMIT: Final = _Endpoint("PUT,GET", {"GET": database.limit, "PUT": database.set_limit})

_ENDPOINTS: Final[dict[tuple[str, ...], _Endpoint]] = {
    ("_all_docs",): _LISTED,
    ("_design_docs",): _LISTED,
    ("_local_docs",): _LISTED,
    ("_all_docs", "queries"): _QUERIES,
    ("_design_docs", "queries"): _QUERIES,
    ("_local_docs", "queries"): _QUERIES,
    ("_bulk_docs",): _Endpoint("POST", {"POST": bulk.write}),
    ("_bulk_get",): _Endpoint("POST", {"POST": replication.bulk_get}),
    ("_missing_revs",): _Endpoint("POST", {"POST": replication.missing_revisions}),
    ("_revs_diff",): _Endpoint("POST", {"POST": replication.revisions_difference}),
    ("_find",): _Endpoint("POST", {"POST": find.find}),
    ("_explain",): _Endpoint("POST", {"POST": find.explain}),
    ("_index",): _Endpoint("GET,POST", {"GET": index.list_indexes, "POST": index.create}),
    ("_index", "_bulk_delete"): _Endpoint("POST", {"POST": index.delete_many}),
    ("_changes",): _Endpoint("GET,POST,HEAD", {"GET": changes.feed, "POST": changes.feed}),
    ("_compact",): _Endpoint("POST", {"POST": database.compact}),
    ("_ensure_full_commit",): _Endpoint("POST", {"POST": database.ensure_full_commit}),
    ("_view_cleanup",): _Endpoint("POST", {"POST": view.clean_up}),
    ("_security",): _Endpoint("PUT,GET", {"GET": database.security, "PUT": database.set_security}),
    ("_revs_limit",): _LIMIT,
    ("_purge",): _Endpoint("POST", {"POST": purge.purge}),
    ("_purged_infos",): _Endpoint("GET", {"GET": purge.infos}),
    ("_purged_infos_limit",): _Endpoint("GET,PUT", {"GET": database.limit, "PUT": database.set_limit}),
}

_NOT_YET: Final = frozenset(
    (
        "_index",
        "_shards",
        "_sync_shards",
    )
)
"""Endpoints of a database that answer 501."""
