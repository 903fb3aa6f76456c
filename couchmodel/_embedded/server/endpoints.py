"""The table of endpoints: the function for each method, and the methods that CouchDB's ``Allow`` header names.

The two may differ: CouchDB answers methods that it does not announce, and announces some that it refuses.
"""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from couchmodel._embedded.server.handlers.database import (
    all_docs,
    bulk,
    changes,
    database,
    find,
    index,
    partition,
    purge,
    revisions,
    view,
)
from couchmodel._embedded.server.handlers.document import attachment, document, html_form
from couchmodel._embedded.server.handlers.server import (
    cluster,
    db_updates,
    node,
    pages,
    replicator,
    server,
    session,
    unsupported,
)
from couchmodel._wire.messages import Request, Response
from couchmodel.errors import MethodNotAllowedError

__all__ = [
    "ATTACHMENT",
    "AUTH_ENDPOINTS",
    "COMPACT_DESIGN",
    "DATABASE",
    "DATABASE_ENDPOINTS",
    "DESIGN_INFO",
    "DOCUMENT",
    "INDEX",
    "PARTITION",
    "PARTITION_ENDPOINTS",
    "REPLICATION_ENDPOINTS",
    "ROOT",
    "SERVER_ENDPOINTS",
    "SHARDS",
    "UNKNOWN_VIEW",
    "VIEW",
    "VIEW_QUERIES",
    "Endpoint",
    "NotAllowedError",
    "ResponseCoroutine",
]

ResponseCoroutine: TypeAlias = Coroutine[Any, Any, Response]


class NotAllowedError(MethodNotAllowedError):
    """An error 405. ``allow`` is the value of its ``Allow`` header."""

    def __init__(self, allow: str) -> None:
        super().__init__(f"Only {allow} allowed")
        self.allow = allow


class Endpoint(NamedTuple):
    """The handlers of a resource, by method, and the value of its ``Allow`` header."""

    allow: str
    handlers: Mapping[str, Callable[..., ResponseCoroutine]]

    def handler(self, request: Request) -> Callable[..., ResponseCoroutine]:
        """Return the handler for a request's method. Raises NotAllowedError if there is none.

        A HEAD is a GET whose body the router drops.
        """
        method = request.method
        handler = self.handlers.get("GET" if method == "HEAD" else method)
        if handler is None:
            raise NotAllowedError(self.allow)
        return handler


ROOT: Final = Endpoint("GET,HEAD", {"GET": server.welcome})

AUTH_ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    "_session": Endpoint("GET,HEAD,POST,DELETE", {"GET": session.get, "POST": session.begin, "DELETE": session.end}),
    "_node": Endpoint("GET,PUT,DELETE", {"GET": node.get, "POST": node.post, "PUT": node.put, "DELETE": node.delete}),
    "_utils": Endpoint("GET,HEAD", {"GET": pages.utils}),
}
"""Endpoints of the server for sessions, configuration and web pages. Their handlers take the authentication."""

REPLICATION_ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    "_active_tasks": Endpoint("GET,HEAD", {"GET": replicator.active_tasks}),
    "_replicate": Endpoint("POST", {"POST": replicator.replicate}),
    "_scheduler": Endpoint("GET,HEAD", {"GET": replicator.scheduler}),
}
"""Endpoints of the server for replications. Their handlers take the replicator."""

SERVER_ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    "_up": Endpoint("GET,HEAD", {"GET": server.up}),
    "_uuids": Endpoint("GET", {"GET": server.uuids}),
    "_all_dbs": Endpoint("GET,HEAD", {"GET": server.list_databases}),
    "_dbs_info": Endpoint("GET,HEAD,POST", {"GET": server.databases_info, "POST": server.databases_info}),
    "_reload_query_servers": Endpoint("POST", {"POST": server.reload_functions}),
    "_membership": Endpoint("GET", {"GET": cluster.membership}),
    "_cluster_setup": Endpoint("GET,POST", {"GET": cluster.setup_state, "POST": cluster.set_up}),
    "_reshard": Endpoint("GET,HEAD", dict.fromkeys(("GET", "POST", "PUT", "DELETE"), unsupported.reshard)),
    "_db_updates": Endpoint("GET", {"GET": db_updates.feed}),
    "_search_analyze": Endpoint("POST", {"GET": unsupported.search_analyze, "POST": unsupported.search_analyze}),
    "_nouveau_analyze": Endpoint("POST", {"POST": unsupported.nouveau_analyze}),
}
"""The other endpoints of the server. Their handlers take the store and the user."""

DATABASE: Final = Endpoint("DELETE,GET,HEAD,POST", {"GET": database.info, "POST": database.create_document})

DOCUMENT: Final = Endpoint(
    "DELETE,GET,HEAD,POST,PUT,COPY",
    {
        "GET": document.get,
        "PUT": document.put,
        "DELETE": document.delete,
        "COPY": document.copy,
        "POST": html_form.post,
    },
)

ATTACHMENT: Final = Endpoint(
    "DELETE,GET,HEAD,PUT", {"GET": attachment.get, "PUT": attachment.put, "DELETE": attachment.delete}
)

PARTITION: Final = Endpoint("GET", {"GET": partition.info})
PARTITION_ENDPOINTS: Final = ("_all_docs", "_explain", "_find", "_index")
"""Endpoints of a database that a partition has too, beside the views."""

ALL_DOCS: Final = Endpoint("GET,HEAD,POST", {"GET": all_docs.list_documents, "POST": all_docs.list_documents})
ALL_DOCS_QUERIES: Final = Endpoint("POST", {"POST": all_docs.list_queries})
INDEX: Final = Endpoint("DELETE", {"DELETE": index.delete})

VIEW: Final = Endpoint("GET,POST,HEAD", {"GET": view.list_rows, "POST": view.list_rows})
VIEW_QUERIES: Final = Endpoint("POST", {"POST": view.list_queries})
UNKNOWN_VIEW: Final = Endpoint("GET,POST,HEAD", {})
DESIGN_INFO: Final = Endpoint("GET", {"GET": view.info})
COMPACT_DESIGN: Final = Endpoint("POST", {"POST": view.compact})

SHARDS: Final = Endpoint("GET", {"GET": cluster.shards})

LIMIT: Final = Endpoint("PUT,GET", {"GET": database.limit, "PUT": database.set_limit})

DATABASE_ENDPOINTS: Final[dict[tuple[str, ...], Endpoint]] = {
    ("_all_docs",): ALL_DOCS,
    ("_design_docs",): ALL_DOCS,
    ("_local_docs",): ALL_DOCS,
    ("_all_docs", "queries"): ALL_DOCS_QUERIES,
    ("_design_docs", "queries"): ALL_DOCS_QUERIES,
    ("_local_docs", "queries"): ALL_DOCS_QUERIES,
    ("_bulk_docs",): Endpoint("POST", {"POST": bulk.write}),
    ("_bulk_get",): Endpoint("POST", {"POST": revisions.bulk_get}),
    ("_missing_revs",): Endpoint("POST", {"POST": revisions.missing_revisions}),
    ("_revs_diff",): Endpoint("POST", {"POST": revisions.revisions_difference}),
    ("_find",): Endpoint("POST", {"POST": find.find}),
    ("_explain",): Endpoint("POST", {"POST": find.explain}),
    ("_index",): Endpoint("GET,POST", {"GET": index.list_indexes, "POST": index.create}),
    ("_index", "_bulk_delete"): Endpoint("POST", {"POST": index.delete_many}),
    ("_changes",): Endpoint("GET,POST,HEAD", {"GET": changes.feed, "POST": changes.feed}),
    ("_compact",): Endpoint("POST", {"POST": database.compact}),
    ("_ensure_full_commit",): Endpoint("POST", {"POST": database.ensure_full_commit}),
    ("_view_cleanup",): Endpoint("POST", {"POST": view.clean_up}),
    ("_security",): Endpoint("PUT,GET", {"GET": database.security, "PUT": database.set_security}),
    ("_revs_limit",): LIMIT,
    ("_shards",): SHARDS,
    ("_sync_shards",): Endpoint("POST", {"POST": cluster.synchronize}),
    ("_temp_view",): Endpoint("POST", dict.fromkeys(("GET", "POST", "PUT", "DELETE"), unsupported.temporary_view)),
    ("_search_cleanup",): Endpoint("POST", {"POST": unsupported.search_cleanup}),
    ("_nouveau_cleanup",): Endpoint("POST", {"POST": view.clean_up}),
    ("_purge",): Endpoint("POST", {"POST": purge.purge}),
    ("_purged_infos",): Endpoint("GET", {"GET": purge.infos}),
    ("_purged_infos_limit",): Endpoint("GET,PUT", {"GET": database.limit, "PUT": database.set_limit}),
}
"""Endpoints of a database, by the segments of their paths behind its name."""
