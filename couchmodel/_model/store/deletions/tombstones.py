"""Tombstones that keep the document they delete: read from the feed of changes, and stored again as documents."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from couchmodel._model.query.selector import all_of
from couchmodel._model.schema.base import DocumentModel
from couchmodel._model.schema.members.tombstones import REMARKS_MEMBER
from couchmodel._model.store.feeds.changes import OnInvalid, check_on_invalid, load_deleted
from couchmodel._wire.messages import Request, document_path, encode
from couchmodel.engine import Database, Session
from couchmodel.engine._io.downloads import attachment_pieces
from couchmodel.engine._io.uploads import Upload
from couchmodel.engine.attachment import attachment_path
from couchmodel.engine.multipart import write_document
from couchmodel.errors import ConflictError, DocumentError, NotFoundError
from couchmodel.types import JSONObject

__all__ = ["Tombstone", "read_tombstones", "restore_document"]

M_co = TypeVar("M_co", bound=DocumentModel, covariant=True)


class TombstoneSource(Protocol):
    """The part of a repository that is needed here."""

    @property
    def model(self) -> Any: ...
    @property
    def database(self) -> Database: ...
    @property
    def kind(self) -> JSONObject: ...
    def load(self, row: bytes) -> Any: ...


@dataclass(frozen=True, slots=True)
class Tombstone(Generic[M_co]):
    """The tombstone of a document of a :class:`SoftDelete` model.

    ``document`` has the fields that were stored. It is not stored, and has no attachments: ``restore`` brings them
    back. ``remarks`` is what was said at the deletion, and ``rev`` is the revision of the tombstone.
    """

    id: str
    rev: str
    document: M_co
    remarks: dict[str, Any]


async def read_tombstones(source: TombstoneSource, on_invalid: OnInvalid) -> AsyncGenerator[Tombstone[Any], None]:
    """Yield the tombstones of a model's documents. The whole feed of changes is read."""
    check_on_invalid(on_invalid)
    selector = all_of({"_deleted": True, REMARKS_MEMBER: {"$exists": True}}, source.kind)
    async with aclosing(source.database.changes(selector=selector, include_docs=True)) as feed:
        async for event in feed:
            stored = event.get("doc") or {}
            try:
                document = load_deleted(source, stored)
                remarks = _remarks_of(source, stored)
            except DocumentError:
                if on_invalid == "raise":
                    raise
                continue
            if document is not None:
                yield Tombstone(event.id, event.rev, document, remarks)


def _remarks_of(source: TombstoneSource, stored: JSONObject) -> dict[str, Any]:
    """Return the remarks of a tombstone. Raises DocumentError if another program has written something else there."""
    remarks = stored.get(REMARKS_MEMBER) or {}
    if isinstance(remarks, dict):
        return remarks
    model, id = source.model.__name__, str(stored.get("_id"))
    said = f"its {REMARKS_MEMBER} are {remarks!r}, and no object"
    raise DocumentError(
        f"the tombstone of {model} {id!r} cannot be read: {said}", model=model, document_id=id, errors=[]
    )


async def restore_document(source: TombstoneSource, id: str) -> None:
    """Store the document of a tombstone again, with its attachments.

    It is written without the tombstone's revision, which CouchDB would refuse. Attachments are sent again, since
    CouchDB refuses their stubs.
    """
    session, path = source.database.session, document_path(source.database.path, id)
    tombstone = await _find_tombstone(session, path, id)
    load_deleted(source, tombstone)  # refuses one that is not of the model
    document = {name: value for name, value in tombstone.items() if name[:1] != "_" and name != REMARKS_MEMBER}
    document = {"_id": id, **document}
    stubs: Mapping[str, JSONObject] = tombstone.get("_attachments", {})
    rev = tombstone["_rev"]
    uploads = {
        name: Upload(attachment_pieces(session, attachment_path(path, name), rev), stub["content_type"], stub["length"])
        for name, stub in stubs.items()
    }
    try:
        if uploads:
            await write_document(session, path, document, uploads)
        else:
            await session.send(Request("PUT", path, body=encode(document)))
    except ConflictError:
        raise _not_deleted(id) from None


async def _find_tombstone(session: Session, path: tuple[str, ...], id: str) -> JSONObject:
    """Return the latest tombstone of a document that has kept it, among the ends of all its branches."""
    # A plain GET of a deleted document is a 404, so its leaves are asked for.
    answer = await session.json(Request("GET", path, {"open_revs": "all"}))
    leaves = [row["ok"] for row in answer if "ok" in row]
    if any(not leaf.get("_deleted") for leaf in leaves):
        raise _not_deleted(id)
    kept = [leaf for leaf in leaves if REMARKS_MEMBER in leaf]
    if not kept:
        raise NotFoundError(f"the tombstone of {id!r} has kept nothing that could be restored")
    # CouchDB shows the leaf of the highest generation, and of the highest id among these.
    return max(kept, key=lambda leaf: (int(leaf["_rev"].partition("-")[0]), leaf["_rev"]))


def _not_deleted(id: str) -> ConflictError:
    error = ConflictError(f"{id!r} is not deleted, so it cannot be restored: load it with get()")
    error.document_id = id
    return error
