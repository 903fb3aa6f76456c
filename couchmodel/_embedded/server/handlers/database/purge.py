"""The endpoints ``_purge`` and ``_purged_infos``."""

from couchmodel._embedded import limits
from couchmodel._embedded.json.parse import parse_object
from couchmodel._embedded.maintenance import purge as purging
from couchmodel._embedded.rules.params import requests_write_quorum, require_json_type
from couchmodel._embedded.rules.partitions import require_partition
from couchmodel._embedded.server.exchange import Exchange
from couchmodel._embedded.server.request_body import parse_in_thread, read_text
from couchmodel._embedded.server.responses import json_answer
from couchmodel._wire.messages import Response
from couchmodel._wire.revisions import Rev
from couchmodel.errors import BadRequestError

__all__ = ["infos", "purge"]


async def purge(exchange: Exchange) -> Response:
    """Answer ``POST /{db}/_purge``."""
    database, request = exchange.database, exchange.request
    require_json_type(request)
    revs_by_id, accepted = (
        await parse_in_thread(await read_text(request), _parse_purge),
        requests_write_quorum(request.query),
    )
    if database.partitioned:
        for id in revs_by_id:
            require_partition(id)
    gone = await exchange.store.write(purging.purge, database.number, revs_by_id, on_commit=database.notify)
    # As in CouchDB, which answers null here.
    return json_answer(202 if accepted else 201, {"purge_seq": None, "purged": gone})


async def infos(exchange: Exchange) -> Response:
    """Answer ``GET /{db}/_purged_infos``."""
    found = await exchange.store.read(purging.read_purged_infos, exchange.database.number)
    return json_answer(200, {"purged_infos": found})


def _parse_purge(text: bytes) -> dict[str, list[Rev]]:
    body = parse_object(text)
    for revs in body.values():
        if not isinstance(revs, list):
            raise BadRequestError("Invalid list of revisions")
    if len(body) > limits.PURGED_DOCUMENTS:
        raise BadRequestError("Exceeded maximum number of documents.")
    if sum(map(len, body.values())) > limits.PURGED_REVISIONS:
        raise BadRequestError("Exceeded maximum number of revisions.")
    return {id: list(map(Rev.parse, revs)) for id, revs in body.items()}
