"""The cluster, which is one node, and the shards that a database would have in a CouchDB."""

import zlib
from typing import Final

from couchmodel._embedded.rules.partitions import check_access
from couchmodel._embedded.server.handlers.server.server import NODE
from couchmodel._embedded.server.request_body import json_object
from couchmodel._embedded.server.responses import OK, json_answer
from couchmodel._embedded.storage.store import Database, Store
from couchmodel._wire.messages import Request, Response
from couchmodel._wire.users import User
from couchmodel.errors import BadRequestError, NotFoundError, UnsupportedError

__all__ = ["membership", "set_up", "shards", "state", "synchronize"]

RING: Final = 1 << 32
"""How many hashes there are for the shards to share."""

_FINISHING: Final = ("enable_single_node", "finish_cluster")
_JOINING: Final = ("add_node", "enable_cluster", "receive_cookie", "remove_node")


async def membership(store: Store, request: Request, user: User) -> Response:
    """``GET /_membership``."""
    return json_answer(200, {"all_nodes": [NODE], "cluster_nodes": [NODE]})


async def state(store: Store, request: Request, user: User) -> Response:
    """``GET /_cluster_setup``."""
    return json_answer(200, {"state": "single_node_enabled"})


async def set_up(store: Store, request: Request, user: User) -> Response:
    """``POST /_cluster_setup``: there is nothing left to be set up."""
    action = (await json_object(request)).get("action")
    if action in _FINISHING:
        raise BadRequestError("Cluster is already finished")
    if action in _JOINING:
        raise UnsupportedError("The embedded store is one node and joins no others.")
    raise BadRequestError("Invalid Action'")


async def shards(store: Store, database: Database, request: Request) -> Response:
    """``GET /{db}/_shards`` and ``GET /{db}/_shards/{id}``."""
    match request.path[2:]:
        case ():
            return json_answer(200, {"shards": {_range(database, n): [NODE] for n in range(database.shards)}})
        case (id,):
            if database.partitioned:
                check_access(id)
            return json_answer(200, {"range": _range(database, _shard(database, id)), "nodes": [NODE]})
    raise NotFoundError("missing")


async def synchronize(store: Store, database: Database, request: Request) -> Response:
    """``POST /{db}/_sync_shards``: there is one copy, which agrees with itself."""
    return json_answer(202, OK)


def _range(database: Database, number: int) -> str:
    size = RING // database.shards
    last = RING if number == database.shards - 1 else (number + 1) * size
    return f"{number * size:08x}-{last - 1:08x}"


def _shard(database: Database, id: str) -> int:
    """Where CouchDB would keep a document: by its id, or by its partition."""
    of_partition = database.partitioned and not id.startswith("_design/")
    hashed = id.partition(":")[0] if of_partition else id
    number = zlib.crc32(hashed.encode()) // (RING // database.shards)
    return min(number, database.shards - 1)
