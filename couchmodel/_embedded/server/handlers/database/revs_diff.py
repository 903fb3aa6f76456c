"""The endpoints ``_revs_diff`` and ``_missing_revs``, by which replicators ask what a database lacks."""

from collections.abc import Callable
from typing import Any

from couchmodel._embedded import limits
from couchmodel._embedded.json.parse import parse_object
from couchmodel._embedded.queries.revs_diff import Difference, check_revisions, differences
from couchmodel._embedded.rules.params import require_json_type
from couchmodel._embedded.rules.partitions import require_partition
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.request_body import parsed_body, read_text
from couchmodel._embedded.server.responses import json_answer
from couchmodel._embedded.storage.database import Database
from couchmodel._embedded.storage.sqlite import Connection
from couchmodel._embedded.storage.store import Store
from couchmodel._wire.messages import Request, Response

__all__ = ["missing_revisions", "revisions_difference"]


async def revisions_difference(exchange: Exchange) -> Response:
    """Answer ``POST /{db}/_revs_diff``."""

    def members(found: dict[str, Difference]) -> dict[str, Any]:
        return {id: _difference_row(difference) for id, difference in found.items()}

    return await _answer_differences(exchange.store, exchange.database, exchange.request, members)


async def missing_revisions(exchange: Exchange) -> Response:
    """Answer ``POST /{db}/_missing_revs``."""

    def members(found: dict[str, Difference]) -> dict[str, Any]:
        return {"missing_revs": {id: difference.missing for id, difference in found.items()}}

    return await _answer_differences(exchange.store, exchange.database, exchange.request, members)


async def _answer_differences(
    store: Store, database: Database, request: Request, members: Callable[[dict[str, Difference]], dict[str, Any]]
) -> Response:
    """Answer with the revisions of the request that the database lacks.

    ``members`` makes the members of the answer from them.
    """
    require_json_type(request)
    async with parsed_body(await read_text(request), parse_object) as body:
        count = sum(len(revs) for revs in body.values() if isinstance(revs, list))
        few = max(len(body), count) <= limits.INLINE_REVISIONS

        # The answer is encoded in the reading job: it may be too large for the event loop.
        def answer(connection: Connection) -> Response:
            check_revisions(body)
            if database.partitioned:
                for id in body:
                    require_partition(id)
            return json_answer(200, members(differences(connection, database.number, body)))

        return await (store.read if few else store.read_in_thread)(answer)


def _difference_row(difference: Difference) -> dict[str, Any]:
    row = {"missing": difference.missing}
    if difference.possible_ancestors:
        # Left out if there are none, as in CouchDB.
        row["possible_ancestors"] = difference.possible_ancestors
    return row
