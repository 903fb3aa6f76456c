"""Old revisions of a document, as far as the store still has them."""

import logging
from collections.abc import AsyncGenerator
from typing import Any, Final

from couchmodel._model.store.feeds.changes import OnInvalid, check_on_invalid
from couchmodel._model.store.revisions.history import read_revisions
from couchmodel._model.store.revisions.merging import VersionSource, load_version
from couchmodel._wire.messages import document_path
from couchmodel.errors import DocumentError

__all__ = ["read_old_versions"]

_log: Final = logging.getLogger("couchmodel.revisions")

_BATCH: Final = 20
"""The revisions of one request."""


async def read_old_versions(source: VersionSource, id: str, on_invalid: OnInvalid) -> AsyncGenerator[Any, None]:
    """Yield the document of each revision that is stored, newest first, but for deletions.

    Raises NotFoundError if the document is missing or deleted; DocumentError, which names the revision, for one that
    does not fit the model, unless it is to be skipped.
    """
    check_on_invalid(on_invalid)
    database = source.database
    shown = await database.session.get(document_path(database.path, id), {"revs_info": "true"})
    # The others were compacted away; CouchDB still knows their ids.
    revs = [each["rev"] for each in shown["_revs_info"] if each["status"] == "available"]
    for start in range(0, len(revs), _BATCH):
        batch = revs[start : start + _BATCH]
        found = await read_revisions(database, id, batch)
        # CouchDB answers open_revs in an order of its own.
        for rev in batch:
            if rev in found and not found[rev].get("_deleted"):
                try:
                    document = load_version(source, found[rev])
                except DocumentError as error:
                    if on_invalid == "raise":
                        raise
                    _log.warning("a revision of %s is skipped: %s", source.model.__name__, error)
                else:
                    yield document
