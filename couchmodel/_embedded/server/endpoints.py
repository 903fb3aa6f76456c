"""The endpoints: which function answers which method, and what CouchDB says that is allowed."""

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
    view,
)
from couchmodel._embedded.server.handlers.database import revisions as replication
from couchmodel._embedded.server.handlers.document import attachment, document
from couchmodel._embedded.server.handlers.document import html_form as form
from couchmodel._embedded.server.handlers.server import cluster, node, pages, replicator, server, session
from couchmodel._embedded.server.handlers.server import db_updates as updates
from couchmodel._embedded.server.handlers.server import unsupported as absent
from couchmodel._wire.messages import Request, Response
from couchmodel.errors import MethodNotAllowedError

__all__ = [
    "ATTACHMENT",
    "COMPACT_DESIGN",
    "DATABASE",
    "DOCUMENT",
    "ENDPOINTS",
    "INDEX",
    "INFO",
    "IN_PARTITIONS",
    "NO_VIEW",
    "OWN",
    "PARTITION",
    "REPLICATING",
    "ROOT",
    "SERVER",
    "SHARDS",
    "VIEW",
    "VIEW_QUERIES",
    "Answering",
    "Endpoint",
    "NotAllowedError",
]

Answering: TypeAlias = Coroutine[Any, Any, Response]


class NotAllowedError(MethodNotAllowedError):
    """405, with the methods that are allowed, as the header has them."""

    def __init__(self, allow: str) -> None:
        super().__init__(f"Only {allow} allowed")
        self.allow = allow


class Endpoint(NamedTuple):
    """What answers each method, and what CouchDB says that it allows."""

    allow: str
    handlers: Mapping[str, Callable[..., Answering]]

    def handler(self, request: Request) -> Callable[..., Answering]:
        """What answers the request. A HEAD is a GET whose body is dropped."""
        method = request.method
        handler = self.handlers.get("GET" if method == "HEAD" else method)
        if handler is None:
            raise NotAllowedError(self.allow)
        return handler


ROOT: Final = Endpoint("GET,HEAD", {"GET": server.welcome})

OWN: Final[Mapping[str, Endpoint]] = {
    "_session": Endpoint("GET,HEAD,POST,DELETE", {"GET": session.get, "POST": session.begin, "DELETE": session.end}),
    "_node": Endpoint("GET,PUT,DELETE", {"GET": node.get, "POST": node.post, "PUT": node.put, "DELETE": node.delete}),
    "_utils": Endpoint("GET,HEAD", {"GET": pages.utils}),
}
"""Endpoints of the server that are about its users, its configuration and its pages."""

REPLICATING: Final[Mapping[str, Endpoint]] = {
    "_active_tasks": Endpoint("GET,HEAD", {"GET": replicator.active_tasks}),
    "_replicate": Endpoint("POST", {"POST": replicator.replicate}),
    "_scheduler": Endpoint("GET,HEAD", {"GET": replicator.scheduler}),
}
"""Endpoints of the server that are about its replications."""

SERVER: Final[Mapping[str, Endpoint]] = {
    "_up": Endpoint("GET,HEAD", {"GET": server.up}),
    "_uuids": Endpoint("GET", {"GET": server.uuids}),
    "_all_dbs": Endpoint("GET,HEAD", {"GET": server.databases}),
    "_dbs_info": Endpoint("GET,HEAD,POST", {"GET": server.databases_info, "POST": server.databases_info}),
    "_reload_query_servers": Endpoint("POST", {"POST": server.reload_functions}),
    "_membership": Endpoint("GET", {"GET": cluster.membership}),
    "_cluster_setup": Endpoint("GET,POST", {"GET": cluster.state, "POST": cluster.set_up}),
    "_reshard": Endpoint("GET,HEAD", dict.fromkeys(("GET", "POST", "PUT", "DELETE"), absent.reshard)),
    "_db_updates": Endpoint("GET", {"GET": updates.feed}),
    "_search_analyze": Endpoint("POST", {"GET": absent.search, "POST": absent.search}),
    "_nouveau_analyze": Endpoint("POST", {"POST": absent.nouveau}),
}
"""Endpoints of the server."""

DATABASE: Final = Endpoint("DELETE,GET,HEAD,POST", {"GET": database.info, "POST": database.create_document})

DOCUMENT: Final = Endpoint(
    "DELETE,GET,HEAD,POST,PUT,COPY",
    {
        "GET": document.get,
        "PUT": document.put,
        "DELETE": document.delete,
        "COPY": document.copy,
        "POST": form.post,
    },
)

ATTACHMENT: Final = Endpoint(
    "DELETE,GET,HEAD,PUT", {"GET": attachment.get, "PUT": attachment.put, "DELETE": attachment.delete}
)

PARTITION: Final = Endpoint("GET", {"GET": partition.info})
IN_PARTITIONS: Final = ("_all_docs", "_explain", "_find", "_index")

LISTED: Final = Endpoint("GET,HEAD,POST", {"GET": all_docs.list_documents, "POST": all_docs.list_documents})
QUERIES: Final = Endpoint("POST", {"POST": all_docs.list_queries})
INDEX: Final = Endpoint("DELETE", {"DELETE": index.delete})

VIEW: Final = Endpoint("GET,POST,HEAD", {"GET": view.list_rows, "POST": view.list_rows})
VIEW_QUERIES: Final = Endpoint("POST", {"POST": view.list_queries})
NO_VIEW: Final = Endpoint("GET,POST,HEAD", {})
INFO: Final = Endpoint("GET", {"GET": view.info})
COMPACT_DESIGN: Final = Endpoint("POST", {"POST": view.compact})

SHARDS: Final = Endpoint("GET", {"GET": cluster.shards})

LIMIT: Final = Endpoint("PUT,GET", {"GET": database.limit, "PUT": database.set_limit})

ENDPOINTS: Final[dict[tuple[str, ...], Endpoint]] = {
    ("_all_docs",): LISTED,
    ("_design_docs",): LISTED,
    ("_local_docs",): LISTED,
    ("_all_docs", "queries"): QUERIES,
    ("_design_docs", "queries"): QUERIES,
    ("_local_docs", "queries"): QUERIES,
    ("_bulk_docs",): Endpoint("POST", {"POST": bulk.write}),
    ("_bulk_get",): Endpoint("POST", {"POST": replication.bulk_get}),
    ("_missing_revs",): Endpoint("POST", {"POST": replication.missing_revisions}),
    ("_revs_diff",): Endpoint("POST", {"POST": replication.revisions_difference}),
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
    ("_temp_view",): Endpoint("POST", dict.fromkeys(("GET", "POST", "PUT", "DELETE"), absent.temporary_view)),
    ("_search_cleanup",): Endpoint("POST", {"POST": absent.search_cleanup}),
    ("_nouveau_cleanup",): Endpoint("POST", {"POST": view.clean_up}),
    ("_purge",): Endpoint("POST", {"POST": purge.purge}),
    ("_purged_infos",): Endpoint("GET", {"GET": purge.infos}),
    ("_purged_infos_limit",): Endpoint("GET,PUT", {"GET": database.limit, "PUT": database.set_limit}),
}
