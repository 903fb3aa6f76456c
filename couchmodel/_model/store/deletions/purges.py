"""Purges: documents are removed with all their revisions, and nothing of them is kept."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from couchmodel._model.codec.forms import form_of
from couchmodel._model.store.deletions.replicas import known_replicas
from couchmodel._retry import Backoff
from couchmodel.engine import Database
from couchmodel.errors import ConflictError
from couchmodel.types import JSONObject

__all__ = ["IDS", "ForgetReport", "note_replicas", "purge_documents"]

IDS: Final = 100
"""The documents of one request: CouchDB's default of ``max_document_id_number``, above which it answers 400."""

_REVISIONS: Final = 1_000
"""The revisions of one request: CouchDB's default of ``max_revisions_number``, above which it answers 400."""

_ATTEMPTS: Final = 10
"""How often the revisions of documents are looked up that others write meanwhile."""


_BACKOFF: Final = Backoff(0.02, longest=1.0, jitter=True)


class PurgeSource(Protocol):
    """The part of a repository that is needed here."""

    @property
    def model(self) -> Any: ...
    @property
    def database(self) -> Database: ...


@dataclass(slots=True)
class ForgetReport:
    """The documents that were removed, and the replicas that may still have them.

    ``forgotten`` are the ids of documents of which nothing is left here. ``missing`` are those of which nothing was
    here, or which are of another model. ``replicas`` are sentences, one for each replica that is known. A replica still
    has the documents, and a replication from it may bring them back. ``str(report)`` says so.
    """

    forgotten: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    replicas: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        said = [f"{len(self.forgotten)} documents were removed with all their revisions."]
        if self.missing:
            said.append(f"{len(self.missing)} were not there.")
        if self.replicas:
            said.append("Replicas still have them and may bring them back, so let them forget the documents as well:")
        return "\n".join([" ".join(said), *(f"- {replica}" for replica in self.replicas)])


async def purge_documents(source: PurgeSource, ids: Sequence[str], report: ForgetReport) -> None:
    """Remove at most ``IDS`` documents of a model with all their revisions, and add them to a report.

    Raises ConflictError if others write them again and again.
    """
    leaves = await _read_leaves(source, ids)
    found = set(leaves)
    for attempt in range(_ATTEMPTS):
        if not leaves:
            break
        if attempt:  # the nodes of a cluster may take a moment
            await asyncio.sleep(_BACKOFF.wait(attempt))
        for part in _parts(leaves):
            await source.database.purge(part)
        leaves = await _read_leaves(source, ids)  # others may have written more meanwhile
        found |= leaves.keys()
    if leaves:
        said = ", ".join(map(repr, leaves))
        raise ConflictError(f"{said} was written {_ATTEMPTS} times while it was removed: try again")
    report.forgotten += [id for id in ids if id in found]
    report.missing += [id for id in ids if id not in found]


async def note_replicas(source: PurgeSource, report: ForgetReport) -> None:
    """Add the replicas that are known to a report."""
    report.replicas += [replica async for replica in known_replicas(source.database)]


async def _read_leaves(source: PurgeSource, ids: Sequence[str]) -> dict[str, list[str]]:
    """Return the last revisions of all branches of documents, by id. The others go with them."""
    # The feed has the leaves of deleted documents, too, which _all_docs does not have.
    feed = source.database.changes(doc_ids=list(ids), style="all_docs", include_docs=True)
    return {
        event.id: [change["rev"] for change in event["changes"]]
        async for event in feed
        if _is_own(source.model, event.get("doc") or {})
    }


def _is_own(model: Any, stored: JSONObject) -> bool:
    """Return True if a document is one of the model's. A tombstone of another program may have lost its type."""
    kinds, type_field = form_of(model).kinds, model.__declared__.type_field
    if not kinds or stored.get(type_field) in list(kinds):  # a list, as the type of other documents may be anything
        return True
    return bool(stored.get("_deleted")) and type_field not in stored


def _parts(leaves: Mapping[str, Sequence[str]]) -> Iterator[dict[str, list[str]]]:
    """Yield revisions by id, as many as one request may have."""
    pairs = [(id, rev) for id, revs in leaves.items() for rev in revs]
    for start in range(0, len(pairs), _REVISIONS):
        part: dict[str, list[str]] = {}
        for id, rev in pairs[start : start + _REVISIONS]:
            part.setdefault(id, []).append(rev)
        yield part
