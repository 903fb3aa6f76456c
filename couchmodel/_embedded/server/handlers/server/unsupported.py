"""Refuse features of CouchDB that the store does not have.

The optional ones are refused as by a CouchDB without them, the others with an error that says why.
"""

from typing import Final

from couchmodel._embedded.documents.reader import find_winner, require_living
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._wire.messages import Response
from couchmodel.errors import NotFoundError, ResponseError, UnavailableError, UnsupportedError

__all__ = [
    "DESIGN_FUNCTIONS",
    "design_function",
    "nouveau_analyze",
    "reshard",
    "search_analyze",
    "search_cleanup",
    "temporary_view",
]

DESIGN_FUNCTIONS: Final = (
    *("_list", "_rewrite", "_show"),
    *("_nouveau", "_nouveau_info", "_search", "_search_disk_size", "_search_info"),
)
"""Segments of a path behind a design document's name that belong to such features."""


async def design_function(exchange: Exchange) -> Response:
    """Refuse ``/{db}/_design/{ddoc}/{function}``. Raises NotFoundError if the design document does not exist."""
    design, name = exchange.arguments["ddoc"], exchange.arguments["function"]
    await exchange.store.read(_require_document, exchange.database.number, f"_design/{design}")
    if name.startswith("_search"):
        raise _no_search()
    if name.startswith("_nouveau"):
        raise NotFoundError("missing")
    raise UnsupportedError(f"The embedded store has no {name} functions. CouchDB is giving them up.")


async def search_analyze(exchange: Exchange) -> Response:
    """Refuse ``POST /_search_analyze``."""
    raise _no_search()


async def search_cleanup(exchange: Exchange) -> Response:
    """Refuse ``POST /{db}/_search_cleanup``."""
    raise _no_search()


async def nouveau_analyze(exchange: Exchange) -> Response:
    """Refuse ``POST /_nouveau_analyze``."""
    raise NotFoundError("missing")


async def reshard(exchange: Exchange) -> Response:
    """Refuse ``/_reshard`` and the paths below it."""
    raise UnsupportedError("The embedded store keeps a database in one piece: there are no shards to be split.")


async def temporary_view(exchange: Exchange) -> Response:
    """Refuse ``/{db}/_temp_view``."""
    raise ResponseError("Temporary views are not supported in CouchDB", code="gone", status=410)


def _no_search() -> UnavailableError:
    return UnavailableError("Search is not available", code="service unavailable")


def _require_document(connection: Connection, database_id: int, id: str) -> None:
    require_living(find_winner(connection, database_id, id))
