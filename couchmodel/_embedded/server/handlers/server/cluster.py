"""Answer for the cluster, which is one node, and for the shards that a database would have in CouchDB.

The store keeps a database in one piece. The shards are computed as CouchDB's ``mem3`` would lay them out.
"""

import zlib
from typing import Final

from couchmodel._embedded.rules.partitions import require_partition
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.request_body import json_object
from couchmodel._embedded.server.responses import OK, json_answer
from couchmodel._embedded.settings import NODE
from couchmodel._embedded.storage.database import Database
from couchmodel._wire.messages import Response
from couchmodel.errors import BadRequestError, UnsupportedError

__all__ = ["membership", "set_up", "setup_state", "shard_of_document", "shards", "synchronize"]

HASHES: Final = 1 << 32
"""The number of hash values, which the shards of a database divide among themselves: those of CRC-32."""

_FINISHING: Final = ("enable_single_node", "finish_cluster")
"""Actions of ``_cluster_setup`` that end the setup, which is over from the start."""

_JOINING: Final = ("add_node", "enable_cluster", "receive_cookie", "remove_node")
"""Actions of ``_cluster_setup`` that need a second node."""


async def membership(exchange: Exchange) -> Response:
    """Answer ``GET /_membership``."""
    return json_answer(200, {"all_nodes": [NODE], "cluster_nodes": [NODE]})


async def setup_state(exchange: Exchange) -> Response:
    """Answer ``GET /_cluster_setup``."""
    return json_answer(200, {"state": "single_node_enabled"})


async def set_up(exchange: Exchange) -> Response:
    """Answer ``POST /_cluster_setup`` with an error: the one node needs no setup."""
    action = (await json_object(exchange.request)).get("action")
    if action in _FINISHING:
        raise BadRequestError("Cluster is already finished")
    if action in _JOINING:
        raise UnsupportedError("The embedded store is one node and joins no others.")
    raise BadRequestError("Invalid Action'")


async def shards(exchange: Exchange) -> Response:
    """Answer ``GET /{db}/_shards``."""
    database = exchange.database
    return json_answer(200, {"shards": {_shard_range(database, n): [NODE] for n in range(database.shards)}})


async def shard_of_document(exchange: Exchange) -> Response:
    """Answer ``GET /{db}/_shards/{id}``."""
    database, id = exchange.database, exchange.arguments["id"]
    if database.partitioned:
        require_partition(id)
    return json_answer(200, {"range": _shard_range(database, _shard_of(database, id)), "nodes": [NODE]})


async def synchronize(exchange: Exchange) -> Response:
    """Answer ``POST /{db}/_sync_shards``. There is only one copy of a database, so nothing has to be done."""
    return json_answer(202, OK)


def _shard_range(database: Database, number: int) -> str:
    size = HASHES // database.shards
    # The last shard takes the remainder of the division too.
    last = HASHES if number == database.shards - 1 else (number + 1) * size
    return f"{number * size:08x}-{last - 1:08x}"


def _shard_of(database: Database, id: str) -> int:
    """Return the number of the shard in which CouchDB would keep a document.

    The hash of the document's id determines it; in a partitioned database the hash of the partition's name.
    """
    by_partition = database.partitioned and not id.startswith("_design/")
    hashed = id.partition(":")[0] if by_partition else id
    # CRC-32 is the hash of CouchDB's ``mem3_hash``.
    number = zlib.crc32(hashed.encode()) // (HASHES // database.shards)
    return min(number, database.shards - 1)
