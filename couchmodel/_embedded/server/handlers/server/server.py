"""Answer for the server as a whole: its name and version, new ids, and the list of its databases."""

import secrets
from collections.abc import Sequence
from typing import Any, Final

from couchmodel._embedded import limits
from couchmodel._embedded.json.parse import parse_json_parameter
from couchmodel._embedded.rules.params import parse_boolean, parse_digits, parse_integer, require_json_type
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.handlers.database.database import describe
from couchmodel._embedded.server.request_body import json_object
from couchmodel._embedded.server.responses import JSON_HEADERS, OK, json_answer, tagged_answer
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request, Response
from couchmodel.errors import BadRequestError, NotFoundError

__all__ = ["databases_info", "list_databases", "reload_functions", "up", "uuids", "welcome"]

VERSION: Final = "3.5.0"
"""The version of CouchDB whose semantics the store follows."""


async def welcome(exchange: Exchange) -> Response:
    """Answer ``GET /`` with the name and the version."""
    return json_answer(
        200,
        {
            "couchdb": "Welcome",
            "version": VERSION,
            "uuid": exchange.store.uuid,
            # Those of CouchDB's features that the store has, and not `search` or `nouveau`.
            "features": ["partitioned", "scheduler"],
            "vendor": {"name": "couchmodel"},
        },
    )


async def up(exchange: Exchange) -> Response:
    """Answer ``GET /_up``."""
    return json_answer(200, {"status": "ok", "seeds": {}})


async def uuids(exchange: Exchange) -> Response:
    """Answer ``GET /_uuids`` with new ids."""
    count = exchange.request.query.get("count", "1")
    if not (count.isascii() and count.isdigit()):
        raise BadRequestError("count must be a positive integer")
    if parse_digits(count) > limits.UUIDS:
        raise BadRequestError("count parameter too large")
    # As `couch_httpd_misc_handlers:handle_uuids_req`.
    headers = {**_UNCACHED, "etag": f'"{secrets.token_hex(16)}"'}
    return json_answer(200, {"uuids": [exchange.store.uuids.next() for _ in range(parse_digits(count))]}, headers)


_UNCACHED: Final = {
    **JSON_HEADERS,
    "cache-control": "no-cache",
    "expires": "Mon, 01 Jan 1990 00:00:00 GMT",
    "pragma": "no-cache",
}
"""Headers that keep a cache from answering a second client with the ids of the first."""


async def reload_functions(exchange: Exchange) -> Response:
    """Answer ``POST /_reload_query_servers``. Nothing has to be done: a changed design document is compiled anew."""
    require_json_type(exchange.request)
    return json_answer(200, OK)


async def list_databases(exchange: Exchange) -> Response:
    """Answer ``GET /_all_dbs``."""
    return tagged_answer(exchange.request.headers, _database_names(exchange.store, exchange.request))


async def databases_info(exchange: Exchange) -> Response:
    """Answer ``GET /_dbs_info`` for a range of databases, and ``POST /_dbs_info`` for named ones."""
    store, request = exchange.store, exchange.request
    if request.method != "POST":
        return tagged_answer(request.headers, await _read_infos(store, _database_names(store, request)))
    return json_answer(200, await _read_infos(store, _parse_keys(await json_object(request))))


async def _read_infos(store: Store, names: Sequence[Any]) -> list[dict[str, Any]]:
    return [await _read_info(store, name) for name in names]


async def _read_info(store: Store, name: Any) -> dict[str, Any]:
    database = store.databases.get(name) if isinstance(name, str) else None
    if database is None:
        return {"key": name, "error": "not_found"}
    try:
        return {"key": name, "info": await store.read(describe, database)}
    except NotFoundError:  # the database was dropped meanwhile
        return {"key": name, "error": "not_found"}


def _parse_keys(body: dict[str, Any]) -> list[Any]:
    if "keys" not in body:
        raise BadRequestError("`keys` member must exist.")
    keys = body["keys"]
    if not isinstance(keys, list):
        raise BadRequestError("`keys` member must be an array.")
    if len(keys) > limits.DATABASE_INFOS:
        raise BadRequestError("`keys` member exceeds max number of dbs.")
    return keys


def _database_names(store: Store, request: Request) -> list[str]:
    """Return the names of the databases in the range that a query asks for, in the order of their bytes.

    With ``keys``, return those of the names for which there is a database.
    """
    query = request.query
    if "keys" in query:
        keys = parse_json_parameter(query["keys"])
        if not isinstance(keys, list):
            raise BadRequestError("`keys` parameter must be an array.")
        return [name for name in keys if isinstance(name, str) and name in store.databases]
    # `chttpd_misc:handle_all_dbs_req` reads the parameters of a view: a name is the id of a document in `_dbs`.
    key = query.get("key")
    low = _parse_bound(key or query.get("startkey", query.get("start_key")))
    high = _parse_bound(key or query.get("endkey", query.get("end_key")))
    descending = parse_boolean("descending", query.get("descending", "false"))
    if descending:
        # A descending range begins at its high end, as in `_all_docs`.
        low, high = high, low
    names = sorted(
        (name for name in store.databases if (low is None or low <= name) and (high is None or name <= high)),
        reverse=descending,
    )
    if query.get("inclusive_end") == "false":
        names = [name for name in names if name != (low if descending else high)]
    skip = parse_integer("skip", query.get("skip", "0"))
    limit = parse_integer("limit", query["limit"]) if "limit" in query else len(names)
    return names[skip : skip + limit]


def _parse_bound(text: str | None) -> str | None:
    """Return the name in a JSON parameter. None is no bound, as is a value that is no string."""
    if text is None:
        return None
    value = parse_json_parameter(text)
    return value if isinstance(value, str) else None
