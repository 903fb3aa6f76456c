"""The table of routes, by CouchDB's HTTP API: the handler for each path and method, and the ``Allow`` header.

``allow`` stands where the header differs from the handlers: CouchDB answers methods that it does not announce, and
announces some that it refuses.
"""

from typing import Final

from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.handlers.database import (
    all_docs,
    bulk_docs,
    bulk_get,
    changes,
    database,
    find,
    index,
    partition,
    purge,
    revs_diff,
    update,
    view,
)
from couchmodel._embedded.server.handlers.document import attachment, document, html_form
from couchmodel._embedded.server.handlers.server import (
    cluster,
    db_updates,
    node,
    replicator,
    server,
    session,
    unsupported,
    web_interface,
)
from couchmodel._embedded.server.route_tree import Check, Handler, Route, RouteTree
from couchmodel._wire.messages import Response
from couchmodel.errors import NotFoundError

__all__ = ["ROUTES"]


async def _missing(exchange: Exchange) -> Response:
    raise NotFoundError("missing")


_DOCUMENT_METHODS: Final = "DELETE,GET,HEAD,POST,PUT,COPY"


def _document(pattern: str, *, get: Handler = document.get) -> Route:
    return Route(
        pattern,
        GET=get,
        PUT=document.put,
        DELETE=document.delete,
        COPY=document.copy,
        POST=html_form.post,
        allow=_DOCUMENT_METHODS,
        before=(document.check_id,),
    )


def _no_document(pattern: str, refuse: Handler) -> Route:
    return Route(pattern, GET=refuse, PUT=refuse, DELETE=refuse, COPY=refuse, POST=refuse, allow=_DOCUMENT_METHODS)


def _attachment(pattern: str, *, get: Handler = attachment.get, before: Check = document.check_id) -> Route:
    return Route(
        pattern,
        GET=get,
        PUT=attachment.put,
        DELETE=attachment.delete,
        allow="DELETE,GET,HEAD,PUT",
        before=(before,),
    )


SERVER: Final = (
    Route("/_active_tasks", GET=replicator.active_tasks, allow="GET,HEAD"),
    Route("/_all_dbs", GET=server.list_databases, allow="GET,HEAD"),
    Route("/_cluster_setup", GET=cluster.setup_state, POST=cluster.set_up),
    Route("/_db_updates", GET=db_updates.feed),
    Route("/_dbs_info", GET=server.databases_info, POST=server.databases_info, allow="GET,HEAD,POST"),
    Route("/_membership", GET=cluster.membership),
    Route("/_node/**", GET=node.get, PUT=node.put, DELETE=node.delete, POST=node.post, allow="GET,PUT,DELETE"),
    Route("/_nouveau_analyze", POST=unsupported.nouveau_analyze),
    Route("/_reload_query_servers", POST=server.reload_functions),
    Route("/_replicate", POST=replicator.replicate),
    Route(
        "/_reshard/**",
        GET=unsupported.reshard,
        POST=unsupported.reshard,
        PUT=unsupported.reshard,
        DELETE=unsupported.reshard,
        allow="GET,HEAD",
    ),
    Route("/_scheduler/**", GET=replicator.scheduler, allow="GET,HEAD"),
    Route("/_search_analyze", GET=unsupported.search_analyze, POST=unsupported.search_analyze, allow="POST"),
    Route("/_session", GET=session.get, POST=session.begin, DELETE=session.end, allow="GET,HEAD,POST,DELETE"),
    Route("/_up/**", GET=server.up, allow="GET,HEAD"),
    Route("/_utils/**", GET=web_interface.utils, allow="GET,HEAD"),
    Route("/_uuids", GET=server.uuids),
)

DATABASE: Final = (
    Route(
        "/{db}",
        GET=database.info,
        PUT=database.create,
        DELETE=database.drop,
        POST=database.create_document,
        allow="DELETE,GET,HEAD,POST",
    ),
    Route("/{db}/_bulk_docs", POST=bulk_docs.write),
    Route("/{db}/_bulk_get", POST=bulk_get.bulk_get),
    Route("/{db}/_changes", GET=changes.feed, POST=changes.feed, allow="GET,POST,HEAD"),
    Route("/{db}/_compact", POST=database.compact),
    Route("/{db}/_compact/{ddoc}/**", POST=view.compact),
    Route("/{db}/_design_docs", GET=all_docs.list_documents, POST=all_docs.list_documents, allow="GET,HEAD,POST"),
    Route("/{db}/_design_docs/queries", POST=all_docs.list_queries),
    Route("/{db}/_ensure_full_commit", POST=database.ensure_full_commit),
    Route("/{db}/_local_docs", GET=all_docs.list_documents, POST=all_docs.list_documents, allow="GET,HEAD,POST"),
    Route("/{db}/_local_docs/queries", POST=all_docs.list_queries),
    Route("/{db}/_missing_revs", POST=revs_diff.missing_revisions),
    Route("/{db}/_nouveau_cleanup", POST=view.clean_up),
    Route("/{db}/_purge", POST=purge.purge),
    Route("/{db}/_purged_infos", GET=purge.infos),
    Route("/{db}/_purged_infos_limit", GET=database.limit, PUT=database.set_limit),
    Route("/{db}/_revs_diff", POST=revs_diff.revisions_difference),
    Route("/{db}/_revs_limit", PUT=database.set_limit, GET=database.limit),
    Route("/{db}/_search_cleanup", POST=unsupported.search_cleanup),
    Route("/{db}/_security", PUT=database.set_security, GET=database.security),
    Route("/{db}/_shards", GET=cluster.shards),
    Route("/{db}/_shards/{id}", GET=cluster.shard_of_document),
    # Else these paths would be taken for attachments of a document of that name.
    Route("/{db}/_shards/{id}/**", GET=_missing),
    Route("/{db}/_sync_shards", POST=cluster.synchronize),
    Route(
        "/{db}/_temp_view",
        GET=unsupported.temporary_view,
        POST=unsupported.temporary_view,
        PUT=unsupported.temporary_view,
        DELETE=unsupported.temporary_view,
        allow="POST",
    ),
    Route("/{db}/_view_cleanup", POST=view.clean_up),
)

SHARED: Final = (
    Route("/{db}/_all_docs", GET=all_docs.list_documents, POST=all_docs.list_documents, allow="GET,HEAD,POST"),
    Route("/{db}/_all_docs/queries", POST=all_docs.list_queries),
    Route("/{db}/_explain/**", POST=find.explain),
    Route("/{db}/_find/**", POST=find.find),
    Route("/{db}/_index", GET=index.list_indexes, POST=index.create, before=(index.check_user,)),
    Route("/{db}/_index/_bulk_delete", POST=index.delete_many, before=(index.check_user,)),
    Route("/{db}/_index/{ddoc}/{type}/{name}", DELETE=index.delete, before=(index.check_user,)),
    Route("/{db}/_index/{ddoc=_design/*}/{type}/{name}", DELETE=index.delete, before=(index.check_user,)),
    Route("/{db}/_index/**", ANY=_missing, before=(index.check_user,)),
    Route("/{db}/_design/{ddoc}/_info", GET=view.info),
    Route("/{db}/_design/{ddoc}/_update", ANY=update.refuse_path),
    Route("/{db}/_design/{ddoc}/_update/{function}/{document=**}", ANY=update.update),
    Route("/{db}/_design/{ddoc}/_view/{view}", GET=view.list_rows, POST=view.list_rows, allow="GET,POST,HEAD"),
    Route("/{db}/_design/{ddoc}/_view/{view}/queries", POST=view.list_queries),
    # CouchDB knows the path, and no method for it: 405 with this header.
    Route("/{db}/_design/{ddoc}/_view/", allow="GET,POST,HEAD"),
    Route("/{db}/_design/{ddoc}/_view/**", allow="GET,POST,HEAD"),
    *(
        Route(f"/{{db}}/_design/{{ddoc}}/{{function={name}}}/**", ANY=unsupported.design_function)
        for name in unsupported.DESIGN_FUNCTIONS
    ),
)
"""Routes that a database and each of its partitions have."""

PARTITION: Final = (
    Route("/{db}/_partition", ANY=partition.refuse_path),
    Route("/{db}/_partition/{partition}", GET=partition.info),
    *(
        Route(
            route.pattern.replace("/{db}", "/{db}/_partition/{partition}", 1),
            allow=route.allow,
            before=(partition.narrow, *route.before),
            **route.handlers,
        )
        for route in SHARED
    ),
    # CouchDB takes other paths behind these names for attachments.
    _attachment("/{db}/_partition/{partition}/{id=_all_docs}/{name=**}", before=partition.narrow),
    _attachment("/{db}/_partition/{partition}/{id=_design/*}/{name=_*/**}", before=partition.narrow),
    Route("/{db}/_partition/{partition}/**", ANY=_missing, before=(partition.narrow,)),
)

DOCUMENT: Final = (
    _document("/{db}/{id}"),
    _document("/{db}/{id=_design/*}"),
    _document("/{db}/{id=_local/*}"),
    _attachment("/{db}/{id}/{name=**}"),
    _attachment("/{db}/{id=_design/*}/{name=**}"),
    # A client escaped the slash of the id. CouchDB redirects it to the usual address.
    _document("/{db}/{id=_design%2F*}", get=document.redirect),
    _attachment("/{db}/{id=_design%2F*}/{name=**}", get=document.redirect),
    _no_document("/{db}/_local", document.refuse_local_id),
    _no_document("/{db}/_local/", document.refuse_local_id),
    _no_document("/{db}/_local/*/**", document.refuse_local_attachment),
    Route("/{db}/_local%2F/**", ANY=document.refuse_local_id),
)

ROUTES: Final = RouteTree(
    (
        Route("/", GET=server.welcome, allow="GET,HEAD"),
        *SERVER,
        # An endpoint's name is never that of a database.
        *(Route(f"{route.pattern}/**", ANY=_missing) for route in SERVER if not route.pattern.endswith("/**")),
        *DATABASE,
        *SHARED,
        *PARTITION,
        *DOCUMENT,
    )
)
