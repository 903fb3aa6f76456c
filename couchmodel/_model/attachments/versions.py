"""Attachments of several versions of one document, and their merge.

A stub stands for an attachment of a revision or of its ancestors. CouchDB knows no stubs of another branch, so the
bytes of an attachment that comes from one are sent again.
"""

import base64
from collections.abc import Mapping
from typing import NamedTuple

from couchmodel._model.attachments.merge import is_same_stub
from couchmodel._model.schema.attachments import owner_of
from couchmodel.engine import Session
from couchmodel.engine._io.downloads import attachment_pieces
from couchmodel.engine.attachment import attachment_path
from couchmodel.types import JSONObject

__all__ = ["VersionAttachment", "attachments_of", "merge_attachments", "stubs_to_send"]


class VersionAttachment(NamedTuple):
    """An attachment, and the revision from which it can be fetched."""

    rev: str
    stub: JSONObject


def attachments_of(version: JSONObject) -> dict[str, VersionAttachment]:
    """Return the attachments of a revision by name, given its members."""
    return {name: VersionAttachment(version["_rev"], stub) for name, stub in version.get("_attachments", {}).items()}


def merge_attachments(
    model: type,
    base: Mapping[str, VersionAttachment] | None,
    mine: Mapping[str, VersionAttachment],
    theirs: Mapping[str, VersionAttachment],
) -> tuple[dict[str, VersionAttachment], set[str]]:
    """Return the attachments of a merge, and the fields whose attachments both sides have changed.

    What one side has left as in ``base`` is the other's. Without a base, what only one side has is kept.
    """
    merged: dict[str, VersionAttachment] = {}
    clashes: set[str] = set()
    for name in dict.fromkeys((*mine, *theirs)):
        ours, others = mine.get(name), theirs.get(name)
        before = None if base is None else base.get(name)
        # A three-way merge: the side that differs from the base counts.
        kept = ours
        if _is_same(before, ours):
            kept = others
        elif not _is_same(before, others) and not _is_same(ours, others):
            owner = owner_of(model, name)
            clashes.add(name if owner is None else owner.field_name)
        if kept is not None:
            merged[name] = kept
    return merged, clashes


async def stubs_to_send(
    session: Session, path: tuple[str, ...], rev: str, attachments: Mapping[str, VersionAttachment]
) -> JSONObject:
    """Return the ``_attachments`` of a successor of ``rev``: stubs of its own, and the contents of all others."""
    own = {name: each.stub for name, each in attachments.items() if each.rev == rev}
    foreign = {
        name: await _load_inline(session, attachment_path(path, name), each)
        for name, each in attachments.items()
        if each.rev != rev
    }
    return own | foreign


async def _load_inline(session: Session, path: tuple[str, ...], attachment: VersionAttachment) -> JSONObject:
    # Merges are written by _bulk_docs, which takes contents only inside the JSON.
    content = b"".join([piece async for piece in attachment_pieces(session, path, attachment.rev)])
    return {"content_type": attachment.stub["content_type"], "data": base64.b64encode(content).decode()}


def _is_same(one: VersionAttachment | None, other: VersionAttachment | None) -> bool:
    return is_same_stub(one and one.stub, other and other.stub)
