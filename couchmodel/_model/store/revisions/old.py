"""Old revisions of a document, as far as the store still has them."""

from collections.abc import AsyncGenerator
from typing import Final

from couchmodel._model.store.revisions.history import read_revisions
from couchmodel._wire.messages import document_path, encode
from couchmodel.engine import Database

__all__ = ["old_bodies"]

_BATCH: Final = 20
"""The revisions of one request."""


async def old_bodies(database: Database, id: str) -> AsyncGenerator[bytes, None]:
    """Yield the JSON text of each revision that is stored, newest first, but for deletions.

    Raises NotFoundError if the document is missing or deleted.
    """
    shown = await database.session.get(document_path(database.path, id), {"revs_info": "true"})
    # The others were compacted away; CouchDB still knows their ids.
    revs = [each["rev"] for each in shown["_revs_info"] if each["status"] == "available"]
    for start in range(0, len(revs), _BATCH):
        batch = revs[start : start + _BATCH]
        found = await read_revisions(database, id, batch)
        # CouchDB answers open_revs in an order of its own.
        for rev in batch:
            if rev in found and not found[rev].get("_deleted"):
                yield encode(found[rev])
