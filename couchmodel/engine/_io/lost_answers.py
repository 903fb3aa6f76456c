"""Writes without an answer: the save was cancelled, or the answer was lost on its way.

The server may have carried out such a write. Then it refuses the next save of the document as a conflict with the
revision that the write made. That revision is recognized by its parent revision and by its content.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from couchmodel._wire.equality import json_equal
from couchmodel._wire.messages import Request, decode, encode
from couchmodel.engine._io.session import Session
from couchmodel.errors import NotFoundError, TransportError
from couchmodel.types import JSONObject

__all__ = ["NO_ANSWER_ERRORS", "find_own_write", "find_own_writes", "may_be_carried_out"]

NO_ANSWER_ERRORS: Final = (asyncio.CancelledError, TransportError)
"""The exceptions that end a request without an answer."""


def may_be_carried_out(error: BaseException) -> bool:
    """Return True if the server may have carried out a write that ended with this exception."""
    return not isinstance(error, TransportError) or error.carried_out is not False


async def find_own_write(session: Session, path: tuple[str, ...], bodies: Sequence[bytes]) -> tuple[bytes, str] | None:
    """Return which of ``bodies`` is the stored revision of the document, and that revision; None if none is.

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
        if _follows(stored, sent.get("_rev")) and json_equal(_content(stored), _content(sent)):
            return body, stored["_rev"]
    return None


async def find_own_writes(session: Session, database: tuple[str, ...], bodies: Sequence[bytes]) -> list[str | None]:
    """Return for each of ``bodies`` the revision that it has made, or None: JSON texts of documents and of deletions.

    A text without a revision is taken for the maker of any current revision that has its content.
    """
    sent = [decode(body) for body in bodies]
    wanted = encode({"docs": [{"id": id} for id in dict.fromkeys(document["_id"] for document in sent)]})
    answer = await session.json(Request("POST", (*database, "_bulk_get"), {"revs": "true"}, body=wanted))
    leaves: dict[str, list[JSONObject]] = {}
    for result in answer["results"]:
        leaves.setdefault(result["id"], []).extend(each["ok"] for each in result["docs"] if "ok" in each)
    return [
        next((leaf["_rev"] for leaf in leaves.get(document["_id"], ()) if _is_made_by(document, leaf)), None)
        for document in sent
    ]


def _is_made_by(sent: JSONObject, leaf: JSONObject) -> bool:
    start, ids = leaf["_revisions"]["start"], leaf["_revisions"]["ids"]
    parent = f"{start - 1}-{ids[1]}" if len(ids) > 1 else None
    return sent.get("_rev") in (None, parent) and json_equal(_content(leaf), _content(sent))


def _follows(stored: JSONObject, base: str | None) -> bool:
    """Return True if ``base`` is the parent of the stored revision. None stands for no parent, or a deleted one."""
    # The first entry is the stored revision itself, the second its parent.
    before = stored["_revs_info"][1:2]
    if base is None:
        return not before or before[0]["status"] == "deleted"
    return bool(before) and before[0]["rev"] == base


def _content(document: JSONObject) -> JSONObject:
    """Return the content of a revision for comparison: its members, and its attachments by their digests."""
    attachments: Any = document.get("_attachments") or {}
    digests = {name: stub.get("digest", stub) for name, stub in attachments.items()}
    members = {name: value for name, value in document.items() if not name.startswith("_")}
    return {**members, "_attachments": digests, "_deleted": bool(document.get("_deleted"))}
