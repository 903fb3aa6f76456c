"""Conflicts: documents with several current versions, and how they become one again.

Replication leaves them, and so do nodes of a cluster that each take another write. CouchDB keeps all versions and shows
one of them, the same on every server. The versions are merged as an edit is, with what they have in common as the base,
if the store still has it. The new revision is a function of the versions alone: two programs that resolve one conflict
on two servers at the same time write the same revision, which is no conflict.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from types import MappingProxyType
from typing import Any, Final, Protocol

from couchmodel._model.attachments.versions import attachments_of, stubs_to_send
from couchmodel._model.codec import codec
from couchmodel._model.codec.changes import is_changed
from couchmodel._model.codec.three_way import UNKNOWN
from couchmodel._model.query.assignments import assign, check_assignments
from couchmodel._model.query.selector import all_of
from couchmodel._model.schema import state
from couchmodel._model.store.revisions.history import History, read_history, write_merge
from couchmodel._model.store.revisions.merging import Merge, VersionSource, load_version, merge_versions
from couchmodel._retry import Backoff
from couchmodel._wire.messages import decode, document_path, encode
from couchmodel.errors import (
    ConfigurationError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    PreconditionFailedError,
    UnauthorizedError,
)
from couchmodel.types import JSONObject

__all__ = ["conflict_versions", "conflicted_bodies", "merge_leaves", "resolve_conflict"]

_ATTEMPTS: Final = 10
"""How often a resolution is tried while the versions change."""

_BACKOFF: Final = Backoff(0.01, longest=0.5, jitter=True)

_NONE_KNOWN: Final[Mapping[str, JSONObject]] = MappingProxyType({})

_INDEX: Final = "couchmodel-conflicts"
"""The design document of the index of documents with conflicts. It is made when it is first asked for."""


class _Source(VersionSource, Protocol):
    """A repository."""

    @property
    def kind(self) -> JSONObject: ...

    def rows(self, body: JSONObject, limit: int | None) -> AsyncGenerator[list[bytes], None]: ...


async def conflicted_bodies(source: _Source) -> AsyncGenerator[bytes, None]:
    """Yield the JSON text of each document of a model that has conflicts: of the version that CouchDB shows.

    The index has documents with conflicts only, if the index and the query ask for ``conflicts``. Without the right to
    make it, all documents are read.
    """
    with suppress(UnauthorizedError, ForbiddenError):
        await source.database.index({"fields": ["_conflicts"]}, ddoc=_INDEX, name=_INDEX, type="json")
    selector = all_of(source.kind, {"_conflicts": {"$exists": True}})
    body = {"selector": selector, "use_index": [_INDEX, _INDEX], "conflicts": True}
    async with aclosing(source.rows(body, None)) as batches:
        async for batch in batches:
            for row in batch:
                document = decode(row)
                document.pop("_conflicts", None)
                yield encode(document)


async def conflict_versions(source: VersionSource, id: str) -> list[Any]:
    """Return the other current versions of a document, without the one that CouchDB shows."""
    history = await _read_existing(source, id)
    return [load_version(source, history[rev]) for rev in history.live[1:]]


async def resolve_conflict(source: VersionSource, document: Any, values: Iterable[object]) -> None:
    """Merge all versions of a document into one, and store that in place of all of them.

    ``values`` are assignments, which count for fields that clash. Raises ConflictError, with ``fields``, if other
    fields clash: nothing is stored then.
    """
    given = list(values)
    assignments = check_assignments(source.model, given) if given else []
    if is_changed(document):
        raise ConfigurationError(f"{document.id!r} has unsaved changes: save it or roll it back before you resolve it")
    for attempt in range(1, _ATTEMPTS + 1):
        history = await _read_existing(source, document.id)
        # The loop ends here only: others may write a version while the merge is written, so the versions are read
        # again.
        if len(history.live) == 1:
            codec.adopt(document, load_version(source, history[history.live[0]]))
            return
        versions = [history[rev] for rev in history.live]
        content = await merge_leaves(source, history, history.live, assignments)
        # A node that lacks a version cannot store its attachments. It gets the version soon: try again.
        with suppress(PreconditionFailedError):
            await write_merge(source.database, versions[0], versions[1:], content, source.model.__declared__.type_field)
        if attempt > 1:
            await asyncio.sleep(_BACKOFF.wait(attempt))
    raise ConflictError(f"{document.id!r} was changed {_ATTEMPTS} times while it was resolved: try again")


async def merge_leaves(
    source: VersionSource,
    history: History,
    revs: Sequence[str],
    assignments: Sequence[Any] = (),
    bases: Mapping[str, JSONObject] = _NONE_KNOWN,
) -> JSONObject | None:
    """Return the members of the merge of leaves of a document; None if the first of them is the merge already.

    ``bases`` are revisions whose content the caller knows, as in :func:`merge_versions`.
    Raises ConflictError if a field clashes that ``assignments`` do not set.
    """
    _check_schemas([load_version(source, history[rev]) for rev in revs])
    merge = await merge_versions(source, history, revs, bases)
    settled = {assignment.place.path for assignment in assignments}
    # An assignment of a field settles the clashes of its members.
    left = {path for path in merge.clashes if not any(path == each or path.startswith(f"{each}.") for each in settled)}
    if left:
        raise _clash(merge, left)
    if assignments:
        assign(merge.document, assignments)
    return await _content_of(source, history[revs[0]], merge)


async def _content_of(source: VersionSource, shown: JSONObject, merge: Merge) -> JSONObject | None:
    """Return the members of a merge on top of the version ``shown``; None if that is the merge already."""
    body = codec.body_to_send(merge.document, is_change=False)
    if body is None and merge.attachments == attachments_of(shown):
        return None
    content: JSONObject = decode(body or state.stored_body(merge.document) or b"{}")
    path = document_path(source.database.path, merge.document.id)
    stubs = await stubs_to_send(source.database.session, path, shown["_rev"], merge.attachments)
    content.pop("_attachments", None)
    return {**content, "_attachments": stubs} if stubs else content


def _check_schemas(versions: Sequence[Any]) -> None:
    """Raise ConflictError if the model is too old for one of the versions: its unknown members would be lost."""
    newer = [found for each in versions if (found := codec.newer_version(each)) is not None]
    if newer:
        first = versions[0]
        raise ConflictError(
            f"a version of {first.id!r} is of version {max(newer)} of the schema, and this program knows version"
            f" {type(first).__declared__.version}: resolve it with a newer program"
        )


def _clash(merge: Merge, fields: set[str]) -> ConflictError:
    document = merge.document
    error = ConflictError(
        f"the versions of {document.id!r} differ in {', '.join(sorted(fields))}",
        hint="say what is to be stored, as in resolve(recipe, Recipe.title.set(…)); of clashing attachments, delete"
        " the version whose files are not wanted",
    )
    error.document_id, error.fields, error.theirs = document.id, fields, document
    error.base = None if merge.base is UNKNOWN else merge.base
    return error


async def _read_existing(source: VersionSource, id: str) -> History:
    history = await read_history(source.database, id)
    if not history.live:
        raise NotFoundError("missing", method="GET", path=f"/{source.database.id}/{id}")
    return history
