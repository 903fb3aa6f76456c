"""The replicas of a database that are known: from the checkpoints of replications, and from ``_replicator``."""

from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any
from urllib.parse import unquote

from couchmodel._wire.messages import Request, decode
from couchmodel.engine import Database
from couchmodel.engine._io.rows import Rows
from couchmodel.errors import ForbiddenError, NotFoundError, UnauthorizedError
from couchmodel.transports.urls import redact
from couchmodel.types import JSONObject

__all__ = ["known_replicas"]


async def known_replicas(database: Database) -> AsyncIterator[str]:
    """Yield a sentence for each replica. What the user may not read is left out."""
    async for document in _documents(database, (*database.path, "_local_docs")):
        # Other local documents, such as positions of consumers, have no history.
        if isinstance(document.get("history"), list) and "session_id" in document:
            yield _say_checkpoint(document)
    async for document in _documents(database, ("_replicator", "_all_docs")):
        ends = [_address(document.get(name)) for name in ("source", "target")]
        if any(end is not None and _name(end) == database.id for end in ends):
            source, target = (end or "?" for end in ends)
            yield f"{document['_id']!r} in _replicator replicates {source} to {target}"


def _say_checkpoint(document: JSONObject) -> str:
    """Return what a checkpoint says of its replication. It does not have the address of the other side."""
    last: Any = document["history"][0] if document["history"] else {}
    when = last.get("end_time") if isinstance(last, dict) else None
    id = str(document["_id"]).removeprefix("_local/")
    return f"a replication with the id {id} has run{f', last on {when}' if when else ''}"


def _address(end: Any) -> str | None:
    """Return the address of one side of a replication, without credentials."""
    address = end.get("url") if isinstance(end, dict) else end
    return redact(address) if isinstance(address, str) else None


def _name(address: str) -> str:
    # A side of a replication is a URL or the name of a local database; the name is last in both.
    return unquote(address.partition("?")[0].rstrip("/").rpartition("/")[2])


async def _documents(database: Database, path: tuple[str, ...]) -> AsyncIterator[JSONObject]:
    rows = Rows(database.session, Request("GET", path, {"include_docs": "true"}))
    with suppress(UnauthorizedError, ForbiddenError, NotFoundError):
        async with aclosing(rows.batches()) as batches:
            async for batch in batches:
                for row in batch:
                    document = decode(row).get("doc")
                    if isinstance(document, dict):
                        yield document
