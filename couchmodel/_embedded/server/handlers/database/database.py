"""The endpoints of one database: create, describe, drop, compact, and its settings."""

import asyncio
import logging
import re
from collections.abc import Mapping
from typing import Any, Final

from couchmodel._embedded import limits
from couchmodel._embedded.documents.incoming import read_document
from couchmodel._embedded.documents.sizes import forget_sizes, read_sizes
from couchmodel._embedded.json.parse import parse_json
from couchmodel._embedded.maintenance.compaction import compact_some
from couchmodel._embedded.rules.params import requests_write_quorum, require_json_type
from couchmodel._embedded.rules.security import DEFAULT, Security, check_security
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.handlers.document.document import write_batch, write_revision
from couchmodel._embedded.server.request_body import json_body, parse_in_thread, read_text
from couchmodel._embedded.server.responses import JSON_HEADERS, OK, json_answer, location
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.database_row import read_row
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Response, encode
from couchmodel.errors import BadRequestError, CouchModelError, ForbiddenError, UnsupportedError

__all__ = [
    "compact",
    "create",
    "create_document",
    "describe",
    "drop",
    "ensure_full_commit",
    "info",
    "limit",
    "security",
    "set_limit",
    "set_security",
]

_log = logging.getLogger("couchmodel.embedded")

SYSTEM: Final = ("_users", "_replicator", "_global_changes")
"""Databases whose names may begin with an underscore."""

# `?DBNAME_REGEX` of `couch_db.hrl`.
_NAME: Final = re.compile(r"[a-z][a-z0-9_$()+/-]*")
_LIMITS: Final = {"_revs_limit": "revs_limit", "_purged_infos_limit": "purged_infos_limit"}


async def create(exchange: Exchange) -> Response:
    """Answer ``PUT /{db}``."""
    name = exchange.arguments["db"]
    shards, partitioned = _parse_shape(exchange.request.query)
    if name not in SYSTEM and not _NAME.fullmatch(name):
        reason = (
            f"Name: '{name}'. Only lowercase characters (a-z), digits (0-9), and any of the characters "
            "_, $, (, ), +, -, and / are allowed. Must begin with a letter."
        )
        raise BadRequestError(reason, code="illegal_database_name")
    if len(name) > limits.DATABASE_NAME_BYTES:
        reason = f"Database name is longer than {limits.DATABASE_NAME_BYTES} bytes"
        raise BadRequestError(reason, code="database_name_too_long")
    # Their ids have no partitions.
    if partitioned and name in SYSTEM:
        raise BadRequestError("Cannot partition a system database")
    await exchange.store.create_database(name, shards=shards, partitioned=partitioned)
    headers = {**JSON_HEADERS, "location": location(exchange, name)}
    return json_answer(201, OK, headers)


async def drop(exchange: Exchange) -> Response:
    """Answer ``DELETE /{db}``."""
    if "rev" in exchange.request.query:
        reason = "You tried to DELETE a database with a ?=rev parameter. Did you mean to DELETE a document instead?"
        raise BadRequestError(reason)
    await exchange.store.drop_database(exchange.arguments["db"])
    return json_answer(200, OK)


async def info(exchange: Exchange) -> Response:
    """Answer ``GET /{db}``."""
    return json_answer(200, await exchange.store.read(describe, exchange.database))


async def create_document(exchange: Exchange) -> Response:
    """Answer ``POST /{db}``."""
    database, request = exchange.database, exchange.request
    require_json_type(request)
    edit = await parse_in_thread(await read_text(request, limits.DOCUMENTS_BYTES), read_document)
    edit.id = edit.id or exchange.store.uuids.next()
    if request.query.get("batch") == "ok":
        return await write_batch(exchange, edit)
    status = 202 if requests_write_quorum(request.query) else 201
    rev = await write_revision(exchange, edit)
    headers = {**JSON_HEADERS, "location": location(exchange, database.name, edit.id)}
    return json_answer(status, {"ok": True, "id": edit.id, "rev": rev}, headers)


async def compact(exchange: Exchange) -> Response:
    """Answer ``POST /{db}/_compact``: the compaction goes on in a task after the answer."""
    require_json_type(exchange.request)
    exchange.database.compactions += 1
    task = asyncio.create_task(_compact(exchange.store, exchange.database))
    _compacting.add(task)
    task.add_done_callback(_compacting.discard)
    return json_answer(202, OK)


_compacting: Final[set[asyncio.Task[None]]] = set()
"""The compactions that are running. An event loop keeps only weak references to its tasks."""


async def _compact(store: Store, database: Database) -> None:
    """Compact a database a piece at a time, so that other writes can run in between."""
    last: int | None = 0
    try:
        while last is not None:
            last = await store.write(compact_some, database.number, last)
    except CouchModelError as error:  # the store was closed, or the disk is full: the next compaction goes on
        _log.debug("%s is not compacted: %s", database.name, error)
    finally:
        database.compactions -= 1
        forget_sizes(database)


async def ensure_full_commit(exchange: Exchange) -> Response:
    """Answer ``POST /{db}/_ensure_full_commit``. There is nothing to do: every answered write is committed."""
    require_json_type(exchange.request)
    return json_answer(201, {"ok": True, "instance_start_time": str(exchange.database.created)})


async def limit(exchange: Exchange) -> Response:
    """Answer ``GET /{db}/_revs_limit`` and ``_purged_infos_limit``."""
    name = _LIMITS[exchange.request.path[1]]
    return json_answer(200, await exchange.store.read(_read_setting, exchange.database.number, name))


async def set_limit(exchange: Exchange) -> Response:
    """Answer ``PUT /{db}/_revs_limit`` and ``_purged_infos_limit``."""
    exchange.database.security.require_admin(exchange.user)
    value = await json_body(exchange.request)
    name = _LIMITS[exchange.request.path[1]]
    # By exact type, because True is an int in Python.
    if type(value) is not int or not 1 <= value <= limits.LARGEST_NUMBER:
        raise BadRequestError(f"`{name}` must be positive integer")
    await exchange.store.write(_write_setting, exchange.database.number, name, value)
    return json_answer(200, OK)


async def security(exchange: Exchange) -> Response:
    """Answer ``GET /{db}/_security``."""
    text = exchange.database.security.text
    return Response(200, JSON_HEADERS, (encode(DEFAULT) if text is None else text) + b"\n")


async def set_security(exchange: Exchange) -> Response:
    """Answer ``PUT /{db}/_security``."""
    database = exchange.database
    value = await parse_in_thread(await read_text(exchange.request, limits.QUERY_BYTES), parse_json)
    if database.name == "_users":
        raise ForbiddenError("You can't edit the security object of the user database.")
    database.security.require_admin(exchange.user)
    security = _make_security(database.name, value)

    def replace_security(_: object) -> None:
        database.security = security

    await exchange.store.write(_write_setting, database.number, "security", security.text, on_commit=replace_security)
    return json_answer(200, OK)


def _make_security(name: str, value: Any) -> Security:
    """Make the security settings of a database from a security object.

    Raises BadRequestError if it is invalid, UnsupportedError if it lets others use ``_replicator``.
    """
    check_security(value)
    if name == "_replicator" and value != DEFAULT:
        # The documents hold passwords, and their replications run with an administrator's rights.
        raise UnsupportedError("In the embedded store only administrators of the server use _replicator.")
    return Security(encode(value), value)


def _parse_shape(query: Mapping[str, str]) -> tuple[int, bool]:
    """Return the number of shards and True for a partitioned database. The store keeps one copy, whatever ``n`` is.

    Raises BadRequestError if a parameter is invalid.
    """
    # The number of shards has no effect, but clients read it back from `GET /{db}`.
    shards, _copies = (_positive_integer(name, query.get(name, default)) for name, default in (("q", "2"), ("n", "1")))
    if "placement" in query:
        _check_placement(query["placement"])
    if query.get("engine", "couch") != "couch":
        raise BadRequestError("invalid_engine_extension")
    partitioned = query.get("partitioned", "false")
    if partitioned not in ("true", "false"):
        raise BadRequestError("Invalid `partitioned` parameter")
    return shards, partitioned == "true"


def _positive_integer(name: str, text: str) -> int:
    if not _INTEGER.fullmatch(text) or int(text) < 1:
        raise BadRequestError(f"The `{name}` value should be a positive integer.")
    return int(text)


def _check_placement(text: str) -> None:
    for rule in text.split(","):
        _zone, _, copies = rule.partition(":")
        if not _INTEGER.fullmatch(copies) or int(copies) < 1:
            raise BadRequestError("The `placement` value should be in a format `zone:n`.")
    raise BadRequestError("no_nodes_in_zone")  # there is one node, and it is in none


_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,9}", re.ASCII)


def describe(connection: Connection, database: Database) -> dict[str, Any]:
    """Return the members of ``GET /{db}``. Raises NotFoundError if the database was dropped."""
    update_seq, purge_seq, living, deleted = read_row(
        connection, database.number, "update_seq, purge_seq, living, deleted"
    )
    count = living + deleted
    return {
        "instance_start_time": str(database.created),
        "db_name": database.name,
        # The store has one node, which has each of its databases once, so it is all that a quorum needs.
        "purge_seq": database.sequence(purge_seq),
        "update_seq": database.sequence(update_seq),
        "sizes": read_sizes(connection, database, count, update_seq)._asdict(),
        "props": {"partitioned": True} if database.partitioned else {},
        "doc_del_count": deleted,
        "doc_count": living,
        # The version of CouchDB 3's file format.
        "disk_format_version": 8,
        "compact_running": database.compactions > 0,
        "cluster": {"q": database.shards, "n": 1, "w": 1, "r": 1},
    }


def _read_setting(connection: Connection, database_id: int, name: str) -> Any:
    return read_row(connection, database_id, name)[0]


def _write_setting(connection: Connection, database_id: int, name: str, value: object) -> None:
    connection.execute(f"UPDATE database SET {name} = ? WHERE number = ?", (value, database_id))
