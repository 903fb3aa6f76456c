"""The endpoints of one partition of a database: its numbers, and the requests that it shares with the database."""

from functools import partial
from typing import Any

from couchmodel._embedded.documents.reader import check_database
from couchmodel._embedded.rules.partitions import check_partition
from couchmodel._embedded.server.responses import json_answer
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Database, Store
from couchmodel._wire.messages import Request, Response
from couchmodel.errors import BadRequestError

__all__ = ["database_request", "info"]


async def info(store: Store, database: Database, request: Request) -> Response:
    """Answer ``GET /{db}/_partition/{partition}``."""
    name = request.path[2]
    _require(database, name)
    return json_answer(200, await store.read_in_thread(partial(_read_info, database, name)))


def database_request(database: Database, request: Request) -> Request:
    """Return a request to an endpoint of a partition as a request to the database with the parameter ``partition``.

    Raises BadRequestError if the database is not partitioned, or if the query names another partition.
    """
    name = request.path[2]
    _require(database, name)
    if request.query.get("partition", name) != name:
        raise BadRequestError("Conflicting value for `partition` in query string")
    query = {**request.query, "partition": name}
    path = (request.path[0], *request.path[3:])
    narrowed = Request(request.method, path, query, request.headers, request.body, request.stream)
    narrowed.user = request.user
    return narrowed


def _require(database: Database, name: str) -> None:
    if not database.partitioned:
        raise BadRequestError("database is not partitioned")
    check_partition(name)


def _read_info(database: Database, name: str, connection: Connection) -> dict[str, Any]:
    check_database(database.number, connection)
    living, deleted, size = connection.execute(
        "SELECT coalesce(sum(NOT deleted), 0), coalesce(sum(deleted), 0), coalesce(sum(length(body)), 0)"
        " FROM document WHERE database = ? AND id >= ? AND id < ?",
        (database.number, f"{name}:", f"{name};"),
    ).fetchone()
    return {
        "db_name": database.name,
        "sizes": {"active": size, "external": size},
        "partition": name,
        "doc_count": living,
        "doc_del_count": deleted,
    }
