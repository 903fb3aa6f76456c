"""The endpoints of one partition of a database: its numbers, and the requests that it shares with the database."""

from typing import Any

from couchmodel._embedded.rules.partitions import check_partition
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.responses import json_answer
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.database_row import check_database
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._wire.messages import Request, Response
from couchmodel.errors import BadRequestError

__all__ = ["info", "narrow", "refuse_path"]


async def info(exchange: Exchange) -> Response:
    """Answer ``GET /{db}/_partition/{partition}``."""
    name = exchange.arguments["partition"]
    _require(exchange.database, name)
    return json_answer(200, await exchange.store.read_in_thread(_read_info, exchange.database, name))


async def refuse_path(exchange: Exchange) -> Response:
    """Refuse ``/{db}/_partition``. Raises BadRequestError."""
    raise BadRequestError("invalid_partition_req")


def narrow(exchange: Exchange) -> None:
    """Turn a request to an endpoint of a partition into one to the database with the parameter ``partition``.

    Raises BadRequestError if the database is not partitioned, or if the query names another partition.
    """
    request, name = exchange.request, exchange.arguments["partition"]
    _require(exchange.database, name)
    if request.query.get("partition", name) != name:
        raise BadRequestError("Conflicting value for `partition` in query string")
    query = {**request.query, "partition": name}
    # Without `_partition` and its name, so the request looks like one to the database.
    path = (request.path[0], *request.path[3:])
    exchange.request = Request(request.method, path, query, request.headers, request.body, request.stream)


def _require(database: Database, name: str) -> None:
    if not database.partitioned:
        raise BadRequestError("database is not partitioned")
    check_partition(name)


def _read_info(connection: Connection, database: Database, name: str) -> dict[str, Any]:
    check_database(connection, database.number)
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
