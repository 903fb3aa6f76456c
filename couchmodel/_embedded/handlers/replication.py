"""Revisions by the many: what is missing here, and reading what another database lacks."""

from collections.abc import AsyncGenerator, Sequence
from functools import partial
from typing import Any, Final

from couchmodel._embedded import replication
from couchmodel._embedded.answers import JSON_HEADERS, json_answer, streamed
from couchmodel._embedded.arguments import json_object
from couchmodel._embedded.documents import Wishes
from couchmodel._embedded.replication import BATCH, Difference, Wanted
from couchmodel._embedded.store import Database, Store
from couchmodel._wire.messages import Request, Response
from couchmodel.errors import BadRequestError

__all__ = ["bulk_get", "missing_revisions", "revisions_difference"]

_REFUSED: Final = ("open_revs", "new_edits", "w", "rev", "atts_since")
_WISHES: Final = ("revs", "attachments", "att_encoding_info")


async def revisions_difference(store: Store, database: Database, request: Request) -> Response:
    """``POST /{db}/_revs_diff``."""
    found = await _differences(store, database, request)
    return json_answer(200, {id: _shown(difference) for id, difference in found.items()})


async def missing_revisions(store: Store, database: Database, request: Request) -> Response:
    """``POST /{db}/_missing_revs``."""
    found = await _differences(store, database, request)
    return json_answer(200, {"missing_revs": {id: difference.missing for id, difference in found.items()}})


async def bulk_get(store: Store, database: Database, request: Request) -> Response:
    """``POST /{db}/_bulk_get``."""
    listed = (await json_object(request)).get("docs")
    if not isinstance(listed, list):
        raise BadRequestError("Missing JSON list of 'docs'.")
    for name in _REFUSED:
        if name in request.query:
            raise BadRequestError(f'"{name}" query parameter is not acceptable')
    wanted = [replication.parse_wanted(member) for member in listed]
    wishes = Wishes(**{name: True for name in _WISHES if request.query.get(name) == "true"})
    latest = request.query.get("latest") == "true"
    rows = _rows(store, database, wanted, wishes, latest)
    return Response(200, JSON_HEADERS, stream=streamed(b'{"results":[', rows, b"\n]}\n"))


async def _differences(store: Store, database: Database, request: Request) -> dict[str, Difference]:
    asked = replication.parse_revisions(await json_object(request))
    return await store.read(partial(replication.differences, database.number, asked))


def _shown(difference: Difference) -> dict[str, Any]:
    shown = {"missing": difference.missing}
    if difference.possible_ancestors:
        shown["possible_ancestors"] = difference.possible_ancestors
    return shown


async def _rows(
    store: Store, database: Database, wanted: Sequence[Wanted], wishes: Wishes, latest: bool
) -> AsyncGenerator[list[bytes], None]:
    for start in range(0, len(wanted), BATCH):
        some = wanted[start : start + BATCH]
        yield await store.read(partial(replication.open_many, database.number, some, wishes, latest))
