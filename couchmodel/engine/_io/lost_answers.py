"""Writes whose answer nobody got: the save was cancelled, or the answer was lost on its way.

Such a write may have been carried out. Then the next save of the document is refused as a conflict with the revision
that this one has become. That revision is told from another's by where it comes from and by what it says.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from couchmodel._wire.equality import same
from couchmodel._wire.messages import decode
from couchmodel.engine._io.session import Session
from couchmodel.errors import NotFoundError, TransportError
from couchmodel.types import JSONObject

__all__ = ["UNANSWERED", "find_own", "may_be_stored"]

UNANSWERED: Final = (asyncio.CancelledError, TransportError)
"""What ends a request that got no answer."""


def may_be_stored(error: BaseException) -> bool:
    """Return whether a write that has ended so may have been carried out."""
    return not isinstance(error, TransportError) or error.carried_out is not False


async def find_own(session: Session, path: tuple[str, ...], bodies: Sequence[bytes]) -> tuple[bytes, str] | None:
    """Return the body that has become the stored revision of a document, and that revision; None where none has.

    ``bodies`` are the JSON texts of the document that were sent and got no answer.
    """
    if not bodies:
        return None
    try:
        stored = await session.get(path, {"revs_info": "true"})
    except NotFoundError:
        return None
    for body in bodies:
        sent = decode(body)
        if _follows(stored, sent.get("_rev")) and same(_content(stored), _content(sent)):
            return body, stored["_rev"]
    return None


def _follows(stored: JSONObject, base: str | None) -> bool:
    """Return whether the stored revision is the first after ``base``; after nothing or a deletion, for None."""
    before = stored["_revs_info"][1:2]
    if base is None:
        return not before or before[0]["status"] == "deleted"
    return bool(before) and before[0]["rev"] == base


def _content(document: JSONObject) -> JSONObject:
    """Return what two revisions of the same content have in common: members, and attachments by their digests."""
    attachments: Any = document.get("_attachments") or {}
    digests = {name: stub.get("digest", stub) for name, stub in attachments.items()}
    return {name: value for name, value in document.items() if not name.startswith("_")} | {"_attachments": digests}
