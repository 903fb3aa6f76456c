"""The server: who it is, and which databases it has."""

import secrets
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from couchmodel._embedded.json.parse import json_parameter
from couchmodel._embedded.rules.params import boolean, integer, require_json_type, whole_number
from couchmodel._embedded.server.handlers.database.database import describe
from couchmodel._embedded.server.request_body import json_object
from couchmodel._embedded.server.responses import JSON_HEADERS, OK, json_answer, tagged_answer
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request, Response
from couchmodel._wire.users import User
from couchmodel.errors import BadRequestError, NotFoundError

__all__ = ["databases", "databases_info", "reload_functions", "up", "uuids", "welcome"]

VERSION: Final = "3.5.0"
"""The CouchDB whose semantics the store has."""

MOST_UUIDS: Final = 1000
MOST_DATABASES: Final = 100
NODE: Final = "couchmodel@127.0.0.1"


async def welcome(store: Store, request: Request, user: User) -> Response:
    """``GET /``."""
    return json_answer(
        200,
        {
            "couchdb": "Welcome",
            "version": VERSION,
            "uuid": store.uuid,
            "features": ["partitioned", "scheduler"],
            "vendor": {"name": "couchmodel"},
        },
    )


async def up(store: Store, request: Request, user: User) -> Response:
    """``GET /_up``."""
    return json_answer(200, {"status": "ok", "seeds": {}})


async def uuids(store: Store, request: Request, user: User) -> Response:
    """``GET /_uuids``."""
    count = request.query.get("count", "1")
    if not (count.isascii() and count.isdigit()):
        raise BadRequestError("count must be a positive integer")
    if whole_number(count) > MOST_UUIDS:
        raise BadRequestError("count parameter too large")
    headers = {**_NOT_KEPT, "etag": f'"{secrets.token_hex(16)}"'}
    return json_answer(200, {"uuids": [store.uuids.next() for _ in range(whole_number(count))]}, headers)


_NOT_KEPT: Final = {
    **JSON_HEADERS,
    "cache-control": "no-cache",
    "expires": "Mon, 01 Jan 1990 00:00:00 GMT",
    "pragma": "no-cache",
}
"""No cache may answer a second client with the ids of the first."""


async def reload_functions(store: Store, request: Request, user: User) -> Response:
    """``POST /_reload_query_servers``: functions are made anew whenever their design document is another one."""
    require_json_type(request)
    return json_answer(200, OK)


async def databases(store: Store, request: Request, user: User) -> Response:
    """``GET /_all_dbs``."""
    return tagged_answer(request.headers, _listed(store, request))


async def databases_info(store: Store, request: Request, user: User) -> Response:
    """``GET /_dbs_info`` and ``POST /_dbs_info``."""
    if request.method != "POST":
        return tagged_answer(request.headers, await _infos(store, _listed(store, request)))
    return json_answer(200, await _infos(store, _keys(await json_object(request))))


async def _infos(store: Store, names: Sequence[Any]) -> list[dict[str, Any]]:
    return [await _info(store, name) for name in names]


async def _info(store: Store, name: Any) -> dict[str, Any]:
    database = store.databases.get(name) if isinstance(name, str) else None
    if database is None:
        return {"key": name, "error": "not_found"}
    try:
        return {"key": name, "info": await store.read(partial(describe, database))}
    except NotFoundError:
        return {"key": name, "error": "not_found"}


def _keys(body: dict[str, Any]) -> list[Any]:
    if "keys" not in body:
        raise BadRequestError("`keys` member must exist.")
    keys = body["keys"]
    if not isinstance(keys, list):
        raise BadRequestError("`keys` member must be an array.")
    if len(keys) > MOST_DATABASES:
        raise BadRequestError("`keys` member exceeds max number of dbs.")
    return keys


def _listed(store: Store, request: Request) -> list[str]:
    """The names of the databases in a range, in the order of their bytes."""
    query = request.query
    if "keys" in query:
        keys = json_parameter(query["keys"])
        if not isinstance(keys, list):
            raise BadRequestError("`keys` parameter must be an array.")
        return [name for name in keys if isinstance(name, str) and name in store.databases]
    key = query.get("key")
    low = _bound(key or query.get("startkey", query.get("start_key")))
    high = _bound(key or query.get("endkey", query.get("end_key")))
    descending = boolean("descending", query.get("descending", "false"))
    if descending:
        low, high = high, low
    names = sorted(
        (name for name in store.databases if (low is None or low <= name) and (high is None or name <= high)),
        reverse=descending,
    )
    if query.get("inclusive_end") == "false":
        names = [name for name in names if name != (low if descending else high)]
    skip = integer("skip", query.get("skip", "0"))
    limit = integer("limit", query["limit"]) if "limit" in query else len(names)
    return names[skip : skip + limit]


def _bound(text: str | None) -> str | None:
    if text is None:
        return None
    value = json_parameter(text)
    return value if isinstance(value, str) else None
